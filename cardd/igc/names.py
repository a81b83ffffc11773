"""The CAs of the hierarchy and the distinguished name of every certificate.

Structure and common names follow the real IGC-Santé (decoded from its TEST certificates); `O` and both
`OU` come from the policy and differ plainly from ANS's.
"""

from enum import Enum, StrEnum
from typing import NamedTuple, assert_never

import msgspec
from cryptography import x509
from cryptography.x509.oid import NameOID

from cardd.errors import FieldProblem, InvalidFieldsError
from cardd.text import Text


class Tier(Enum):
    """An assurance level (gamme); each has its own root. The value is its word in common names."""

    EL = "ELEMENTAIRE"
    ST = "STANDARD"
    FO = "FORT"


class CaRole(Enum):
    """What a CA certifies. The value is its word in common names."""

    ROOT = "RACINE"
    ORGANISATIONS = "ORGANISATIONS"
    PERSONS = "PERSONNES"


class CaName(StrEnum):
    """The nine CAs, under the names they are published by."""

    ACR_EL = "ACR-EL-TEST"
    ACR_ST = "ACR-ST-TEST"
    ACR_FO = "ACR-FO-TEST"
    ACI_EL_ORG = "ACI-EL-ORG-TEST"
    ACI_EL_PP = "ACI-EL-PP-TEST"
    ACI_ST_ORG = "ACI-ST-ORG-TEST"
    ACI_ST_PP = "ACI-ST-PP-TEST"
    ACI_FO_ORG = "ACI-FO-ORG-TEST"
    ACI_FO_PP = "ACI-FO-PP-TEST"

    @property
    def code(self) -> str:
        """The short code, without `-TEST`: `ACI-EL-ORG`."""
        return self.value.removesuffix("-TEST")

    @property
    def tier(self) -> Tier:
        """The assurance level."""
        return Tier[self.code.split("-")[1]]

    @property
    def role(self) -> CaRole:
        """What this CA certifies."""
        if self.code.startswith("ACR"):
            return CaRole.ROOT
        return CaRole.ORGANISATIONS if self.code.endswith("ORG") else CaRole.PERSONS

    @property
    def is_root(self) -> bool:
        """Whether this CA signs itself."""
        return self.role is CaRole.ROOT

    @property
    def issuer(self) -> "CaName":
        """The CA that signs this one: its tier's root, or itself."""
        return CaName(f"ACR-{self.tier.name}-TEST")

    @property
    def common_name(self) -> str:
        """The `CN` of this CA."""
        if self.is_root:
            return f"TEST AC RACINE IGC-SANTE {self.tier.value}"
        return f"TEST AC IGC-SANTE {self.tier.value} {self.role.value}"

    @property
    def responder_common_name(self) -> str:
        """The `CN` of this CA's OCSP responder."""
        return f"TEST OCSP {self.common_name.removeprefix('TEST AC ')}"


#: The name under which the responder for lists of others is published.
LIST_RESPONDER = "OCSP-LISTES-TEST"
LIST_RESPONDER_COMMON_NAME = "TEST OCSP LISTES TENUES EN CACHE"
#: Who certifies it: the CA that no profile names, so that the right to sign OCSP responses that lies in its certificate
#: (RFC 6960 §4.2.2.2) reaches no certificate.
LIST_RESPONDER_ISSUER = CaName.ACI_ST_ORG

ROOTS = tuple(name for name in CaName if name.is_root)
INTERMEDIATES = tuple(name for name in CaName if not name.is_root)


class AuthorityDn(msgspec.Struct, frozen=True, kw_only=True):
    """What the DNs of all CAs of one PKI have in common."""

    country: str
    organisation: str
    organisational_units: tuple[str, str]


class OrganisationSubject(msgspec.Struct, frozen=True, kw_only=True, tag="organisation"):
    """A service, a server or a legal person of a structure (offers ORG and SERV)."""

    state: str
    """`ST`: town and department, such as `Paris (75)`."""
    organisation: str
    """`O`: the structure's name."""
    unit: str
    """`OU`: the structure's national identifier with its one-digit prefix, such as `318751275100020`."""
    common_name: str
    """`CN`: the service, the first FQDN, or the e-mail address."""


class PersonSubject(msgspec.Struct, frozen=True, kw_only=True, tag="person"):
    """A health professional (CPS cards and offer PS)."""

    title: str
    """`title`: the profession, such as `Infirmier`."""
    given_name: str
    common_name: str
    """`CN`: the person's national identifier with its one-digit prefix, such as `899700000018`."""
    surname: str


class StructurePersonSubject(msgspec.Struct, frozen=True, kw_only=True, tag="structure_person"):
    """A natural person of a structure (CPE and CPA cards and offer PRO)."""

    state: str
    organisation: str
    unit: str
    title: str
    given_name: str
    common_name: str
    """`CN`: the structure's identifier, a slash and the person's, such as `30B0057881/CPET0002`."""
    surname: str


