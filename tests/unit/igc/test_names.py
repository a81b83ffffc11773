import pytest
from cryptography.x509.oid import NameOID
from msgspec.structs import replace

from cardd.errors import InvalidFieldsError
from cardd.igc.names import INTERMEDIATES, ROOTS, CaName, CaRole, Tier, subject_name
from tests.support.igc import EMPLOYEE, ORGANISATION, PERSON


def test_there_are_three_roots_and_six_intermediates_under_their_published_names() -> None:
    assert [name.value for name in ROOTS] == ["ACR-EL-TEST", "ACR-ST-TEST", "ACR-FO-TEST"]
    assert len(INTERMEDIATES) == 6
    assert {name.issuer for name in INTERMEDIATES} == set(ROOTS)
    assert all(name.issuer is name for name in ROOTS)


def test_a_ca_knows_its_code_tier_role_and_common_name() -> None:
    name = CaName.ACI_FO_PP
    assert (name.code, name.tier, name.role, name.issuer) == (
        "ACI-FO-PP",
        Tier.FO,
        CaRole.PERSONS,
        CaName.ACR_FO,
    )
    assert name.common_name == "TEST AC IGC-SANTE FORT PERSONNES"
    assert CaName.ACR_EL.common_name == "TEST AC RACINE IGC-SANTE ELEMENTAIRE"
    assert CaName.ACI_EL_ORG.common_name == "TEST AC IGC-SANTE ELEMENTAIRE ORGANISATIONS"
    assert name.responder_common_name == "TEST OCSP IGC-SANTE FORT PERSONNES"


def test_a_persons_attributes_share_one_relative_dn() -> None:
    name = subject_name("FR", PERSON)
    assert [len(list(rdn)) for rdn in name.rdns] == [1, 1, 3]


def test_a_persons_attributes_are_in_der_order_whatever_their_lengths() -> None:
    name = subject_name("FR", replace(PERSON, given_name="JEAN-CHRISTOPHE-EMMANUEL", surname="LI"))
    encoded = name.public_bytes()
    positions = [encoded.index(value) for value in (b"LI", b"00B6087510", b"JEAN-CHRISTOPHE-EMMANUEL")]
    assert positions == sorted(positions)


def test_a_persons_structure_comes_before_title_and_person() -> None:
    types = [next(iter(rdn)).oid for rdn in subject_name("FR", EMPLOYEE).rdns][:5]
    assert types == [
        NameOID.COUNTRY_NAME,
        NameOID.STATE_OR_PROVINCE_NAME,
        NameOID.ORGANIZATION_NAME,
        NameOID.ORGANIZATIONAL_UNIT_NAME,
        NameOID.TITLE,
    ]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("organisation", ""),
        ("organisation", " HOPITAL"),
        ("organisation", "H" * 65),
        ("organisation", "HOPITAL\nDU NORD"),
        ("unit", "1\0"),
        ("state", "P" * 129),
        ("common_name", "é" * 33),
    ],
)
def test_a_value_that_a_dn_cannot_hold_names_its_field(field: str, value: str) -> None:
    with pytest.raises(InvalidFieldsError) as refused:
        subject_name("FR", replace(ORGANISATION, **{field: value}))
    assert [problem.field for problem in refused.value.fields] == [f"subject.{field}"]


def test_the_longest_values_are_taken() -> None:
    subject_name("FR", replace(ORGANISATION, organisation="É" * 64, state="P" * 128, common_name="é" * 32))
