"""Issued certificates beside the published ones of IGC-Santé TEST, extension by extension."""

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from cardd.igc.names import CaName, OrganisationSubject, PersonSubject
from cardd.igc.profiles import KeyMedium, ProfileName
from cardd.vocabulary import Profession
from tests.support.der import describe, parse
from tests.support.igc import MemorySigner, TestPki, request_for

SAMPLES = Path(__file__).parents[4] / "shared" / "data" / "igc-sante-test"

_POLICIES, _POINTS, _FRESHEST, _ACCESS = "2.5.29.32", "2.5.29.31", "2.5.29.46", "1.3.6.1.5.5.7.1.1"
_SUBJECT_KEY, _AUTHORITY_KEY = "2.5.29.14", "2.5.29.35"

#: What may differ in any certificate, and why.
OURS = {
    "serial": "serials are random",
    "issuer O and OU": "our CAs differ plainly from ANS's, so that nobody takes one for the other",
    "key": "each PKI has its own keys",
    f"extension {_SUBJECT_KEY} value": "it follows from the key",
    f"extension {_AUTHORITY_KEY} value": "it follows from the CA's key",
    f"extension {_POLICIES} value": "the policy and its page are ours",
}
#: What may differ where a certificate says where its issuer's list is.
OUR_POINTS = {
    f"extension {_POINTS} value": "our addresses; two over HTTP, since there is no LDAP directory here",
}
#: What may differ in leaf certificates besides.
OUR_LEAVES = (
    OURS
    | OUR_POINTS
    | {
        f"extension {_FRESHEST} value": "our address, over HTTP, since there is no LDAP directory here",
        f"extension {_ACCESS} value": "our addresses",
    }
)
#: What may differ in CA certificates besides.
OUR_AUTHORITIES = OURS | {"subject": "its O and OU, as the issuer's"}


def sample(name: str) -> x509.Certificate:
    """Return a published certificate, or skip the test where the samples are absent."""
    path = SAMPLES / name
    if not path.exists():
        pytest.skip(f"the published certificate {name} is not beside the project")
    return x509.load_pem_x509_certificate(path.read_bytes())


def differences(real: x509.Certificate, ours: bytes) -> set[str]:
    """Return the names of what two certificates say differently."""
    theirs, mine = describe(real.public_bytes(Encoding.DER)), describe(ours)
    return {name for name in theirs.keys() | mine.keys() if theirs.get(name) != mine.get(name)}


async def test_an_org_auth_cli_certificate_is_that_of_2025_but_for_what_is_ours(
    pki: TestPki, rsa_key: MemorySigner
) -> None:
    real = sample("ORG-AUTH_CLI-2025.pem")
    subject = OrganisationSubject(
        state="Paris (75)", organisation="HOPITAL DES 3. DAMES", unit="11B0073160", common_name="EMA"
    )
    request = request_for(ProfileName.ORG_AUTH_CLI, rsa_key.public_key, subject=subject)
    issued = await pki.issuer.issue(request, real.not_valid_before_utc)
    assert differences(real, issued.der) == set(OUR_LEAVES)


async def test_an_ssl_serv_certificate_is_that_of_2017_in_the_order_of_2025(
    pki: TestPki, rsa_key: MemorySigner
) -> None:
    real = sample("SERV-SSL_SERV-2017.pem")
    names = ("platines.qualif1.henix.asipsante.fr", "platines.qualif2.henix.asipsante.fr")
    subject = OrganisationSubject(
        state="Paris (75)", organisation="ASIP-SANTE", unit="318751275100020", common_name=names[0]
    )
    request = request_for(ProfileName.SERV_SSL_SERV, rsa_key.public_key, subject=subject, dns_names=names)
    issued = await pki.issuer.issue(request, real.not_valid_before_utc)
    allowed = OUR_LEAVES | {"extension order": "software certificates follow the order in use since 2025"}
    assert differences(real, issued.der) == set(allowed)