Subject = OrganisationSubject | PersonSubject | StructurePersonSubject


def authority_name(dn: AuthorityDn, common_name: str) -> x509.Name:
    """Return the DN of a CA or of one of its responders."""
    return _name(
        dn.country,
        [
            _Attribute(NameOID.ORGANIZATION_NAME, "organisation", dn.organisation),
            *(_Attribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "unit", unit) for unit in dn.organisational_units),
            _Attribute(NameOID.COMMON_NAME, "common_name", common_name),
        ],
        [],
    )


def subject_name(country: str, subject: Subject) -> x509.Name:
    """Return the DN of a leaf certificate: `C` a PrintableString and first, all else UTF8String.

    Raises `InvalidFieldsError` naming `subject.<field>` where a value breaks X.520's bounds (RFC 5280
    appendix A.1).
    """
    match subject:
        case OrganisationSubject():
            single = [
                *_structure(subject),
                _Attribute(NameOID.COMMON_NAME, "common_name", subject.common_name),
            ]
            return _name(country, single, [])
        case PersonSubject():
            return _name(country, [_title(subject)], _person(subject))
        case StructurePersonSubject():
            return _name(country, [*_structure(subject), _title(subject)], _person(subject))
        case _:
            assert_never(subject)


def readable_name(name: x509.Name) -> str:
    """Return a DN as RFC 4514 writes it, with the short names of the person attributes (RFC 4519 §2)."""
    return name.rfc4514_string(_SHORT_NAMES)


_SHORT_NAMES = {NameOID.SURNAME: "SN", NameOID.GIVEN_NAME: "GN", NameOID.TITLE: "title"}


class _Attribute(NamedTuple):
    oid: x509.ObjectIdentifier
    field: str
    value: str


#: X.520's upper bounds, in characters (RFC 5280 appendix A.1); those of a surname and of a given name are
#: 32768 there, shortened here to what a form holds.
_UPPER_BOUNDS = {NameOID.STATE_OR_PROVINCE_NAME: 128, NameOID.SURNAME: 256, NameOID.GIVEN_NAME: 256}
_DEFAULT_UPPER_BOUND = 64


def _structure(subject: OrganisationSubject | StructurePersonSubject) -> list[_Attribute]:
    return [
        _Attribute(NameOID.STATE_OR_PROVINCE_NAME, "state", subject.state),
        _Attribute(NameOID.ORGANIZATION_NAME, "organisation", subject.organisation),
        _Attribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "unit", subject.unit),
    ]


def _title(subject: PersonSubject | StructurePersonSubject) -> _Attribute:
    return _Attribute(NameOID.TITLE, "title", subject.title)


def _person(subject: PersonSubject | StructurePersonSubject) -> list[_Attribute]:
    """Return the person's attributes, which share one relative DN; DER orders them by their encodings."""
    return [
        _Attribute(NameOID.GIVEN_NAME, "given_name", subject.given_name),
        _Attribute(NameOID.COMMON_NAME, "common_name", subject.common_name),
        _Attribute(NameOID.SURNAME, "surname", subject.surname),
    ]


def _name(country: str, single: list[_Attribute], shared: list[_Attribute]) -> x509.Name:
    problems = [
        FieldProblem(f"subject.{attribute.field}", problem)
        for attribute in (*single, *shared)
        if (problem := _problem(attribute)) is not None
    ]
    if problems:
        raise InvalidFieldsError(problems)
    rdns = [x509.RelativeDistinguishedName([x509.NameAttribute(NameOID.COUNTRY_NAME, country)])]
    rdns += [x509.RelativeDistinguishedName([_encoded(attribute)]) for attribute in single]
    if shared:
        rdns.append(x509.RelativeDistinguishedName([_encoded(attribute) for attribute in shared]))
    return x509.Name(rdns)


def _encoded(attribute: _Attribute) -> x509.NameAttribute[str]:
    return x509.NameAttribute(attribute.oid, attribute.value)


def _problem(attribute: _Attribute) -> Text | None:
    if not attribute.value.isprintable():
        return Text("must not hold control characters", "ne doit pas contenir de caractères de contrôle")
    bound = _UPPER_BOUNDS.get(attribute.oid, _DEFAULT_UPPER_BOUND)
    if not attribute.value or attribute.value != attribute.value.strip():
        return Text(
            "must not be empty nor begin or end with a space",
            "ne doit être ni vide ni commencer ou finir par une espace",
        )
    # Common implementations count the bytes of a CN's UTF-8 form, so that the stricter rule is the safe one.
    length = len(attribute.value.encode() if attribute.oid == NameOID.COMMON_NAME else attribute.value)
    if length > bound:
        return Text(f"must have at most {bound} characters", f"doit avoir au plus {bound} caractères")
    return None
