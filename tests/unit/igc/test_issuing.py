from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from cardd.custody.policy import KeyUse
from cardd.errors import InvalidFieldsError
from cardd.igc.authority import Authority
from cardd.igc.dates import whole_second, years_after
from cardd.igc.errors import AuthorityEndingError, KeyNotAllowedError, LintRefusedError, SigningError
from cardd.igc.hierarchy import HierarchyBuilder
from cardd.igc.issuing import Issuer, new_authority_serial, new_serial, serial_hex
from cardd.igc.lint import Linter
from cardd.igc.names import CaName
from cardd.igc.profiles import PROFILES, Offer, ProfileName
from cardd.vocabulary import Usage
from cardd_pkcs11.types import KeyAlgorithm
from tests.support.igc import (
    ORGANISATION,
    PERSON,
    MemorySigner,
    TestPki,
    ec_signer,
    moments,
    policy_for_tests,
    request_for,
)

NOW = datetime(2026, 4, 3, 15, 33, 7, 654321, tzinfo=UTC)


@pytest.mark.parametrize("profile", ProfileName)
async def test_every_profile_issues_a_certificate_that_its_ca_signed(
    pki: TestPki, rsa_key: MemorySigner, profile: ProfileName
) -> None:
    issued = await pki.issuer.issue(request_for(profile, rsa_key.public_key), NOW)
    certificate = x509.load_der_x509_certificate(issued.der)
    certificate.verify_directly_issued_by(pki.authorities[PROFILES[profile].issuer].certificate)
    assert certificate.serial_number == issued.serial
    order = [extension.oid for extension in certificate.extensions]
    assert order == [oid for oid in PROFILES[profile].order if oid in order]


@pytest.mark.parametrize("profile", [ProfileName.ORG_AUTH_CLI, ProfileName.ORG_SIGN, ProfileName.PS_SIGN])
async def test_elliptic_curve_keys_are_certified_where_the_profile_only_signs(
    ec_pki: TestPki, profile: ProfileName
) -> None:
    issued = await ec_pki.issuer.issue(request_for(profile, ec_signer().public_key), NOW)
    certificate = x509.load_der_x509_certificate(issued.der)
    certificate.verify_directly_issued_by(ec_pki.authorities[issued.issuer].certificate)
    assert isinstance(certificate.public_key(), ec.EllipticCurvePublicKey)


async def test_a_certificate_lasts_three_years_to_the_second(pki: TestPki, rsa_key: MemorySigner) -> None:
    issued = await pki.issuer.issue(request_for(ProfileName.ORG_AUTH_CLI, rsa_key.public_key), NOW)
    assert issued.not_before == datetime(2026, 4, 3, 15, 33, 7, tzinfo=UTC)
    assert issued.not_after == datetime(2029, 4, 3, 15, 33, 7, tzinfo=UTC)


async def test_a_certificate_of_a_leap_day_ends_on_28_february(pki: TestPki, rsa_key: MemorySigner) -> None:
    leap_day = datetime(2028, 2, 29, 23, 59, 59, tzinfo=UTC)
    issued = await pki.issuer.issue(request_for(ProfileName.ORG_AUTH_CLI, rsa_key.public_key), leap_day)
    assert issued.not_after == datetime(2031, 2, 28, 23, 59, 59, tzinfo=UTC)


@given(moments(1990, 2090), st.integers(1, 20))
def test_whole_years_keep_the_date_and_the_time(moment: datetime, years: int) -> None:
    later = years_after(moment, years)
    assert later.year == moment.year + years
    assert later.timetz() == moment.timetz()
    if (moment.month, moment.day) != (2, 29):
        assert (later.month, later.day) == (moment.month, moment.day)
    assert years_after(whole_second(moment), years) == whole_second(later)


def test_a_leap_day_stays_one_four_years_later() -> None:
    assert years_after(datetime(2028, 2, 29, tzinfo=UTC), 4) == datetime(2032, 2, 29, tzinfo=UTC)


async def test_dates_from_2050_are_written_as_generalized_time(linter: Linter, rsa_key: MemorySigner) -> None:
    policy = policy_for_tests(root_validity_years=30)
    builder = HierarchyBuilder(policy, linter)
    authorities = await builder.build(dict.fromkeys(CaName, rsa_key), datetime(2030, 1, 1, tzinfo=UTC))
    issuer = Issuer(policy, authorities, linter)
    issued = await issuer.issue(
        request_for(ProfileName.ORG_AUTH_CLI, rsa_key.public_key), datetime(2047, 6, 1, tzinfo=UTC)
    )
    assert b"\x17\x0d470601000000Z\x18\x0f20500601000000Z" in issued.der


