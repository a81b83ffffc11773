"""One entry of a revocation list (RFC 5280 §5.1.2.6): its parts, its extensions, and the value kept of it."""

import re
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from cryptography import x509
from cryptography.x509.oid import CRLEntryExtensionOID

from cardd.revocation.elements import GENERALIZED_TIME, INTEGER, SEQUENCE, UTC_TIME, contents, sequence
from cardd.revocation.errors import ListRefusedError
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
LONGEST_SERIAL = 64
#: Tag and length of a Time: YYMMDDHHMMSSZ or YYYYMMDDHHMMSSZ (RFC 5280 §5.1.2.4).
TIMES = {UTC_TIME: 13, GENERALIZED_TIME: 15}
#: A value is the moment, in seconds since 1970, times this, plus the reason's number.
VALUE_UNIT = 256

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class EntryParts(NamedTuple):
    """Where the parts of an entry are."""

    start: int
    serial: int
    serial_end: int
    time: int
    time_tag: int
    extensions: int
    end: int


def entry_parts(der: bytes | memoryview, at: int) -> EntryParts:
    """Cut the entry at `at` into its parts; raises `ValueError` or `IndexError` for what is none."""
    body, end = contents(der, at, SEQUENCE)
    serial, serial_end = contents(der, body, INTEGER)
    tag = der[serial_end]
    if not 0 < serial_end - serial <= LONGEST_SERIAL or tag not in TIMES:
        raise ValueError("an entry's serial or time is not valid")
    time, time_end = contents(der, serial_end, tag)
    if time_end - time != TIMES[tag] or time_end > end:
        raise ValueError("an entry's time or length is not valid")
    return EntryParts(at, serial, serial_end, time, tag, time_end, end)


def decode_value(value: int) -> tuple[Reason, datetime]:
    """Return reason and time (UTC) of an entry from the value kept of it."""
    return REASONS[value % VALUE_UNIT], _EPOCH + timedelta(0, value // VALUE_UNIT)


class Extensions(NamedTuple):
    """What an entry's extensions say."""

    reason: int
    issuer: bytes | None
    """Prefix of the certificate issuer's name (RFC 5280 §5.3.3), where one is given."""


def read_extensions(encoded: bytes) -> Extensions:
    """Read crlEntryExtensions, DER; empty where there are none.

    Raises `ListRefusedError` for a critical extension nobody here knows, `ValueError` for what cannot be read.
    """
    if not encoded:
        return Extensions(0, None)
    usual = _USUAL.fullmatch(encoded)
    if usual is not None and encoded[1] == len(encoded) - 2 > 0:
        return Extensions(usual[1][0] if usual[1] else 0, None)
    return _read_by_library(encoded)


#: Reason and invalidityDate in their only DER forms; other extensions are left to the library.
_USUAL = re.compile(
    rb"\x30.(?:\x30\x0A\x06\x03\x55\x1D\x15\x04\x03\x0A\x01([\x00-\x06\x08-\x0A]))?"
    rb"(?:\x30\x18\x06\x03\x55\x1D\x18\x04\x11\x18\x0F[0-9]{14}Z)?",
    re.DOTALL,
)

_KNOWN = frozenset(
    {
        CRLEntryExtensionOID.CRL_REASON,
        CRLEntryExtensionOID.INVALIDITY_DATE,
        CRLEntryExtensionOID.CERTIFICATE_ISSUER,
    }
)

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

_SOME_TIME = bytes([UTC_TIME, 13]) + b"260101000000Z"
_VERSION_2 = _SERIAL_1 = bytes.fromhex("020101")
_ALGORITHM = bytes.fromhex("300A06082A8648CE3D040302")
_NO_NAME = b"\x30\x00"
_NO_SIGNATURE = bytes.fromhex("030100")


def _read_by_library(encoded: bytes) -> Extensions:
    """Have the extensions read by way of a list of one entry."""
    entry = sequence(_SERIAL_1 + _SOME_TIME + encoded)
    tbs = sequence(_VERSION_2 + _ALGORITHM + _NO_NAME + _SOME_TIME + sequence(entry))
    (revoked,) = x509.load_der_x509_crl(sequence(tbs + _ALGORITHM + _NO_SIGNATURE))
    reason, issuer = 0, None
    for extension in revoked.extensions:
        value = extension.value
        if extension.critical and extension.oid not in _KNOWN:
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
    return Extensions(reason, issuer)
