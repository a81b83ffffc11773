"""Reading a revocation list (RFC 5280 §5) without building an object an entry.

The list's head and tail are read by `cryptography` as a list without entries; the entries, of which there may
be a million, are scanned in place. Nothing here decides whether the list may be relied on: see `verifying`.
"""

import base64
import hashlib
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NamedTuple, TypeVar

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import CRLEntryExtensionOID, ExtensionOID

from cardd.revocation.errors import ListRefusedError
from cardd.revocation.types import Reason, SpkiHash

E = TypeVar("E", bound=x509.ExtensionType)

#: CRLReason (RFC 5280 §5.3.1) by its number; 7 is not used.
REASONS = {
    0: Reason.UNSPECIFIED,
    1: Reason.KEY_COMPROMISE,
    2: Reason.CA_COMPROMISE,
    3: Reason.AFFILIATION_CHANGED,
    4: Reason.SUPERSEDED,
    5: Reason.CESSATION_OF_OPERATION,
    6: Reason.CERTIFICATE_HOLD,
    8: Reason.REMOVE_FROM_CRL,
    9: Reason.PRIVILEGE_WITHDRAWN,
    10: Reason.AA_COMPROMISE,
}
REMOVE_FROM_CRL = 8

#: Reasons that an issuingDistributionPoint or a distribution point can name (RFC 5280 §4.2.1.13, bits 1 to 8).
ALL_REASONS = frozenset(flag.value for flag in x509.ReasonFlags) - {"unspecified", "removeFromCRL"}

#: Longest serial read, in bytes; RFC 5280 §4.1.2.2 allows 20.
_LONGEST_SERIAL = 64
#: Bytes of the certificate issuer's hash before the serial in the keys of an indirect list.
PREFIX_BYTES = 16

_SEQUENCE, _INTEGER, _BIT_STRING, _BOOLEAN = 0x30, 0x02, 0x03, 0x01
_UTC_TIME, _GENERALIZED_TIME, _EXTENSIONS = 0x17, 0x18, 0xA0
_PEM = re.compile(rb"-----BEGIN X509 CRL-----\s(.+?)-----END X509 CRL-----", re.DOTALL)


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """What a list speaks of: its issuingDistributionPoint (RFC 5280 §5.2.5), or everything."""

    users: bool = True
    authorities: bool = True
    attributes_only: bool = False
    reasons: frozenset[str] = ALL_REASONS
    points: tuple[bytes, ...] | None = None
    """DER of the distribution point's names; None when the list has no distribution point."""
    indirect: bool = False
    encoded: bytes = b""
    """The extension's DER; a delta's equals its base's (RFC 5280 §5.2.4)."""

    @property
    def limits(self) -> tuple[str, ...]:
        """Return what the list leaves out, in short."""
        found = {
            "onlyContainsUserCerts": not self.authorities and self.users,
            "onlyContainsCACerts": not self.users and self.authorities,
            "onlyContainsAttributeCerts": self.attributes_only,
            "onlySomeReasons": self.reasons != ALL_REASONS,
            "distributionPoint": self.points is not None,
            "indirectCRL": self.indirect,
        }
        return tuple(name for name, holds in found.items() if holds)


class ListFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a list beside its entries."""

    number: int | None
    base_number: int | None
    this_update: datetime
    next_update: datetime | None
    entries: int
    size: int
    sha256: str
    scope: Scope
    freshest_urls: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class ParsedList(NamedTuple):
    """A list cut into its parts."""

    der: bytes
    tbs: bytes
    head: x509.CertificateRevocationList
    """The same list without its entries; its signature does not fit."""
    entries: tuple[int, int]
    """Where the entries begin and end in `der`."""
    was_pem: bool


class Entries(NamedTuple):
    """Entries as the index keeps them, sorted by key, each key once."""

    keys: list[bytes]
    values: list[bytes]
    read: int
    """Entries of the list, duplicates included."""


def parse(content: bytes) -> ParsedList:
    """Cut a list, DER or PEM, into its parts.

    Raises `ListRefusedError` `malformed` for what is not one list, whole and with nothing after it.
    """
    try:
        der, was_pem = _as_der(content)
        return _cut(der, was_pem=was_pem)
    except (ValueError, IndexError, TypeError) as error:
        shown = str(error)[:120] or type(error).__name__
        raise ListRefusedError.of(
            "malformed",
            f"What was received is not a whole revocation list ({shown}).",
            f"Ce qui a été reçu n’est pas une liste de révocation entière ({shown}).",
        ) from None


def facts_of(parsed: ParsedList, entries: int) -> ListFacts:
    """Return what is kept of a list; raises `ListRefusedError` where an extension cannot be read."""
    head = parsed.head
    try:
        extensions = head.extensions
        number, delta = _optional(extensions, x509.CRLNumber), _optional(extensions, x509.DeltaCRLIndicator)
        freshest = _optional(extensions, x509.FreshestCRL)
        scope = scope_of(extensions, head.issuer)
    except (ValueError, x509.DuplicateExtension) as error:
        raise ListRefusedError.of(
            "malformed",
            f"An extension of the list cannot be read ({error}).",
            f"Une extension de la liste est illisible ({error}).",
        ) from None
    return ListFacts(
        number=number.crl_number if number is not None else None,
        base_number=delta.crl_number if delta is not None else None,
        this_update=head.last_update_utc,
        next_update=head.next_update_utc,
        entries=entries,
        size=len(parsed.der),
        sha256=hashlib.sha256(parsed.der).hexdigest(),
        scope=scope,
        freshest_urls=urls_of(freshest) if freshest is not None else (),
        notes=("pem",) if parsed.was_pem else (),
    )


def scan(parsed: ParsedList, *, indirect: bool, default_issuer: bytes = b"") -> Entries:
    """Read every entry; of duplicate serials the first revocation stays unless a later one lifts it.

    In an indirect list each key begins with the hash of its certificate issuer, `default_issuer` until an
    entry names another (RFC 5280 §5.3.3). Raises `ListRefusedError` for an entry that cannot be read or has
    a critical extension nobody here knows.
    """
    try:
        found, read = _scan(parsed.der, *parsed.entries, indirect=indirect, prefix=default_issuer)
    except (ValueError, IndexError, UnicodeDecodeError) as error:
        raise ListRefusedError.of(
            "malformed",
            f"An entry of the list cannot be read ({error}).",
            f"Une entrée de la liste est illisible ({error}).",
        ) from None
    keys = sorted(found)
    return Entries(keys, [found[key] for key in keys], read)


def entry_key(serial: int) -> bytes:
    """Return the key of a serial: its DER contents, so that -1 and 255 differ."""
    return serial.to_bytes(
        (serial.bit_length() if serial >= 0 else (serial + 1).bit_length()) // 8 + 1, "big", signed=True
    )


def issuer_prefix(name: x509.Name) -> bytes:
    """Return what the keys of a certificate issuer begin with in an indirect list."""
    return hashlib.sha256(repr(comparable(name)).encode()).digest()[:PREFIX_BYTES]


def decode_value(value: bytes) -> tuple[int, datetime]:
    """Return reason and time of an entry as kept; raises `ValueError` for a time that is none."""
    text = value[1:]
    if len(text) == _UTC_TIME_DIGITS:
        text = (b"20" if text[0] < _FIRST_OF_1950 else b"19") + text
    year, month, day = int(text[:4]), int(text[4:6]), int(text[6:8])
    return value[0], datetime(
        year, month, day, int(text[8:10]), int(text[10:12]), int(text[12:14]), tzinfo=UTC
    )


_UTC_TIME_DIGITS = 13
_FIRST_OF_1950 = ord("5")


def comparable(name: x509.Name) -> tuple[frozenset[tuple[str, str]], ...]:
    """Return a name in a form that compares as RFC 5280 §7.1 asks: without case, spaces run together."""
    return tuple(
        frozenset((a.oid.dotted_string, " ".join(_text(a.value).split()).casefold()) for a in rdn)
        for rdn in name.rdns
    )


def spki_sha256(certificate: x509.Certificate) -> SpkiHash:
    """Return the hash under which a CA is asked for."""
    spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return SpkiHash(hashlib.sha256(spki).hexdigest())


def urls_of(points: Iterable[x509.DistributionPoint]) -> tuple[str, ...]:
    """Return the URIs of distribution points, in their order."""
    return tuple(
        name.value
        for point in points
        for name in point.full_name or ()
        if isinstance(name, x509.UniformResourceIdentifier)
    )


def point_names(
    full_name: Iterable[x509.GeneralName] | None,
    relative: x509.RelativeDistinguishedName | None,
    issuer: x509.Name,
) -> tuple[bytes, ...] | None:
    """Return the names of a distribution point in a form that compares; None without one (RFC 5280 §6.3.3 b 2)."""
    if relative is not None:
        full = x509.Name([*issuer.rdns, relative])
        return (repr(comparable(full)).encode(),)
    if full_name is None:
        return None
    return tuple(
        repr(comparable(name.value)).encode()
        if isinstance(name, x509.DirectoryName)
        else f"{type(name).__name__}:{name.value}".encode()
        for name in full_name
    )


def scope_of(extensions: x509.Extensions, issuer: x509.Name) -> Scope:
    """Return the scope that a list's extensions give it."""
    point = _optional(extensions, x509.IssuingDistributionPoint)
    if point is None:
        return Scope()
    reasons = point.only_some_reasons
    return Scope(
        users=not point.only_contains_ca_certs and not point.only_contains_attribute_certs,
        authorities=not point.only_contains_user_certs and not point.only_contains_attribute_certs,
        attributes_only=point.only_contains_attribute_certs,
        reasons=ALL_REASONS if reasons is None else frozenset(flag.value for flag in reasons),
        points=point_names(point.full_name, point.relative_name, issuer),
        indirect=point.indirect_crl,
        encoded=point.public_bytes(),
    )


