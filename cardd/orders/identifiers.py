"""The rules of every identifier, name and address that a form takes.

Each rule is a function of the text as typed: it returns the normalised value, or a `Text` that says
what is wrong. Identifiers of structures and persons follow INSEE (SIREN, SIRET), the FINESS and RPPS
registers, and ANS's prefixes in certificates (decoded from IGC-Santé TEST certificates).
"""

import re
import unicodedata
from enum import StrEnum, unique
from typing import NamedTuple

from cardd.orders.departments import department_of
from cardd.orders.types import StructureId
from cardd.text import Text

#: A name in a DN has at most so many characters (X.520 upper bounds, RFC 5280 appendix A.1); a CN is
#: counted in bytes of UTF-8, as the strictest implementations do.
NAME_LENGTH = 64
#: First digits of the RPPS numbers set aside for tests.
TEST_RPPS_PREFIX = "99700"
#: La Poste's SIREN: its branches are too many for the Luhn rule (INSEE).
LA_POSTE_SIREN = "356000000"

_DIGITS = re.compile(r"[0-9]+")
_FINESS = re.compile(r"[0-9][0-9AB][0-9]{7}")
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_ATOM = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+")
_PHONE = re.compile(r"\+?[0-9]{4,15}")
_REGISTER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")


@unique
class IdentifierKind(StrEnum):
    """National identifiers of structures."""

    FINESS = "finess"
    SIREN = "siren"
    SIRET = "siret"

    @property
    def structure_prefix(self) -> str:
        """The digit before the number in a structure's identifier (`OU`)."""
        return _STRUCTURE_PREFIXES[self]

    @property
    def register_prefix(self) -> str:
        """The digit before `number/register` in the identifier of a person of the structure (`CN`)."""
        return _REGISTER_PREFIXES[self]


_STRUCTURE_PREFIXES = {IdentifierKind.FINESS: "1", IdentifierKind.SIREN: "2", IdentifierKind.SIRET: "3"}
_REGISTER_PREFIXES = {IdentifierKind.FINESS: "3", IdentifierKind.SIREN: "4", IdentifierKind.SIRET: "5"}
#: The digit before the RPPS number in the identifier of a health professional (`CN`).
RPPS_PREFIX = "8"


class StructureNumber(NamedTuple):
    """A structure's national identifier, checked."""

    kind: IdentifierKind
    number: str

    @property
    def structure_id(self) -> StructureId:
        """Prefix and number, as in the certificates' `OU`."""
        return StructureId(self.kind.structure_prefix + self.number)


def siren(raw: str) -> str | Text:
    """Check a SIREN: 9 digits, the last a Luhn digit."""
    return _luhn_number(without_spaces(raw), 9)


def siret(raw: str) -> str | Text:
    """Check a SIRET: a SIREN and 5 digits, the last a Luhn digit; La Poste's digits sum to a multiple of 5."""
    number = without_spaces(raw)
    if (problem := _digits_problem(number, 14)) is not None:
        return problem
    if not has_luhn_digit(number[:9]):
        return Text(
            "begins with a SIREN whose check digit is wrong", "commence par un SIREN dont la clé est fausse"
        )
    is_la_poste = number.startswith(LA_POSTE_SIREN) and sum(map(int, number)) % 5 == 0
    return number if is_la_poste or has_luhn_digit(number) else _WRONG_CHECK_DIGIT


def finess(raw: str) -> str | Text:
    """Check a FINESS: 9 characters, the last a Luhn digit.

    Where the second character is the letter A or B (Corsica, and ANS's own test numbers, published
    without a check digit) only the form is checked.
    """
    number = without_spaces(raw).upper()
    if not _FINESS.fullmatch(number):
        return Text(
            "must be 9 digits, the second of which may be the letter A or B",
            "doit compter 9 chiffres, le deuxième pouvant être la lettre A ou B",
        )
    return number if number[1] in "AB" or has_luhn_digit(number) else _WRONG_CHECK_DIGIT


def rpps(raw: str) -> str | Text:
    """Check an RPPS number: 11 digits, the last a Luhn digit."""
    return _luhn_number(without_spaces(raw), 11)


def make_test_rpps(index: int) -> str:
    """Return the RPPS number for tests with `index` (0 to 99,999): `99700`, index, Luhn digit."""
    if not 0 <= index <= 99_999:
        raise ValueError("five digits are left for the index of a test RPPS number")
    body = f"{TEST_RPPS_PREFIX}{index:05d}"
    return next(body + digit for digit in "0123456789" if has_luhn_digit(body + digit))


def structure_number(kind: IdentifierKind, raw: str) -> StructureNumber | Text:
    """Check a structure's national identifier of the given kind."""
    rule = {IdentifierKind.FINESS: finess, IdentifierKind.SIREN: siren, IdentifierKind.SIRET: siret}[kind]
    checked = rule(raw)
    return checked if isinstance(checked, Text) else StructureNumber(kind, checked)


def register(raw: str) -> str | Text:
    """Check a person's number in the register of a structure, such as `CPET0002`."""
    number = without_spaces(raw)
    if not _REGISTER.fullmatch(number):
        return Text(
            "must be 1 to 32 letters without accents, digits, dots, hyphens or underscores",
            "doit compter de 1 à 32 lettres sans accent, chiffres, points, traits d’union ou soulignés",
        )
    return number


