"""Who a test card is: its serial, its card number, its token's label, its holder and its certificates' subject.

The serial is the eight digits of EF.SN; the Luhn digit stands beside it there, not in it. Certificates name a
card by a ten-digit card number (private extension 1.2.250.1.71.1.2.3); on the TEST card whose certificate is
published, its last digit is the Luhn digit of the whole, and ours are made the same way.
"""

import re
import secrets
from collections.abc import Collection
from typing import Final, NamedTuple

import msgspec

from cardd.cards.types import (
    ISSUED_TYPES,
    CardRole,
    CardSerial,
    CardType,
    Holder,
    TestCardRequest,
)
from cardd.errors import FieldProblem, InvalidFieldsError
from cardd.igc.names import PersonSubject, StructurePersonSubject, Subject
from cardd.igc.profiles import ProfileName
from cardd.orders import identifiers
from cardd.orders.identifiers import RPPS_PREFIX, make_test_rpps
from cardd.orders.subjects import Structure
from cardd.text import Text
from cardd.vocabulary import PROFESSION_TITLES, STRUCTURE_PERSON_TITLE, Profession

#: Issuer identification in EF.SN and in card numbers (ISO/IEC 7812: 80 health, 250 France).
ISSUER_IDENTIFICATION: Final = "8025000001"

#: What every card number of ours begins with, before the serial; as on the published TEST card.
_CARD_NUMBER_SERIES: Final = "2"
_LABEL = re.compile(r"CPS ([0-9]{8})\Z")
#: How many test RPPS numbers there are.
_TEST_RPPS_NUMBERS: Final = 100_000


class CertificateSlot(msgspec.Struct, frozen=True):
    """One of a card's key pairs: its names on the token."""

    role: CardRole
    key_label: str
    certificate_label: str
    profile: ProfileName


def luhn_digit(number: str) -> int:
    """Return the check digit to append to a string of digits (ISO/IEC 7812-1, annex B)."""
    total = 0
    for index, character in enumerate(reversed(number)):
        digit = int(character) * (2 if index % 2 == 0 else 1)
        total += digit - 9 if digit > 9 else digit
    return -total % 10


def new_serial(taken: Collection[str]) -> CardSerial:
    """Return eight random digits, the first not zero, that are not among `taken`."""
    while True:
        serial = str(10_000_000 + secrets.randbelow(90_000_000))
        if serial not in taken:
            return CardSerial(serial)


def serial_file(serial: CardSerial) -> bytes:
    """Return the twelve bytes of EF.SN: 5A 0A, issuer, serial in BCD, Luhn digit and F."""
    check = luhn_digit(ISSUER_IDENTIFICATION + serial)
    return bytes.fromhex(f"5A0A{ISSUER_IDENTIFICATION}{serial}{check}F")


def card_number(serial: CardSerial) -> str:
    """Return the ten-digit card number: series, serial, and the Luhn digit over issuer and both."""
    number = _CARD_NUMBER_SERIES + serial
    return f"{number}{luhn_digit(ISSUER_IDENTIFICATION + number)}"


def certified_card_number(serial: CardSerial) -> str:
    """Return the value of private extension 3, such as `8025000001/2800636234`."""
    return f"{ISSUER_IDENTIFICATION}/{card_number(serial)}"


def token_label(serial: CardSerial) -> str:
    """Return the label of a test card's token."""
    return f"CPS {serial}"


def serial_of_label(label: str) -> CardSerial | None:
    """Return the serial in a token's label, or None where the token is no test card of ours."""
    found = _LABEL.match(label)
    return CardSerial(found[1]) if found else None


def slots(card_type: CardType) -> tuple[CertificateSlot, CertificateSlot]:
    """Return the two key pairs of a card, authentication first, under the labels of a CPS3."""
    family = card_type.value.upper()
    return (
        CertificateSlot(
            CardRole.AUTHENTICATION,
            "CPS_PRIV_AUT",
            f"Certificat d'Authentification {family}",
            ProfileName(f"{family}-AUTH_CLI"),
        ),
        CertificateSlot(
            CardRole.SIGNATURE,
            "CPS_PRIV_SIG",
            f"Certificat de Signature {family}",
            ProfileName(f"{family}-SIGN"),
        ),
    )