def _optional(extensions: x509.Extensions, kind: type[E]) -> E | None:
    try:
        return extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.hex()


def _as_der(content: bytes) -> tuple[bytes, bool]:
    if content[:1] == b"\x30":
        return content, False
    found = _PEM.search(content)
    if found is None:
        raise ValueError("neither DER nor PEM" if content else "nothing at all")
    return base64.b64decode(b"".join(found[1].split()), validate=True), True


def _cut(der: bytes, *, was_pem: bool) -> ParsedList:
    start, end = _contents(der, 0, _SEQUENCE)
    if end != len(der):
        raise ValueError("it is cut short" if end > len(der) else "something follows it")
    tbs_start, tbs_end = _contents(der, start, _SEQUENCE)
    at = tbs_start
    if der[at] == _INTEGER:
        at = _after(der, at)
    for _ in range(2):  # signature, issuer
        at = _contents(der, at, _SEQUENCE)[1]
    at = _after(der, at)  # thisUpdate
    if at < tbs_end and der[at] in (_UTC_TIME, _GENERALIZED_TIME):
        at = _after(der, at)
    entries = (at, at)
    rest = at
    if at < tbs_end and der[at] == _SEQUENCE:
        entries = _contents(der, at, _SEQUENCE)
        rest = entries[1]
    if entries[1] > tbs_end or tbs_end > end:
        raise ValueError("its lengths do not agree")
    head = _sequence(_sequence(der[tbs_start:at] + der[rest:tbs_end]) + der[tbs_end:end])
    return ParsedList(der, der[start:tbs_end], x509.load_der_x509_crl(head), entries, was_pem)


def _sequence(contents: bytes) -> bytes:
    size = len(contents)
    if size < 0x80:
        return bytes([_SEQUENCE, size]) + contents
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([_SEQUENCE, 0x80 | len(octets)]) + octets + contents


def _contents(der: bytes, at: int, tag: int) -> tuple[int, int]:
    """Return where the contents of the element at `at` begin and end."""
    if der[at] != tag:
        raise ValueError(f"tag {der[at]:#04x} where {tag:#04x} is due")
    return _span(der, at)


def _after(der: bytes, at: int) -> int:
    return _span(der, at)[1]


def _span(der: bytes, at: int) -> tuple[int, int]:
    length = der[at + 1]
    if length < 0x80:
        return at + 2, at + 2 + length
    size = length & 0x7F
    if not 1 <= size <= 5:
        raise ValueError("a length that DER does not have")
    start = at + 2 + size
    return start, start + int.from_bytes(der[at + 2 : start], "big")


