"""Who a card is, from what lies on it: certificates and keys paired by CKA_ID, roles, holder, and which PKI it is of.

Nothing here trusts a card: it tells what the card says, for people to see and for the proof to begin with.
"""

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from cardd.cards.types import CardEnvironment, CardRole, CardType, Holder
from cardd.igc import der
from cardd.igc.issuing import serial_hex
from cardd.igc.names import readable_name
from cardd.igc.profiles import PRIVATE_CARD_SERIAL, PRIVATE_CARD_TYPE, PRIVATE_KEY_MEDIUM, PRIVATE_PROFESSION
from cardd_pkcs11.types import KeyId, ObjectInfo, ObjectKind

#: Values of private extension 2.
_TYPES: Final = {0: CardType.CPS, 1: CardType.CPF, 2: CardType.CPE, 3: CardType.CPA}
#: Labels of a card's private keys, which are seen after login only.
_KEY_LABELS: Final = {
    "CPS_PRIV_AUT": CardRole.AUTHENTICATION,
    "CPS_PRIV_SIG": CardRole.SIGNATURE,
    "CPS_PRIV_TECH_AUT": CardRole.TECHNICAL,
}
#: How labels of certificates begin, whatever the card's type; without accents, in lower case.
_CERTIFICATE_LABELS: Final = (
    ("certificat d'authentification", CardRole.AUTHENTICATION),
    ("certificat de signature", CardRole.SIGNATURE),
    ("certificat technique", CardRole.TECHNICAL),
)
#: Private extension 5 of a TEST certificate has this bit.
_TEST_BIT: Final = 0x80
#: What issuers of the family's real and TEST cards have in their names.
_NATIONAL_ISSUERS: Final = ("igc-sante", "igc sante", "gip-cps", "asip-sante", "asip sante")


@dataclass(frozen=True)
class CardCredential:
    """A certificate on a card, and the identifier that its key shares."""

    role: CardRole
    key_id: KeyId
    label: str
    certificate: x509.Certificate
    der: bytes

    @property
    def serial(self) -> str:
        """The certificate's serial, in hexadecimal."""
        return serial_hex(self.certificate.serial_number)


@dataclass(frozen=True)
class CardFindings:
    """What a card's objects tell; None for what they do not."""

    credentials: tuple[CardCredential, ...] = ()
    type: CardType | None = None
    holder: Holder | None = None
    environment: CardEnvironment = CardEnvironment.UNKNOWN

    def credential(self, role: CardRole) -> CardCredential | None:
        """Return the certificate for a role."""
        return next((each for each in self.credentials if each.role is role), None)


def recognise(objects: Iterable[ObjectInfo]) -> CardFindings:
    """Read a card's objects; certificates that cannot be parsed are passed over."""
    present = tuple(objects)
    key_roles = {
        found.key_id: _KEY_LABELS[found.label]
        for found in present
        if found.kind is ObjectKind.PRIVATE_KEY and found.label in _KEY_LABELS
    }
    credentials: dict[CardRole, CardCredential] = {}
    for found in present:
        credential = _credential(found, key_roles)
        if credential is not None:
            credentials.setdefault(credential.role, credential)
    ordered = tuple(credentials[role] for role in CardRole if role in credentials)
    certificates = [each.certificate for each in ordered]
    first = certificates[0] if certificates else None
    return CardFindings(
        credentials=ordered,
        type=None if first is None else card_type_in(first),
        holder=None if first is None else holder_in(first),
        environment=environment_of(certificates),
    )


def environment_of(certificates: Iterable[x509.Certificate]) -> CardEnvironment:
    """Tell which PKI certificates come from; one of the production PKI is enough for production."""
    found = {_environment(certificate) for certificate in certificates}
    for environment in (CardEnvironment.PRODUCTION, CardEnvironment.TEST):
        if environment in found:
            return environment
    return CardEnvironment.UNKNOWN


def holder_in(certificate: x509.Certificate) -> Holder | None:
    """Return the holder named by a certificate's subject, whose person attributes are one multi-valued RDN."""
    named = {oid: _first(certificate.subject, oid) for oid in _HOLDER_ATTRIBUTES}
    identifier = named[NameOID.COMMON_NAME]
    if identifier is None:
        return None
    return Holder(
        last_name=named[NameOID.SURNAME] or "",
        first_name=named[NameOID.GIVEN_NAME] or "",
        identifier=identifier,
        profession=_integer(certificate, PRIVATE_PROFESSION),
        title=named[NameOID.TITLE],
    )


