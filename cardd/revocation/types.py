"""What the rooms and the web service say of revocation lists and of certificates' status."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, NamedTuple, NewType, Protocol

import msgspec
from msgspec import Meta

if TYPE_CHECKING:
    from cryptography import x509

#: Identifier of a list of the cache: a CA's name for the local PKI's own, else 16 hexadecimal digits.
CrlId = NewType("CrlId", str)

#: SHA-256 of a CA's DER SubjectPublicKeyInfo, 64 lower-case hexadecimal digits.
SpkiHash = NewType("SpkiHash", str)


#: Name of a freshness policy: one that is built in, or one that was stored.
PolicyName = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=64,
        pattern=r"^[^\s/\\]([^/\\\x00-\x1f]*[^\s/\\])?$",
        description="`standard`, `strict`, `warn`, `grace`, or one stored under `/freshness-policies`.",
    ),
]


class Freshness(StrEnum):
    """How far the data behind an answer can be relied on; never mixed with the status itself."""

    FRESH = "fresh"
    """Before nextUpdate, and renewed when it was due."""
    STALE = "stale"
    """Before nextUpdate, but a renewal that was due has not succeeded yet."""
    EXPIRED = "expired"
    """The list's nextUpdate is past."""
    UNAVAILABLE = "unavailable"
    """No list is held that speaks of this certificate."""


class Status(StrEnum):
    """What the lists say of a certificate."""

    GOOD = "good"
    """Not revoked, by lists that together cover the certificate and every reason."""
    REVOKED = "revoked"
    UNKNOWN = "unknown"
    """Nothing held, or nothing the caller's policy accepts, tells whether it is revoked."""


class Decision(StrEnum):
    """What the caller's freshness policy makes of an answer."""

    ACCEPT = "accept"
    WARN = "warn"
    REFUSE = "refuse"


class Reason(StrEnum):
    """CRLReason (RFC 5280 §5.3.1) of a revoked certificate."""

    UNSPECIFIED = "unspecified"
    KEY_COMPROMISE = "key_compromise"
    CA_COMPROMISE = "ca_compromise"
    AFFILIATION_CHANGED = "affiliation_changed"
    SUPERSEDED = "superseded"
    CESSATION_OF_OPERATION = "cessation_of_operation"
    CERTIFICATE_HOLD = "certificate_hold"
    REMOVE_FROM_CRL = "remove_from_crl"
    PRIVILEGE_WITHDRAWN = "privilege_withdrawn"
    AA_COMPROMISE = "aa_compromise"


class RevocationAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The status of one certificate, and what it rests on."""

    status: Status
    freshness: Freshness
    reason: Reason | None = None
    revoked_at: datetime | None = None
    """UTC; of a revoked certificate."""
    this_update: datetime | None = None
    next_update: datetime | None = None
    """Of the list that answers; absent where there is none, or where the list has none."""
    source: CrlId | None = None
    """The list that answers."""
    decision: Decision = Decision.REFUSE
    """What the policy asked for makes of it."""


class FreshnessPolicy(msgspec.Struct, frozen=True, kw_only=True, cache_hash=True):
    """What an application wants when data age; data, read by `status.answer`."""

    name: str
    stale: Decision
    """What to make of a good answer of a list whose renewal is overdue."""
    expired: Decision
    """What to make of an expired list; `refuse` answers `unknown`, the others `good`."""
    expired_hours: int | None = None
    """How long after nextUpdate `expired` holds, in hours; from then on, `refuse`. None: without end."""


class PolicyRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A freshness policy to store."""

    stale: Annotated[Decision, Meta(description="Of an answer by a list whose renewal is overdue.")] = (
        Decision.WARN
    )
    expired: Annotated[
        Decision,
        Meta(
            description="Of an answer by an expired list; `refuse` answers `unknown`. Not milder than `stale`."
        ),
    ] = Decision.REFUSE
    expired_hours: (
        Annotated[
            int,
            Meta(
                ge=1,
                le=24 * 366,
                description="How long after nextUpdate `expired` holds, in hours; then `refuse`. Null: without end.",
            ),
        ]
        | None
    ) = None


class PolicyView(msgspec.Struct, frozen=True, kw_only=True):
    """A freshness policy as the API shows it."""

    name: str
    stale: Decision
    expired: Decision
    expired_hours: int | None
    built_in: bool
    default: bool
    """Whether callers without a policy of their own get it (setting `revocation.policy`)."""


class Question(NamedTuple):
    """One certificate asked for: its issuer's key and its serial."""

    issuer: SpkiHash
    serial: int


