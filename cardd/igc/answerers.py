"""Who answers by OCSP for the certificates of an issuer, and what is said of them."""

from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple, Protocol

from cryptography import x509

from cardd.igc.authority import Authority
from cardd.igc.crl import RevocationReason
from cardd.igc.dates import whole_second
from cardd.igc.names import CaName
from cardd.igc.ocspwire import IssuerKey
from cardd.igc.signer import Signer


class Status(StrEnum):
    """What is said of a serial (RFC 6960 §2.2)."""

    GOOD = "good"
    REVOKED = "revoked"
    UNKNOWN = "unknown"


class CertificateStatus(NamedTuple):
    """A status and, when revoked, since when (UTC) and why."""

    status: Status
    revoked_at: datetime | None = None
    reason: RevocationReason = RevocationReason.UNSPECIFIED


#: Looks up a serial among the certificates of a CA; a serial never issued is `UNKNOWN`.
StatusLookup = Callable[[CaName, int], Awaitable[CertificateStatus]]


@dataclass(frozen=True)
class Responder:
    """Who answers for a CA: its delegated certificate (see `HierarchyBuilder.responder_certificate`) and key."""

    authority: Authority
    certificate: x509.Certificate
    signer: Signer


class Statement(NamedTuple):
    """What is said of a certificate, and for how long; times in UTC, of whole seconds."""

    status: Status
    this_update: datetime
    next_update: datetime
    revoked_at: datetime | None = None
    """Of a revoked certificate."""
    reason: x509.ReasonFlags | None = None
    """Why it is revoked; None where no reason is given."""


class Answerer(Protocol):
    """Who answers for the certificates of one issuer."""

    @property
    def certificate(self) -> x509.Certificate:
        """The responder's certificate, which goes with each response."""
        ...

    @property
    def signer(self) -> Signer:
        """The responder's key."""
        ...

    def mark(self, serials: Sequence[int], now: datetime) -> Hashable:
        """Return what changes whenever a response made for these serials is not to be used again."""
        ...

    async def say(self, serial: int, now: datetime) -> Statement:
        """Say what is known of a serial; raises `CarddError` where nothing can be said now."""
        ...


class OtherIssuers(Protocol):
    """Issuers beside the CAs of the test PKI."""

    def answerer(self, issuer: IssuerKey) -> Answerer | None:
        """Return who answers for an issuer; None where nobody may."""
        ...


class OwnIssuer:
    """Answers for a CA of the test PKI, by its delegated responder, from what the CA has issued."""

    def __init__(self, responder: Responder, lookup: StatusLookup, validity: timedelta) -> None:
        self._responder = responder
        self._lookup = lookup
        self._validity = validity
        self._generation = 0

    @property
    def certificate(self) -> x509.Certificate:
        """The delegated responder's certificate."""
        return self._responder.certificate

    @property
    def signer(self) -> Signer:
        """The delegated responder's key."""
        return self._responder.signer

    def invalidate(self) -> None:
        """Let no response made before be used again."""
        self._generation += 1

    def replace(self, responder: Responder) -> None:
        """Sign with another responder from now on."""
        self._responder = responder
        self.invalidate()

    def mark(self, serials: Sequence[int], now: datetime) -> Hashable:  # noqa: ARG002 (one mark for the whole CA)
        """Return how often the CA's data have changed."""
        return self._generation

    async def say(self, serial: int, now: datetime) -> Statement:
        """Look a serial up."""
        found = await self._lookup(self._responder.authority.name, serial)
        this_update = whole_second(now)
        next_update = this_update + self._validity
        if found.status is not Status.REVOKED:
            return Statement(found.status, this_update, next_update)
        return Statement(
            found.status,
            this_update,
            next_update,
            revoked_at=found.revoked_at or this_update,
            reason=reason_flag(found.reason.name),
        )


def reason_flag(name: str) -> x509.ReasonFlags | None:
    """Return a reason by its name, such as `key_compromise`; `unspecified` is left out, as in lists.

    `remove_from_crl` is left out too: it is no reason for which a certificate is revoked (RFC 5280 §5.3.1).
    """
    flag = x509.ReasonFlags[name.lower()]
    return None if flag in (x509.ReasonFlags.unspecified, x509.ReasonFlags.remove_from_crl) else flag