async def test_a_certificate_never_outlives_its_ca(pki: TestPki, rsa_key: MemorySigner) -> None:
    late = pki.authorities[CaName.ACI_EL_ORG].certificate.not_valid_after_utc - timedelta(days=3 * 365)
    with pytest.raises(AuthorityEndingError):
        await pki.issuer.issue(request_for(ProfileName.ORG_AUTH_CLI, rsa_key.public_key), late)


@given(st.binary(min_size=16, max_size=16))
def test_serials_are_positive_and_sixteen_bytes_in_der(random: bytes) -> None:
    serial = new_serial(lambda size: random[:size])
    encoded = serial.to_bytes(16, "big")
    assert encoded[0] in range(1, 0x80)
    assert encoded[1:] == random[1:]


def test_serials_of_cas_are_eighteen_bytes_beginning_11_20() -> None:
    assert serial_hex(new_authority_serial()).startswith("1120")
    assert len(serial_hex(new_authority_serial())) == 36


def test_serials_are_shown_in_whole_lower_case_bytes() -> None:
    assert serial_hex(0xABC) == "0abc"


def test_two_serials_differ() -> None:
    assert new_serial() != new_serial()


@pytest.mark.parametrize(
    ("profile", "key"),
    [
        (ProfileName.SERV_SSL_SERV, ec.generate_private_key(ec.SECP256R1()).public_key()),
        (ProfileName.ORG_CONF, ec.generate_private_key(ec.SECP384R1()).public_key()),
        (ProfileName.CPS_SIGN, ec.generate_private_key(ec.SECP256R1()).public_key()),
        (ProfileName.ORG_AUTH_CLI, ec.generate_private_key(ec.SECP521R1()).public_key()),
        (ProfileName.ORG_AUTH_CLI, ed25519.Ed25519PrivateKey.generate().public_key()),
        (ProfileName.ORG_AUTH_CLI, rsa.generate_private_key(65537, 1024).public_key()),  # noqa: S505  (too short, to be refused)
    ],
    ids=["EC-for-key-encipherment", "EC-for-encryption", "EC-on-a-card", "P-521", "Ed25519", "RSA-1024"],
)
async def test_a_key_that_the_profile_does_not_allow_is_refused_with_what_it_allows(
    pki: TestPki, rsa_key: MemorySigner, profile: ProfileName, key: ec.EllipticCurvePublicKey
) -> None:
    encoded = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    request = request_for(profile, rsa_key.public_key, public_key=encoded)
    with pytest.raises(KeyNotAllowedError) as refused:
        await pki.issuer.issue(request, NOW)
    assert "rsa_2048" in refused.value.data["allowed"]


async def test_a_public_key_that_is_not_der_is_refused(pki: TestPki, rsa_key: MemorySigner) -> None:
    request = request_for(ProfileName.ORG_AUTH_CLI, rsa_key.public_key, public_key=b"not a key")
    with pytest.raises(KeyNotAllowedError):
        await pki.issuer.issue(request, NOW)


@pytest.mark.parametrize(
    ("profile", "changes", "field"),
    [
        (ProfileName.ORG_AUTH_CLI, {"subject": PERSON}, "subject"),
        (ProfileName.ORG_AUTH_CLI, {"dns_names": ("a.example",)}, "dns_names"),
        (ProfileName.SERV_SSL_SERV, {"dns_names": ()}, "dns_names"),
        (ProfileName.SERV_SSL_SERV, {"dns_names": ("other.example",)}, "dns_names"),
        (ProfileName.SERV_SSL_SERV, {"dns_names": ("qualif1.cardd.example", "é.example")}, "dns_names"),
        (ProfileName.SERV_SMIME, {"subject": ORGANISATION}, "subject.common_name"),
        (ProfileName.CPS_SIGN, {"card_serial": None}, "card_serial"),
        (ProfileName.CPS_SIGN, {"card_serial": "8025000001-28006"}, "card_serial"),
        (ProfileName.CPS_SIGN, {"profession": None}, "profession"),
        (ProfileName.CPE_SIGN, {"profession": 60}, "profession"),
    ],
)
async def test_a_request_that_does_not_fit_its_profile_names_the_field(
    pki: TestPki, rsa_key: MemorySigner, profile: ProfileName, changes: dict[str, object], field: str
) -> None:
    with pytest.raises(InvalidFieldsError) as refused:
        await pki.issuer.issue(request_for(profile, rsa_key.public_key, **changes), NOW)
    assert field in {problem.field for problem in refused.value.fields}


