"""Who is trusted: the PKIs kept apart, bundles that other programs read, names of ANS recognised."""

import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from cryptography.x509.oid import NameOID

from cardd.revocation.domains import Domain, TrustScope, TrustState
from cardd.revocation.recognition import domain_of_name
from cardd.revocation.trust import TrustStore, java_bundle, pem_bundle, pkcs7_bundle
from tests.support.validation import NOW, small_pki

SAMPLES = Path(__file__).resolve().parents[4] / "shared" / "data" / "igc-sante-test"
COUNTRY, ORGANISATION, UNIT = (
    NameOID.COUNTRY_NAME,
    NameOID.ORGANIZATION_NAME,
    NameOID.ORGANIZATIONAL_UNIT_NAME,
)


@pytest.fixture
def store(tmp_path: Path) -> TrustStore:
    """The small PKI as the daemon's own, and no file of the operator's."""
    pki = small_pki()
    return TrustStore(lambda: [pki.root.certificate, pki.ca.certificate], tmp_path)


def name(*attributes: tuple[x509.ObjectIdentifier, str]) -> x509.Name:
    """Make a DN."""
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in attributes])


@pytest.mark.parametrize(
    ("dn", "domain"),
    [
        (name((COUNTRY, "FR"), (ORGANISATION, "GIP-CPS"), (UNIT, "AC-CLASSE-4")), Domain.IGC_CPS),
        (name((COUNTRY, "FR"), (ORGANISATION, "GIP-CPS-TEST"), (UNIT, "AC-CLASSE-4-TEST")), Domain.IGC_CPS),
        (
            name((COUNTRY, "FR"), (ORGANISATION, "GIP-CPS"), (UNIT, "PROFESSIONNEL"), (UNIT, "AC-CLASSE-1")),
            Domain.IGC_CPS,
        ),
        (
            name(
                (COUNTRY, "FR"), (ORGANISATION, "ASIP-SANTE"), (UNIT, "0002 187512751"), (UNIT, "IGC-SANTE")
            ),
            Domain.IGC_SANTE,
        ),
        (
            name(
                (COUNTRY, "FR"),
                (ORGANISATION, "ASIP-SANTE"),
                (UNIT, "0002 187512751"),
                (UNIT, "IGC-SANTE TEST"),
            ),
            Domain.IGC_SANTE_TEST,
        ),
        (name((COUNTRY, "FR"), (ORGANISATION, "ASIP-SANTE"), (UNIT, "0002 187512751")), None),
        (
            name(
                (COUNTRY, "DE"), (ORGANISATION, "ASIP-SANTE"), (UNIT, "0002 187512751"), (UNIT, "IGC-SANTE")
            ),
            None,
        ),
        (name((COUNTRY, "FR"), (ORGANISATION, "GIP-CPS-LIKE"), (UNIT, "AC-CLASSE-4")), None),
        (
            name(
                (COUNTRY, "FR"),
                (ORGANISATION, "CARDD"),
                (UNIT, "0002 000000000"),
                (UNIT, "IGC LOCALE DE TEST"),
            ),
            None,
        ),
    ],
)
def test_a_name_of_ans_is_recognised_and_a_similar_one_is_not(dn: x509.Name, domain: Domain | None) -> None:
    assert domain_of_name(dn) is domain


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="needs ANS's published samples beside the project")
@pytest.mark.parametrize(
    ("sample", "domain"),
    [
        ("ORG-AUTH_CLI-2025.pem", Domain.IGC_SANTE_TEST),
        ("CPS-SIGN-2020.pem", Domain.IGC_SANTE_TEST),
        ("IGC-CPS2bis-CLASSE-4-TEST-2015.pem", Domain.IGC_CPS),
    ],
)
def test_real_certificates_are_told_as_what_they_are(sample: str, domain: Domain) -> None:
    certificate = x509.load_pem_x509_certificate((SAMPLES / sample).read_bytes())
    assert domain_of_name(certificate.issuer) is domain


def test_the_list_tells_accepted_retired_and_missing_with_a_reason(store: TrustStore) -> None:
    shown = store.authorities(NOW)
    states = {(each.domain, each.state) for each in shown}
    assert states == {
        (Domain.LOCAL, TrustState.ACCEPTED),
        (Domain.IGC_SANTE_TEST, TrustState.ACCEPTED),
        (Domain.IGC_SANTE_TEST, TrustState.NOT_HELD),
        (Domain.IGC_SANTE, TrustState.NOT_HELD),
        (Domain.IGC_CPS, TrustState.RETIRED),
    }
    assert all(each.text.en and each.text.fr for each in shown)
    assert sum(each.domain is Domain.IGC_SANTE for each in shown) == 9
    assert sum(each.domain is Domain.IGC_SANTE_TEST for each in shown) == 9


def test_an_expired_authority_is_retired_and_in_no_bundle(store: TrustStore) -> None:
    later = datetime(2040, 1, 1, tzinfo=UTC)
    assert {each.state for each in store.authorities(later) if each.certificate} == {TrustState.RETIRED}
    assert store.bundle(TrustScope.TEST, later) == []


def test_no_bundle_mixes_test_and_production(store: TrustStore) -> None:
    assert store.bundle(TrustScope.PRODUCTION, NOW) == []
    local = store.bundle(TrustScope.LOCAL, NOW)
    igc = store.bundle(TrustScope.IGC_SANTE_TEST, NOW)
    assert (len(local), len(igc)) == (2, 2)
    assert set(store.bundle(TrustScope.TEST, NOW)) == {*local, *igc}


def test_a_file_of_another_pki_in_the_production_folder_does_not_count(
    store: TrustStore, tmp_path: Path
) -> None:
    folder = tmp_path / "igc_sante"
    folder.mkdir()
    (folder / "impostor.pem").write_text(small_pki().root.pem)
    (folder / "broken.pem").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    assert store.bundle(TrustScope.PRODUCTION, NOW) == []


def test_pem_and_pkcs7_hold_the_same_certificates(store: TrustStore) -> None:
    certificates = store.bundle(TrustScope.TEST, NOW)
    assert x509.load_pem_x509_certificates(pem_bundle(certificates)) == certificates
    assert set(pkcs7.load_der_pkcs7_certificates(pkcs7_bundle(certificates))) == set(certificates)


@pytest.mark.skipif(shutil.which("keytool") is None, reason="needs Java's keytool")
def test_keytool_reads_the_java_trust_store(store: TrustStore, tmp_path: Path) -> None:
    certificates = store.bundle(TrustScope.TEST, NOW)
    file = tmp_path / "trust.p12"
    file.write_bytes(java_bundle(certificates))
    listed = subprocess.run(
        ["keytool", "-list", "-rfc", "-keystore", file, "-storepass", "changeit"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert listed.count("Entry type: trustedCertEntry") == len(certificates)
    assert certificates[0].public_bytes(Encoding.PEM).decode().split()[2] in listed.replace("\r", "")
