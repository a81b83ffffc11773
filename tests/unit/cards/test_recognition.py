"""What a card's certificates and labels say of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cardd.cards.recognition import recognise
from cardd.cards.types import CardEnvironment, CardRole, CardType
from cardd_pkcs11.types import ObjectKind
from tests.support.cardcertificates import card_certificate, card_objects, shown

AUTHENTICATION = "Certificat d'Authentification CPS"
SIGNATURE = "Certificat de Signature CPS"


def test_the_holder_is_read_from_one_multi_valued_rdn() -> None:
    found = recognise(card_objects((AUTHENTICATION, card_certificate())))
    assert found.holder is not None
    assert (found.holder.first_name, found.holder.last_name) == ("KIT", "DOC0063")
    assert (found.holder.identifier, found.holder.title) == ("899700636234", "Médecin")
    assert (found.holder.profession, found.type) == (10, CardType.CPS)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, CardType.CPS), (1, CardType.CPF), (2, CardType.CPE), (3, CardType.CPA), (9, None)],
)
def test_the_type_is_private_extension_2(value: int, expected: CardType | None) -> None:
    found = recognise(card_objects((AUTHENTICATION, card_certificate(card_type=value))))
    assert found.type is expected


@pytest.mark.parametrize(
    ("issuer", "medium", "expected"),
    [
        ("TEST AC IGC-SANTE FORT PERSONNES", 0x80, CardEnvironment.TEST),
        ("TEST AC IGC-SANTE FORT PERSONNES", None, CardEnvironment.TEST),
        ("AC IGC-SANTE FORT PERSONNES", None, CardEnvironment.PRODUCTION),
        ("AC IGC-SANTÉ FORT PERSONNES", 0x80, CardEnvironment.PRODUCTION),
        ("TEST AC IGC-SANTE FORT PERSONNES", 0x00, CardEnvironment.PRODUCTION),
        ("Somebody", 0x80, CardEnvironment.TEST),
        ("Somebody", None, CardEnvironment.UNKNOWN),
    ],
)
def test_issuer_and_medium_tell_test_from_production(
    issuer: str, medium: int | None, expected: CardEnvironment
) -> None:
    certificate = card_certificate(issuer, medium=medium)
    assert recognise(card_objects((AUTHENTICATION, certificate))).environment is expected


def test_one_certificate_of_the_production_pki_makes_a_production_card() -> None:
    real = card_certificate("AC IGC-SANTE FORT PERSONNES", medium=0)
    found = recognise(card_objects((AUTHENTICATION, card_certificate()), (SIGNATURE, real)))
    assert found.environment is CardEnvironment.PRODUCTION


def test_roles_come_from_labels_then_from_key_usage() -> None:
    plain, acts = card_certificate(), card_certificate(signs_acts=True)
    by_label = recognise(card_objects((SIGNATURE, acts), ("Certificat d’authentification CPE", plain)))
    assert [each.role for each in by_label.credentials] == [CardRole.AUTHENTICATION, CardRole.SIGNATURE]
    by_usage = recognise(card_objects(("one", acts), ("two", plain)))
    assert [each.role for each in by_usage.credentials] == [CardRole.AUTHENTICATION, CardRole.SIGNATURE]
    technical = recognise(card_objects(("Certificat Technique CPS", plain)))
    assert technical.credential(CardRole.TECHNICAL) is not None


def test_a_key_names_the_role_of_the_certificate_that_shares_its_identifier() -> None:
    certificate = card_objects(("without a known label", card_certificate()))
    key = shown(ObjectKind.PRIVATE_KEY, "CPS_PRIV_SIG", b"\x01")
    found = recognise((*certificate, key))
    assert [(each.role, each.key_id) for each in found.credentials] == [(CardRole.SIGNATURE, b"\x01")]


def test_a_card_without_certificates_is_nobody_s() -> None:
    found = recognise(())
    assert (found.credentials, found.holder, found.type) == ((), None, None)
    assert found.environment is CardEnvironment.UNKNOWN


@given(st.binary(max_size=200))
def test_a_certificate_that_cannot_be_parsed_is_passed_over(garbage: bytes) -> None:
    found = recognise(card_objects((AUTHENTICATION, garbage), (SIGNATURE, card_certificate())))
    assert [each.role for each in found.credentials] == [CardRole.SIGNATURE]


@given(st.integers(min_value=0, max_value=2000), st.integers(min_value=0, max_value=255))
def test_a_certificate_with_a_changed_byte_raises_nothing(position: int, value: int) -> None:
    changed = bytearray(card_certificate())
    changed[position % len(changed)] = value
    recognise(card_objects((AUTHENTICATION, bytes(changed))))