def free_test_rpps(taken: Collection[str]) -> str:
    """Return a test RPPS number that is not among `taken`."""
    start = secrets.randbelow(_TEST_RPPS_NUMBERS)
    numbers = (make_test_rpps((start + step) % _TEST_RPPS_NUMBERS) for step in range(_TEST_RPPS_NUMBERS))
    return next(number for number in numbers if number not in taken)


def make_holder(
    request: TestCardRequest,
    *,
    serial: CardSerial,
    recipient: tuple[str, str],
    structure: Structure,
    taken_rpps: Collection[str],
) -> Holder:
    """Return who will hold the card; `recipient` is the last and the first name of the form's.

    Raises:
        InvalidFieldsError: a field of the request breaks a rule.
    """
    form = check_holder(request, recipient)
    if request.type is not CardType.CPS:
        register = f"{request.type.value.upper()}T{serial}"
        return Holder(
            last_name=form.last_name,
            first_name=form.first_name,
            identifier=f"{structure.kind.register_prefix}{structure.number}/{register}",
            title=_STAFF_TITLES[request.type],
        )
    profession = request.profession or Profession.MEDECIN
    return Holder(
        last_name=form.last_name,
        first_name=form.first_name,
        identifier=RPPS_PREFIX + (form.rpps or free_test_rpps(taken_rpps)),
        profession=profession.value,
        title=PROFESSION_TITLES[profession],
    )


def rpps_of(holder: Holder) -> str | None:
    """Return the RPPS number of a CPS's holder, None on the other cards."""
    return holder.identifier.removeprefix(RPPS_PREFIX) if holder.profession is not None else None


def subject_of(holder: Holder, structure: Structure) -> Subject:
    """Return the subject of a card's certificates: a professional's, or a member's of a structure."""
    title = holder.title or ""
    if holder.profession is not None:
        return PersonSubject(
            title=title,
            given_name=holder.first_name,
            common_name=holder.identifier,
            surname=holder.last_name,
        )
    return StructurePersonSubject(
        state=structure.state,
        organisation=structure.name,
        unit=structure.id,
        title=title,
        given_name=holder.first_name,
        common_name=holder.identifier,
        surname=holder.last_name,
    )


class HolderFields(NamedTuple):
    """What a request says of the holder, normalised."""

    last_name: str
    first_name: str
    rpps: str | None


def check_holder(request: TestCardRequest, recipient: tuple[str, str]) -> HolderFields:
    """Check every field of the holder's and return them normalised; names default to the recipient's.

    Raises:
        InvalidFieldsError: it names each field that breaks a rule.
    """
    checks = {
        "last_name": identifiers.name(request.last_name if request.last_name is not None else recipient[0]),
        "first_name": identifiers.name(
            request.first_name if request.first_name is not None else recipient[1]
        ),
    }
    if request.type not in ISSUED_TYPES:
        checks["type"] = Text("is not issued here", "n’est pas émis ici")
    if request.type is not CardType.CPS:
        given = {"profession": request.profession, "rpps": request.rpps}
        checks |= {field: _CPS_ONLY for field, value in given.items() if value is not None}
    elif request.rpps is not None:
        checks["rpps"] = identifiers.rpps(request.rpps)
    problems = [FieldProblem(field, found) for field, found in checks.items() if isinstance(found, Text)]
    if problems:
        raise InvalidFieldsError(problems)
    return HolderFields(
        str(checks["last_name"]), str(checks["first_name"]), str(checks["rpps"]) if "rpps" in checks else None
    )


#: `title` of the certificates; that of a CPE is decoded from a TEST certificate, that of a CPA inferred.
_STAFF_TITLES = {CardType.CPE: STRUCTURE_PERSON_TITLE, CardType.CPA: "Personnel autorisé"}
_CPS_ONLY = Text("is for CPS cards only", "ne concerne que les cartes CPS")