async def test_a_cps_signature_certificate_is_that_of_2020_but_for_what_is_ours(
    pki: TestPki, rsa_key: MemorySigner
) -> None:
    real = sample("CPS-SIGN-2020.pem")
    subject = PersonSubject(
        title="Infirmier", given_name="OLIVIER", common_name="00B6087510", surname="INFIRMCS ADELI8751"
    )
    request = request_for(
        ProfileName.CPS_SIGN,
        rsa_key.public_key,
        subject=subject,
        medium=KeyMedium.CARD,
        card_serial="8025000001/2800636234",
        profession=Profession.INFIRMIER,
    )
    issued = await pki.issuer.issue(request, real.not_valid_before_utc)
    assert differences(real, issued.der) == set(OUR_LEAVES)


@pytest.mark.parametrize(
    ("file", "name", "more"),
    [
        ("ACR-EL-TEST.pem", CaName.ACR_EL, {}),
        ("ACI-EL-ORG-TEST.pem", CaName.ACI_EL_ORG, OUR_POINTS),
    ],
)  # fmt: skip
def test_ca_certificates_are_those_of_igc_sante_but_for_what_is_ours(
    pki: TestPki, file: str, name: CaName, more: dict[str, str]
) -> None:
    real = sample(file)
    ours = pki.authorities[name].certificate.public_bytes(Encoding.DER)
    assert differences(real, ours) == set(OUR_AUTHORITIES | more)


async def test_a_cps_authentication_certificate_has_the_published_shape(
    pki: TestPki, rsa_key: MemorySigner
) -> None:
    request = request_for(ProfileName.CPS_AUTH_CLI, rsa_key.public_key)
    issued = await pki.issuer.issue(
        request, pki.authorities[CaName.ACI_FO_PP].certificate.not_valid_before_utc
    )
    described = describe(issued.der)
    assert described["subject shape"] == [
        [("2.5.4.6", "0x13")],
        [("2.5.4.12", "0xc")],
        [("2.5.4.42", "0xc"), ("2.5.4.3", "0xc"), ("2.5.4.4", "0xc")],
    ]
    assert described["extension order"] == [
        "2.5.29.19", "2.5.29.14", "2.5.29.35", "2.5.29.15", "2.5.29.32", "2.5.29.37", "2.5.29.17", "2.5.29.31",
        "2.5.29.46", "1.3.6.1.5.5.7.1.1", "1.2.250.1.71.1.2.5", "1.2.250.1.71.1.2.2", "1.2.250.1.71.1.2.3",
        "1.2.250.1.71.1.2.7",
    ]  # fmt: skip
    certificate = x509.load_der_x509_certificate(issued.der)
    purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert [oid.dotted_string for oid in purposes] == ["1.3.6.1.5.5.7.3.2", "1.3.6.1.4.1.311.20.2.2"]
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    (upn,) = names.get_values_for_type(x509.OtherName)
    assert upn.type_id.dotted_string == "1.3.6.1.4.1.311.20.2.3"
    assert upn.value == b"\x0c\x1700B6087510@carte-cps.fr"


async def test_a_cpe_authentication_certificate_has_the_published_shape(
    pki: TestPki, rsa_key: MemorySigner
) -> None:
    request = request_for(ProfileName.CPE_AUTH_CLI, rsa_key.public_key)
    issued = await pki.issuer.issue(
        request, pki.authorities[CaName.ACI_ST_PP].certificate.not_valid_before_utc
    )
    described = describe(issued.der)
    assert described["subject shape"] == [
        [("2.5.4.6", "0x13")], [("2.5.4.8", "0xc")], [("2.5.4.10", "0xc")], [("2.5.4.11", "0xc")],
        [("2.5.4.12", "0xc")],
        [("2.5.4.42", "0xc"), ("2.5.4.4", "0xc"), ("2.5.4.3", "0xc")],
    ]  # fmt: skip
    assert described["extension 1.2.250.1.71.1.2.2 value"] == b"\x02\x01\x02"
    assert described["extension 1.2.250.1.71.1.2.5 value"] == b"\x04\x01\x80"
    assert "1.2.250.1.71.1.2.7" not in str(described["extension order"])


def test_the_reader_of_these_tests_reads_nested_elements() -> None:
    (node,) = parse(bytes.fromhex("300602010504010A"))
    assert [child.contents for child in node.children] == [b"\x05", b"\x0a"]