def card_type_in(certificate: x509.Certificate) -> CardType | None:
    """Return the card type of private extension 2."""
    value = _integer(certificate, PRIVATE_CARD_TYPE)
    return None if value is None else _TYPES.get(value)


def card_number_in(certificate: x509.Certificate) -> str | None:
    """Return issuer and card number of private extension 3, such as `8025000001/2800636234`."""
    content = _content(certificate, PRIVATE_CARD_SERIAL, der.TAG_PRINTABLE_STRING)
    return None if content is None else content.decode("ascii", errors="replace")


def issuer_of(certificate: x509.Certificate) -> str:
    """Return the issuer's name for people."""
    return readable_name(certificate.issuer)


_HOLDER_ATTRIBUTES: Final = (NameOID.COMMON_NAME, NameOID.SURNAME, NameOID.GIVEN_NAME, NameOID.TITLE)


def _credential(found: ObjectInfo, key_roles: dict[KeyId | None, CardRole]) -> CardCredential | None:
    if found.kind is not ObjectKind.CERTIFICATE or found.certificate is None or found.key_id is None:
        return None
    certificate = _parsed(found.certificate)
    if certificate is None:
        return None
    role = key_roles.get(found.key_id) or _role(found.label, certificate)
    if role is None:
        return None
    return CardCredential(role, found.key_id, found.label, certificate, found.certificate)


def _parsed(content: bytes) -> x509.Certificate | None:
    """Parse a certificate and all of it that is used anywhere, for `cryptography` parses most of it on demand."""
    try:
        certificate = x509.load_der_x509_certificate(content)
        for name in (certificate.subject, certificate.issuer):
            readable_name(name)
        _ = certificate.extensions, certificate.not_valid_before_utc, certificate.not_valid_after_utc
        certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except _UNREADABLE:
        return None
    return certificate


#: What `cryptography` raises at what is not a certificate it can read.
_UNREADABLE: Final = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)


def _role(label: str, certificate: x509.Certificate) -> CardRole | None:
    """Tell a certificate's role by its label, else by its keyUsage (RFC 5280 §4.2.1.3)."""
    plain = _plain(label)
    for beginning, role in _CERTIFICATE_LABELS:
        if plain.startswith(beginning):
            return role
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return None
    if usage.content_commitment:
        return CardRole.SIGNATURE
    return CardRole.AUTHENTICATION if usage.digital_signature else None


def _environment(certificate: x509.Certificate) -> CardEnvironment:
    issuer = _plain(readable_name(certificate.issuer))
    says_test = "test" in issuer
    medium = _content(certificate, PRIVATE_KEY_MEDIUM, der.TAG_OCTET_STRING)
    is_real = any(name in issuer for name in _NATIONAL_ISSUERS) and not says_test
    if is_real or (medium is not None and len(medium) == 1 and not medium[0] & _TEST_BIT):
        return CardEnvironment.PRODUCTION
    if says_test or medium is not None:
        return CardEnvironment.TEST
    return CardEnvironment.UNKNOWN


def _integer(certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> int | None:
    content = _content(certificate, oid, der.TAG_INTEGER)
    return None if not content else int.from_bytes(content, "big", signed=True)


def _content(certificate: x509.Certificate, oid: x509.ObjectIdentifier, tag: int) -> bytes | None:
    """Return what a private extension holds, where it is one short DER value of that tag."""
    try:
        value = certificate.extensions.get_extension_for_oid(oid).value
    except x509.ExtensionNotFound:
        return None
    if not isinstance(value, x509.UnrecognizedExtension) or len(value.value) < 2:
        return None
    raw = value.value
    return raw[2:] if raw[0] == tag and raw[1] < 0x80 and len(raw) == 2 + raw[1] else None


def _first(name: x509.Name, oid: x509.ObjectIdentifier) -> str | None:
    found = name.get_attributes_for_oid(oid)
    return str(found[0].value) if found else None


def _plain(text: str) -> str:
    """Return a text without accents and typographic apostrophes, in lower case."""
    decomposed = unicodedata.normalize("NFKD", text.replace("’", "'"))
    return "".join(each for each in decomposed if not unicodedata.combining(each)).casefold()