class CrlView(msgspec.Struct, frozen=True, kw_only=True):
    """A list of the cache as the API shows it."""

    id: CrlId
    issuer: str
    """RFC 4514."""
    issuer_spki_sha256: SpkiHash
    urls: tuple[str, ...]
    origin: str
    """Where the list became known: `local`, `added`, `settings`, `certificate` or `igc-sante`."""
    state: Freshness
    number: int | None = None
    delta_number: int | None = None
    this_update: datetime | None = None
    next_update: datetime | None = None
    entries: int | None = None
    size: int | None = None
    """Bytes of the DER list."""
    sha256: str | None = None
    partial: tuple[str, ...] = ()
    """Limits of an issuingDistributionPoint (RFC 5280 §5.2.5); empty for a list of everything."""
    fetched_at: datetime | None = None
    """When the list held was last found to be the current one."""
    next_fetch_at: datetime | None = None
    last_error: str | None = None
    last_error_code: str | None = None
    failures: int = 0
    """Failed fetches since the last success."""
    fetching: bool = False
    progress: int | None = None
    """Bytes received of a fetch under way."""
    progress_total: int | None = None
    """Bytes that its server announced."""
    notes: tuple[str, ...] = ()
    """What was put up with, such as PEM where DER is due."""


class PreparedList(msgspec.Struct, frozen=True, kw_only=True):
    """A list whose name and address are known, and which is kept once somebody says so."""

    name: str
    """What it is published under, such as `ACI-EL-ORG-TEST`."""
    authority: str
    """Common name of its CA."""
    url: str
    held: bool
    """Whether the CA's certificate, which verifies the list, is held."""
    crl: CrlView | None
    """The list as kept; null while it is off."""


class CrlRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A list to be kept from now on."""

    issuer_certificate: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=64 * 1024,
            description="Certificate whose key signs the list: PEM, or DER in base64.",
        ),
    ]
    url: (
        Annotated[
            str,
            Meta(min_length=1, max_length=2048, description="Where the list is published: http or https."),
        ]
        | None
    ) = None
    urls: Annotated[
        tuple[Annotated[str, Meta(min_length=1, max_length=2048)], ...],
        Meta(max_length=8, description="Further addresses of the same list, asked in turn."),
    ] = ()
    delta_urls: Annotated[
        tuple[Annotated[str, Meta(min_length=1, max_length=2048)], ...],
        Meta(max_length=8, description="Where its delta lists are published."),
    ] = ()
    certificate_issuers: Annotated[
        tuple[Annotated[str, Meta(min_length=1, max_length=64 * 1024)], ...],
        Meta(
            max_length=32,
            description="Further CAs whose certificates the list speaks of: other keys of the same CA, or the "
            "certificate issuers of an indirect list. PEM, or DER in base64.",
        ),
    ] = ()


class ArchivedList(NamedTuple):
    """A list as it was held."""

    source: CrlId
    number: int | None
    base_number: int | None
    """BaseCRLNumber of a delta; None of a complete list."""
    this_update: datetime
    next_update: datetime | None
    der: bytes


class PolicyChoice(Protocol):
    """The freshness policies, as a validation sees them."""

    def of(
        self, name: str | None = None, callers: Iterable[str] = (), field: str = "policy"
    ) -> FreshnessPolicy:
        """Return the policy of a request; raises `InvalidFieldsError` naming `field` where there is none."""
        ...


class Revocation(Protocol):
    """The status of certificates, answered from the lists held."""

    def answer(
        self, issuer: SpkiHash, serial: int, policy: FreshnessPolicy | None = None
    ) -> RevocationAnswer:
        """Answer at once for a serial of the CA whose key has this hash; by default under the settings' policy."""
        ...

    async def batch(
        self, questions: Sequence[Question], policy: FreshnessPolicy | None = None
    ) -> list[RevocationAnswer]:
        """Answer many at once, in their order."""
        ...

    async def status_of(
        self,
        certificate: "x509.Certificate",
        at: datetime | None = None,
        policy: FreshnessPolicy | None = None,
    ) -> RevocationAnswer:
        """Answer for a certificate, matching its distribution points (RFC 5280 §6.3.3); at a past time
        from the lists that were in force then.
        """
        ...

    def signer(self, source: CrlId) -> "x509.Certificate | None":
        """Return the certificate whose key signs a list; None where the list is not kept any more."""
        ...

    async def archived(self, issuer: SpkiHash, at: datetime) -> list[ArchivedList]:
        """Return the lists of a CA that were in force at a past time."""
        ...