def _scan(  # noqa: C901, PLR0912 (one pass over a million entries has no calls to spare)
    der: bytes, at: int, end: int, *, indirect: bool, prefix: bytes
) -> tuple[dict[bytes, bytes], int]:
    """Walk the entries. The loop is written for speed: one pass, slices only, extensions read once each kind."""
    found: dict[bytes, bytes] = {}
    known: dict[bytes, tuple[bytes, bytes | None]] = {b"": (b"\x00", None)}
    read = 0
    while at < end:
        if der[at] != _SEQUENCE:
            raise ValueError("an entry is not a SEQUENCE")
        length = der[at + 1]
        if length < 0x80:
            body, stop = at + 2, at + 2 + length
        else:
            body, stop = _span(der, at)
        size = der[body + 1]
        time = body + 2 + size
        if der[body] != _INTEGER or not 0 < size <= _LONGEST_SERIAL or stop > end:
            raise ValueError("an entry's serial or length is not valid")
        tail = time + 2 + der[time + 1]
        moment = der[time + 2 : tail]
        if not (
            moment[:-1].isdigit()
            and moment[-1] == 0x5A
            and (der[time], tail - time) in _TIMES
            and tail <= stop
        ):
            raise ValueError("an entry's time is not valid")
        extensions = der[tail:stop]
        decoded = known.get(extensions)
        if decoded is None:
            decoded = known[extensions] = _entry_extensions(extensions)
            if len(known) > _KNOWN_EXTENSIONS:
                known = {b"": (b"\x00", None)}
        reason, issuer = decoded
        key = der[body + 2 : time]
        if size > 1 and ((key[0] == 0 and key[1] < 0x80) or (key[0] == 0xFF and key[1] >= 0x80)):
            key = entry_key(int.from_bytes(key, "big", signed=True))
        if indirect:
            prefix = issuer or prefix
            key = prefix + key
        elif issuer is not None:
            raise ListRefusedError.of(
                "indirect_entry",
                "An entry names a certificate issuer, and the list does not say that it is indirect.",
                "Une entrée nomme un émetteur de certificat, et la liste ne se dit pas indirecte.",
            )
        value = reason + moment
        if found.setdefault(key, value) is not value and found[key][0] == REMOVE_FROM_CRL:
            found[key] = value
        read += 1
        at = stop
    if at != end:
        raise ValueError("the entries' lengths do not agree")
    return found, read


#: Tag and whole length of a Time: UTCTime in 13 characters, GeneralizedTime in 15 (RFC 5280 §5.1.2.4).
_TIMES = frozenset({(_UTC_TIME, 15), (_GENERALIZED_TIME, 17)})
_KNOWN_EXTENSIONS = 4096
_ENTRY_EXTENSIONS = frozenset(
    {
        CRLEntryExtensionOID.CRL_REASON,
        CRLEntryExtensionOID.INVALIDITY_DATE,
        CRLEntryExtensionOID.CERTIFICATE_ISSUER,
    }
)
_DER_CRL_REASON = bytes.fromhex("0603551D15")


def _entry_extensions(encoded: bytes) -> tuple[bytes, bytes | None]:
    """Return reason and certificate issuer's prefix from the extensions of an entry, by way of a list of its own."""
    entry = _sequence(bytes.fromhex("020101") + bytes([_UTC_TIME, 13]) + b"260101000000Z" + encoded)
    algorithm = bytes.fromhex("300A06082A8648CE3D040302")
    tbs = _sequence(
        bytes.fromhex("020101")
        + algorithm
        + b"\x30\x00"
        + bytes([_UTC_TIME, 13])
        + b"260101000000Z"
        + _sequence(entry)
    )
    (revoked,) = x509.load_der_x509_crl(_sequence(tbs + algorithm + bytes.fromhex("030100")))
    reason, issuer = 0, None
    for extension in revoked.extensions:
        value = extension.value
        if extension.critical and extension.oid not in _ENTRY_EXTENSIONS:
            raise ListRefusedError.of(
                "critical_entry_extension",
                f"An entry has the critical extension {extension.oid.dotted_string}, which is not known here.",
                f"Une entrée porte l’extension critique {extension.oid.dotted_string}, inconnue ici.",
            )
        if isinstance(value, x509.CRLReason):
            reason = _REASON_NUMBERS[value.reason]
        elif isinstance(value, x509.CertificateIssuer):
            names = value.get_values_for_type(x509.DirectoryName)
            if not names:
                raise ValueError("a certificate issuer without a directory name")
            issuer = issuer_prefix(names[0])
    return bytes([reason]), issuer


_REASON_NUMBERS = {
    x509.ReasonFlags.unspecified: 0,
    x509.ReasonFlags.key_compromise: 1,
    x509.ReasonFlags.ca_compromise: 2,
    x509.ReasonFlags.affiliation_changed: 3,
    x509.ReasonFlags.superseded: 4,
    x509.ReasonFlags.cessation_of_operation: 5,
    x509.ReasonFlags.certificate_hold: 6,
    x509.ReasonFlags.remove_from_crl: 8,
    x509.ReasonFlags.privilege_withdrawn: 9,
    x509.ReasonFlags.aa_compromise: 10,
}

#: Extensions of lists that are understood here; any other that is critical refuses the list (RFC 5280 §5.2).
KNOWN_EXTENSIONS = frozenset(
    {
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
        ExtensionOID.ISSUER_ALTERNATIVE_NAME,
        ExtensionOID.CRL_NUMBER,
        ExtensionOID.DELTA_CRL_INDICATOR,
        ExtensionOID.ISSUING_DISTRIBUTION_POINT,
        ExtensionOID.FRESHEST_CRL,
        ExtensionOID.AUTHORITY_INFORMATION_ACCESS,
    }
)
