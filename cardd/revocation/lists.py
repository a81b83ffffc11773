"""Reading a revocation list (RFC 5280 §5): its parts, what it says of itself, and what it speaks of.

The list's head and tail are read by `cryptography` as a list without entries; the entries, of which there may
be a million, are left to `entries`. Nothing here decides whether the list may be relied on: see `verifying`.
"""

import base64
import hashlib
import re
from datetime import datetime
from typing import NamedTuple, TypeVar

import msgspec
from cryptography import x509
from cryptography.x509.oid import ExtensionOID

from cardd.revocation.elements import (
    GENERALIZED_TIME,
    INTEGER,
    SEQUENCE,
    UTC_TIME,
    after,
    contents,
    sequence,
)
from cardd.revocation.errors import ListRefusedError
from cardd.revocation.names import point_names, urls_of
from cardd.text import Text

E = TypeVar("E", bound=x509.ExtensionType)

#: A list as it is in memory, or mapped there.
Content = bytes | memoryview

#: Reasons that an issuingDistributionPoint or a distribution point can name (RFC 5280 §4.2.1.13, bits 1 to 8).
ALL_REASONS = frozenset(flag.value for flag in x509.ReasonFlags) - {"unspecified", "removeFromCRL"}

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

    der: Content
    tbs: Content
    head: x509.CertificateRevocationList
    """The same list without its entries; its signature does not fit."""
    entries: tuple[int, int]
    """Where the entries begin and end in `der`."""
    was_pem: bool


def parse(content: Content) -> ParsedList:
    """Cut a list, DER or PEM, into its parts.

    Raises `ListRefusedError` `malformed` for what is not one list, whole and with nothing after it.
    """
    try:
        der, was_pem = _as_der(content)
        return _cut(der, was_pem=was_pem)
    except _NotWholeError as error:
        raise _malformed(error.why) from None
    except (ValueError, IndexError, TypeError) as error:
        shown = str(error)[:120] or type(error).__name__
        raise _malformed(Text(shown, shown)) from None


class _NotWholeError(ValueError):
    """Bytes are not one list, for a reason that is known here."""

    def __init__(self, english: str, french: str) -> None:
        super().__init__(english)
        self.why = Text(english, french)


def _malformed(why: Text) -> ListRefusedError:
    return ListRefusedError.of(
        "malformed",
        f"What was received is not a whole revocation list ({why.en}).",
        f"Ce qui a été reçu n’est pas une liste de révocation entière ({why.fr}).",
    )


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


def _as_der(content: Content) -> tuple[Content, bool]:
    if content[:1] == b"\x30":
        return content, False
    found = _PEM.search(content)
    if found is None:
        if not content:
            raise _NotWholeError("nothing at all", "rien du tout")
        raise _NotWholeError("neither DER nor PEM", "ni DER ni PEM")
    return base64.b64decode(b"".join(found[1].split()), validate=True), True


def _cut(der: Content, *, was_pem: bool) -> ParsedList:
    start, end = contents(der, 0, SEQUENCE)
    if end > len(der):
        raise _NotWholeError("it is cut short", "elle est tronquée")
    if end < len(der):
        raise _NotWholeError("something follows it", "quelque chose la suit")
    tbs_start, tbs_end = contents(der, start, SEQUENCE)
    at = tbs_start
    if der[at] == INTEGER:
        at = after(der, at)
    for _ in range(2):  # signature, issuer
        at = contents(der, at, SEQUENCE)[1]
    at = after(der, at)  # thisUpdate
    if at < tbs_end and der[at] in (UTC_TIME, GENERALIZED_TIME):
        at = after(der, at)
    entries = (at, at)
    rest = at
    if at < tbs_end and der[at] == SEQUENCE:
        entries = contents(der, at, SEQUENCE)
        rest = entries[1]
    if entries[1] > tbs_end or tbs_end > end:
        raise _NotWholeError("its lengths do not agree", "ses longueurs ne concordent pas")
    without = sequence(bytes(der[tbs_start:at]) + bytes(der[rest:tbs_end]))
    head = sequence(without + bytes(der[tbs_end:end]))
    return ParsedList(der, der[start:tbs_end], x509.load_der_x509_crl(head), entries, was_pem)


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