def postal_code(raw: str) -> str | Text:
    """Check a French postal code: 5 digits that lie in a department or an overseas collectivity."""
    code = without_spaces(raw)
    if (problem := _digits_problem(code, 5)) is not None:
        return problem
    if department_of(code) is None:
        return Text("is not a French postal code", "n’est pas un code postal français")
    return code


def phone(raw: str) -> str | Text:
    """Check a telephone number: 4 to 15 digits, `+` before a country code (ITU-T E.164)."""
    number = re.sub(r"[.()-]", "", without_spaces(raw))
    if not _PHONE.fullmatch(number):
        return Text(
            "must be a telephone number of 4 to 15 digits",
            "doit être un numéro de téléphone de 4 à 15 chiffres",
        )
    return number


def fqdn(raw: str) -> str | Text:
    """Check a fully qualified domain name: LDH labels, at least two, no wildcard; returned in lower case.

    Lengths are those of RFC 1035 §2.3.4; internationalised names come as A-labels (RFC 5890 §2.3.2.1).
    """
    name = raw.strip().lower()
    if "*" in name:
        return Text("must not hold a wildcard", "ne doit pas contenir de caractère générique « * »")
    labels = name.split(".")
    if not 1 <= len(name) <= 253 or not all(_LABEL.fullmatch(label) for label in labels):
        return Text(
            "must be letters, digits and hyphens in labels of at most 63, at most 253 in all",
            "doit être fait de lettres, chiffres et traits d’union, par parties d’au plus 63 et 253 en tout",
        )
    if len(labels) < 2 or labels[-1].isdigit():
        return Text(
            "must be a full name of at least two labels, such as www.example.fr",
            "doit être un nom complet d’au moins deux parties, tel que www.exemple.fr",
        )
    if not all(_is_a_label(label) for label in labels if label.startswith("xn--")):
        return Text("holds a label that is not valid punycode", "contient une partie en punycode non valide")
    return name


def email(raw: str) -> str | Text:
    """Check an e-mail address: dot-atom local part of at most 64, FQDN (RFC 5321 §4.5.3.1, §4.1.2)."""
    address = raw.strip()
    local, at, domain = address.rpartition("@")
    checked = fqdn(domain)
    valid = at and len(local) <= 64 and len(address) <= 254 and all(map(_ATOM.fullmatch, local.split(".")))
    if not valid or isinstance(checked, Text):
        return Text("must be an e-mail address such as name@example.fr",
                    "doit être une adresse électronique telle que nom@exemple.fr")  # fmt: skip
    return f"{local}@{checked}"


def line(raw: str) -> str | Text:
    """Check a line of text: not empty, no control characters; spaces are made single, letters composed (NFC)."""
    if any(unicodedata.category(character) in _REFUSED_CATEGORIES for character in raw.strip()):
        return Text("must not hold control characters", "ne doit pas contenir de caractères de contrôle")
    text = unicodedata.normalize("NFC", " ".join(raw.split()))
    if not text:
        return Text("must not be empty", "ne doit pas être vide")
    if not text.isprintable():
        return Text("must hold printable characters only", "ne doit contenir que des caractères imprimables")
    return text


def name(raw: str) -> str | Text:
    """Check a name for a DN: a line of at most 64 characters."""
    checked = line(raw)
    if isinstance(checked, str) and len(checked) > NAME_LENGTH:
        return Text(
            f"must have at most {NAME_LENGTH} characters", f"doit avoir au plus {NAME_LENGTH} caractères"
        )
    return checked


def common_name(raw: str) -> str | Text:
    """Check a common name: a line of at most 64 bytes of UTF-8, which is 64 characters without accents."""
    checked = line(raw)
    if isinstance(checked, str) and len(checked.encode()) > NAME_LENGTH:
        return Text(
            f"must have at most {NAME_LENGTH} characters (an accented letter counts twice)",
            f"doit avoir au plus {NAME_LENGTH} caractères (une lettre accentuée compte double)",
        )
    return checked


def without_spaces(raw: str) -> str:
    """Return an identifier without the spaces, of any kind, that people put into it."""
    return "".join(raw.split())


def has_luhn_digit(number: str) -> bool:
    """Tell whether the last digit is right (ISO/IEC 7812-1 annex B), a number of zeros never being so."""
    digits = [int(digit) for digit in reversed(number)]
    total = sum(digits[::2]) + sum(sum(divmod(2 * digit, 10)) for digit in digits[1::2])
    return total > 0 and total % 10 == 0


#: Control, surrogate, private-use and unassigned characters; separators of lines and paragraphs.
_REFUSED_CATEGORIES = frozenset({"Cc", "Cs", "Co", "Cn", "Zl", "Zp"})

_WRONG_CHECK_DIGIT = Text(
    "has a wrong check digit: a digit was mistyped", "a une clé de contrôle fausse : un chiffre est erroné"
)


def _luhn_number(number: str, length: int) -> str | Text:
    if (problem := _digits_problem(number, length)) is not None:
        return problem
    return number if has_luhn_digit(number) else _WRONG_CHECK_DIGIT


def _digits_problem(number: str, length: int) -> Text | None:
    if len(number) == length and _DIGITS.fullmatch(number):
        return None
    return Text(f"must be {length} digits", f"doit compter {length} chiffres")


def _is_a_label(label: str) -> bool:
    try:
        return not label.removeprefix("xn--").encode("ascii").decode("punycode").isascii()
    except UnicodeError:
        return False
