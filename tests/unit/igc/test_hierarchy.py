from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import pkcs7
from cryptography.x509.oid import ExtendedKeyUsageOID

from cardd.igc import chain
from cardd.igc.errors import PolicyError
from cardd.igc.hierarchy import HierarchyBuilder, publishes_at, responder_renewal_due
from cardd.igc.issuing import serial_hex
from cardd.igc.lint import Linter
from cardd.igc.names import INTERMEDIATES, ROOTS, CaName
from tests.support.igc import PREPARED, MemorySigner, TestPki, ec_signer, policy_for_tests


@pytest.mark.parametrize("name", CaName)
def test_each_ca_is_signed_by_its_root(pki: TestPki, name: CaName) -> None:
    certificate = pki.authorities[name].certificate
    certificate.verify_directly_issued_by(pki.authorities[name.issuer].certificate)
    assert serial_hex(certificate.serial_number).startswith("1120")
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert constraints == x509.BasicConstraints(ca=True, path_length=None if name.is_root else 0)


def test_roots_last_twenty_years_from_midnight_and_intermediates_a_day_less(pki: TestPki) -> None:
    for name in ROOTS:
        assert pki.authorities[name].certificate.not_valid_before_utc == datetime(2026, 3, 2, tzinfo=UTC)
        assert pki.authorities[name].certificate.not_valid_after_utc == datetime(2046, 3, 2, tzinfo=UTC)
    for name in INTERMEDIATES:
        assert pki.authorities[name].certificate.not_valid_after_utc == datetime(2046, 3, 1, tzinfo=UTC)


async def test_a_key_of_another_algorithm_than_the_policys_is_refused(linter: Linter) -> None:
    with pytest.raises(PolicyError):
        await HierarchyBuilder(policy_for_tests(), linter).build(dict.fromkeys(CaName, ec_signer()), PREPARED)


async def test_a_new_address_changes_a_cas_certificate_and_not_what_hangs_on_it(
    pki: TestPki, linter: Linter
) -> None:
    moved = policy_for_tests(base_urls=("http://127.0.0.1:9090",))
    old, root = pki.authorities[CaName.ACI_EL_ORG], pki.authorities[CaName.ACR_EL]
    assert publishes_at(old, pki.policy)
    assert not publishes_at(old, moved)
    assert not publishes_at(root, moved)
    new = await HierarchyBuilder(moved, linter).reissue(old, root)
    assert publishes_at(new, moved)
    assert new.certificate.subject == old.certificate.subject
    assert new.key_identifier == old.key_identifier
    assert new.certificate.not_valid_after_utc == old.certificate.not_valid_after_utc
    assert new.certificate.serial_number != old.certificate.serial_number
    new.certificate.verify_directly_issued_by(root.certificate)


async def test_a_responder_is_delegated_by_its_ca_and_never_checked_for_revocation(
    pki: TestPki, rsa_key: MemorySigner
) -> None:
    authority = pki.authorities[CaName.ACI_FO_PP]
    builder = HierarchyBuilder(pki.policy, pki.linter)
    certificate = await builder.responder_certificate(authority, rsa_key.public_key, PREPARED)
    certificate.verify_directly_issued_by(authority.certificate)
    purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(purposes) == [ExtendedKeyUsageOID.OCSP_SIGNING]
    assert certificate.extensions.get_extension_for_class(x509.OCSPNoCheck)
    assert not responder_renewal_due(certificate, PREPARED + timedelta(days=59))
    assert responder_renewal_due(certificate, PREPARED + timedelta(days=61))
    assert responder_renewal_due(certificate, PREPARED - timedelta(days=1)), "the clock was set back"


async def test_a_responder_does_not_outlive_its_ca(pki: TestPki, rsa_key: MemorySigner) -> None:
    authority = pki.authorities[CaName.ACI_FO_PP]
    end = authority.certificate.not_valid_after_utc
    builder = HierarchyBuilder(pki.policy, pki.linter)
    certificate = await builder.responder_certificate(authority, rsa_key.public_key, end - timedelta(days=1))
    assert certificate.not_valid_after_utc == end


def test_the_path_of_a_leaf_goes_from_its_issuer_to_the_root(pki: TestPki) -> None:
    path = chain.path(CaName.ACI_EL_ORG, pki.authorities)
    assert path == [pki.authorities[name].certificate for name in (CaName.ACI_EL_ORG, CaName.ACR_EL)]
    assert chain.path(CaName.ACR_EL, pki.authorities) == path[1:]
    assert x509.load_pem_x509_certificates(chain.pem(path)) == path


def test_the_published_chain_holds_every_ca_once(pki: TestPki) -> None:
    encoded = chain.p7b(chain.every_authority(pki.authorities))
    certificates = pkcs7.load_der_pkcs7_certificates(encoded)
    assert {c.serial_number for c in certificates} == {
        a.certificate.serial_number for a in pki.authorities.values()
    }
    assert len(certificates) == 9
