"""The entries of a revocation list (RFC 5280 §5.1.2.6), read without building an object each."""

from datetime import UTC, datetime
from typing import NamedTuple

from cryptography import x509
from cryptography.x509.oid import CRLEntryExtensionOID

from cardd.revocation.elements import GENERALIZED_TIME, INTEGER, SEQUENCE, UTC_TIME, sequence, span
from cardd.revocation.errors import ListRefusedError
from cardd.revocation.lists import ParsedList
from cardd.revocation.names import issuer_prefix
from cardd.revocation.types import Reason

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

#: Longest serial read, in bytes; RFC 5280 §4.1.2.2 allows 20.
_LONGEST_SERIAL = 64


class Entries(NamedTuple):
    """Entries as the index keeps them, sorted by key, each key once."""

    keys: list[bytes]
    values: list[bytes]
    read: int
    """Entries of the list, duplicates included."""


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


def _scan(  # noqa: C901, PLR0912 (one pass over a million entries has no calls to spare)
    der: bytes, at: int, end: int, *, indirect: bool, prefix: bytes
) -> tuple[dict[bytes, bytes], int]:
    """Walk the entries. The loop is written for speed: one pass, slices only, extensions read once each kind."""
    found: dict[bytes, bytes] = {}
    known: dict[bytes, tuple[bytes, bytes | None]] = {b"": (b"\x00", None)}
    read = 0
    while at < end:
        if der[at] != SEQUENCE:
            raise ValueError("an entry is not a SEQUENCE")
        length = der[at + 1]
        if length < 0x80:
            body, stop = at + 2, at + 2 + length
        else:
            body, stop = span(der, at)
        size = der[body + 1]
        time = body + 2 + size
        if der[body] != INTEGER or not 0 < size <= _LONGEST_SERIAL or stop > end:
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
_TIMES = frozenset({(UTC_TIME, 15), (GENERALIZED_TIME, 17)})
_KNOWN_EXTENSIONS = 4096
_ENTRY_EXTENSIONS = frozenset(
    {
        CRLEntryExtensionOID.CRL_REASON,
        CRLEntryExtensionOID.INVALIDITY_DATE,
        CRLEntryExtensionOID.CERTIFICATE_ISSUER,
    }
)


def _entry_extensions(encoded: bytes) -> tuple[bytes, bytes | None]:
    """Return reason and certificate issuer's prefix from the extensions of an entry, by way of a list of its own."""
    entry = sequence(bytes.fromhex("020101") + bytes([UTC_TIME, 13]) + b"260101000000Z" + encoded)
    algorithm = bytes.fromhex("300A06082A8648CE3D040302")
    tbs = sequence(
        bytes.fromhex("020101")
        + algorithm
        + b"\x30\x00"
        + bytes([UTC_TIME, 13])
        + b"260101000000Z"
        + sequence(entry)
    )
    (revoked,) = x509.load_der_x509_crl(sequence(tbs + algorithm + bytes.fromhex("030100")))
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