@pytest.mark.parametrize(
    "name", ["bad name", "a.example\n", "*.cardd.example", "-a.example", "localhost", "a..b", ""]
)
async def test_a_name_that_is_no_fqdn_is_refused_by_the_linter(
    pki: TestPki, rsa_key: MemorySigner, name: str
) -> None:
    names = ("qualif1.cardd.example", name)
    with pytest.raises(LintRefusedError):
        await pki.issuer.issue(
            request_for(ProfileName.SERV_SSL_SERV, rsa_key.public_key, dns_names=names), NOW
        )


async def test_a_mailbox_that_is_none_is_refused_by_the_linter(pki: TestPki, rsa_key: MemorySigner) -> None:
    subject = replace(ORGANISATION, common_name="two words@cardd")
    with pytest.raises(LintRefusedError):
        await pki.issuer.issue(request_for(ProfileName.SERV_SMIME, rsa_key.public_key, subject=subject), NOW)


async def test_the_linter_refuses_before_the_cas_key_signs(pki: TestPki, rsa_key: MemorySigner) -> None:
    signer = pki.authorities[CaName.ACI_EL_ORG].signer
    assert isinstance(signer, MemorySigner)
    asked = len(signer.signed)
    bad_uri = policy_for_tests(base_urls=("http://not a host.example",))
    issuer = Issuer(bad_uri, pki.authorities, pki.linter)
    with pytest.raises(LintRefusedError) as refused:
        await issuer.issue(request_for(ProfileName.ORG_AUTH_CLI, rsa_key.public_key), NOW)
    assert refused.value.status == 422
    assert refused.value.data["findings"][0]["severity"] in {"ERROR", "FATAL"}
    assert len(signer.signed) == asked


async def test_a_signature_that_does_not_verify_is_never_handed_out(
    pki: TestPki, rsa_key: MemorySigner
) -> None:
    class Liar(MemorySigner):
        async def sign(self, data: bytes) -> bytes:
            return await super().sign(data + b"!")

    honest = pki.authorities[CaName.ACI_EL_ORG]
    assert isinstance(honest.signer, MemorySigner)
    authority = Authority(honest.name, honest.certificate, Liar(honest.signer.key))
    issuer = Issuer(pki.policy, {authority.name: authority}, pki.linter)
    with pytest.raises(SigningError):
        await issuer.issue(request_for(ProfileName.ORG_AUTH_CLI, rsa_key.public_key), NOW)


def test_an_authority_with_anothers_key_is_refused(pki: TestPki, rsa_key: MemorySigner) -> None:
    with pytest.raises(SigningError):
        Authority(CaName.ACI_EL_ORG, pki.authorities[CaName.ACI_EL_ORG].certificate, rsa_key)


def test_profiles_are_found_by_offer_and_usage() -> None:
    assert ProfileName.of(Offer.ORG, Usage.AUTH_CLI) is ProfileName.ORG_AUTH_CLI
    assert all(ProfileName.of(name.offer, name.usage) is name for name in ProfileName)
    with pytest.raises(ValueError, match="ORG-SMIME"):
        ProfileName.of(Offer.ORG, Usage.SMIME)


def test_each_profile_asks_for_the_operations_of_its_key_usage() -> None:
    assert PROFILES[ProfileName.ORG_CONF].key_use is KeyUse.DECRYPT
    assert PROFILES[ProfileName.ORG_SIGN].key_use is KeyUse.SIGN
    assert PROFILES[ProfileName.CPS_SIGN].key_use is KeyUse.SIGN
    assert PROFILES[ProfileName.SERV_SSL_SERV].key_use is KeyUse.SIGN_AND_DECRYPT


def test_cards_hold_rsa_2048_only_and_every_profile_allows_it() -> None:
    for name, profile in PROFILES.items():
        assert KeyAlgorithm.RSA_2048 in profile.keys
        if name.offer in {Offer.CPS, Offer.CPE, Offer.CPA}:
            assert profile.keys == {KeyAlgorithm.RSA_2048}
