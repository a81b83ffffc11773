"""What the web service needs of the daemon's rooms; the composition root fills it in."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec
from cryptography import x509
from prometheus_client import CollectorRegistry

from cardd.alerts.alerts import AlertView
from cardd.applications.consent import Consents
from cardd.applications.pairing import Pairings
from cardd.applications.registry import Applications
from cardd.backup.types import BackupRequest, BackupView
from cardd.cards.sessions import CardSession
from cardd.cards.types import (
    AuthenticationRequest,
    AuthenticationView,
    CardDataView,
    CardView,
    DecryptionView,
    DecryptRequest,
    PinChangeRequest,
    ReaderView,
    SessionRequest,
    SignatureView,
    SignRequest,
    TestCardRequest,
    UnblockRequest,
)
from cardd.cards.virtualcards import FaultsRequest
from cardd.clock import Clock
from cardd.custody.tokens import TokenRecord
from cardd.custody.types import Decision, EvidenceView, KeyView, Quarantine, QuarantineOutcome, SweepReport
from cardd.events import EventBus
from cardd.health import HealthPart
from cardd.igc.authority import Authority
from cardd.igc.names import CaName
from cardd.igc.ocsp import OcspReply
from cardd.igc.publishing import ListKind, PublishedList
from cardd.machines.registry import Machines
from cardd.orders.filters import CertificateFilters, OrderFilters
from cardd.orders.paging import Page, PageRequest
from cardd.orders.types import (
    BlockedKeyView,
    CertificateSummary,
    CertificateView,
    HabilitationForm,
    HabilitationView,
    KeyBlockRequest,
    OrderRequest,
    OrderView,
    PossessionProof,
    RenewalRequest,
    RetrievalRequest,
    RevocationRequest,
    StructureView,
)
from cardd.revocation.domains import TrustedAuthority, TrustScope
from cardd.revocation.types import (
    CrlRequest,
    CrlView,
    FreshnessPolicy,
    PolicyRequest,
    PolicyView,
    PreparedList,
    Question,
    RevocationAnswer,
    SpkiHash,
)
from cardd.revocation.verdicts import ValidationRequest, ValidationView
from cardd.settings import Settings
from cardd.store import Store
from cardd.text import Language
from cardd_webservice.guard.tokens import OwnerToken

T = TypeVar("T")


class Presence(Protocol):
    """Readers and the cards in them."""

    async def readers(self) -> Sequence[ReaderView]:
        """Return the readers present."""
        ...


class Cards(Protocol):
    """The cards known to the daemon, and the making of test cards."""

    async def list(self) -> Sequence[CardView]:
        """Return every card."""
        ...

    async def get(self, serial: str) -> CardView:
        """Return one card."""
        ...

    async def data(self, serial: str) -> CardDataView:
        """Return what the card says of its holder."""
        ...

    async def create(self, request: TestCardRequest) -> CardView:
        """Make a test card."""
        ...

    async def insert(self, serial: str) -> CardView:
        """Put a test card into its reader."""
        ...

    async def remove(self, serial: str) -> CardView:
        """Take a test card out of its reader."""
        ...

    async def set_faults(self, serial: str, request: FaultsRequest) -> None:
        """Replace the faults of a virtual card."""
        ...

    async def oppose(self, serial: str, reason: str) -> CardView:
        """Block a card for ever; its certificates are revoked with it."""
        ...


class CardSessions(Protocol):
    """Card sessions and what a card's keys are used for."""

    async def open(self, serial: str, request: SessionRequest) -> CardSession:
        """Open a session with the card's PIN."""
        ...

    async def get(self, session_id: str) -> CardSession:
        """Return an open session; raises when it is unknown or has ended."""
        ...

    async def authorised(self, session: CardSession) -> Sequence[HabilitationView]:
        """Return the habilitations that a session orders under now."""
        ...

    async def while_present(self, session: CardSession, work: Callable[[], Awaitable[T]]) -> T:
        """Do what a session allows, cut short as soon as its card leaves."""
        ...

    async def close(self, serial: str, session_id: str | None = None) -> None:
        """End one session of a card, or all of them when none is named."""
        ...

    async def change_pin(self, serial: str, request: PinChangeRequest) -> None:
        """Change the card's PIN."""
        ...

    async def unblock_pin(self, serial: str, request: UnblockRequest) -> None:
        """Set a new PIN with the card's PUK."""
        ...

    async def sign(self, serial: str, request: SignRequest, session: CardSession) -> SignatureView:
        """Sign with a key of the card."""
        ...

    async def authenticate(
        self, serial: str, request: AuthenticationRequest, session: CardSession
    ) -> AuthenticationView:
        """Sign a challenge with the card's authentication key."""
        ...

    async def decrypt(self, serial: str, request: DecryptRequest, session: CardSession) -> DecryptionView:
        """Decrypt with a key of the card."""
        ...


class Habilitations(Protocol):
    """The administrative phase."""

    async def submit(self, form: HabilitationForm) -> HabilitationView:
        """Submit form F414."""
        ...

    async def list(self, limit: int, cursor: str | None) -> Page[HabilitationView]:
        """Return a page of habilitations, newest first."""
        ...

    async def get(self, habilitation_id: str) -> HabilitationView:
        """Return one habilitation."""
        ...

    async def approve(self, habilitation_id: str) -> HabilitationView:
        """Approve a submitted habilitation."""
        ...

    async def refuse(self, habilitation_id: str, reason: str) -> HabilitationView:
        """Refuse a submitted habilitation."""
        ...

    async def withdraw(self, habilitation_id: str) -> HabilitationView:
        """Withdraw an approved habilitation."""
        ...

    async def structures(self) -> Sequence[StructureView]:
        """Return the structures known."""
        ...


class Orders(Protocol):
    """The technical phase, up to retrieval."""

    async def create(self, request: OrderRequest, session: CardSession) -> OrderView:
        """Order a certificate."""
        ...

    async def list(
        self, filters: OrderFilters, page: PageRequest, session: CardSession | None
    ) -> Page[OrderView]:
        """Return a page of orders, newest first."""
        ...

    async def get(self, order_id: str, session: CardSession | None) -> OrderView:
        """Return one order with its history."""
        ...

    async def prove(self, order_id: str, proof: PossessionProof, session: CardSession | None) -> OrderView:
        """Take the proof that an order's key is held."""
        ...

    async def renew_nonce(self, order_id: str, session: CardSession | None) -> OrderView:
        """Give an order a new nonce to sign."""
        ...

    async def cancel(self, order_id: str, session: CardSession | None) -> OrderView:
        """Cancel an order that waits to be retrieved."""
        ...

    async def retrieve(
        self, order_id: str, request: RetrievalRequest, session: CardSession
    ) -> CertificateView:
        """Issue the certificate of an order."""
        ...


class Certificates(Protocol):
    """Issued certificates."""

    async def list(
        self, filters: CertificateFilters, page: PageRequest, session: CardSession | None
    ) -> Page[CertificateSummary]:
        """Return a page of certificates, newest first."""
        ...

    async def get(self, serial: str, session: CardSession | None) -> CertificateView:
        """Return one certificate with its history."""
        ...

    async def revoke(
        self, serial: str, request: RevocationRequest, session: CardSession | None
    ) -> CertificateView:
        """Revoke a certificate for ever."""
        ...

    async def block_key(self, spki_sha256: str, request: KeyBlockRequest) -> BlockedKeyView:
        """Block a compromised key for ever; its certificates are revoked."""
        ...

    async def renew(self, serial: str, request: RenewalRequest, session: CardSession) -> OrderView:
        """Order the successor of a certificate."""
        ...


class Lists(Protocol):
    """The CRLs as published last."""

    def current(self, issuer: CaName, kind: ListKind) -> PublishedList:
        """Return the newest list of a CA."""
        ...


class Responses(Protocol):
    """The OCSP service."""

    async def answer_get(self, encoded: str, now: datetime) -> OcspReply:
        """Answer a request sent in a path."""
        ...

    async def answer_post(self, request: bytes, now: datetime) -> OcspReply:
        """Answer a request sent in a body."""
        ...


class Pki(Protocol):
    """What the test PKI publishes."""

    @property
    def authorities(self) -> Mapping[CaName, Authority]:
        """The CAs with their present certificates."""
        ...

    @property
    def lists(self) -> Lists:
        """Their CRLs."""
        ...

    @property
    def ocsp(self) -> Responses:
        """Their OCSP service."""
        ...


class ListOcsp(Protocol):
    """The OCSP responder for lists of others."""

    @property
    def certificate(self) -> x509.Certificate | None:
        """Its certificate, there while it answers."""
        ...


class Keys(Protocol):
    """Keys and tokens, as their owner sees them and decides about them."""

    async def keys(self) -> Sequence[KeyView]:
        """Return every key known or found, with its findings."""
        ...

    async def check(self) -> SweepReport:
        """Check every key now."""
        ...

    async def evidence(self, spki_sha256: str) -> EvidenceView:
        """Return the signed statement made with a key."""
        ...

    async def request(self, spki_sha256: str) -> bytes:
        """Return a certification request (PEM) of a key on a token."""
        ...

    async def export_pin(self, name: str) -> TokenRecord:
        """Write a token's PIN into a file for programs."""
        ...

    async def withdraw_pin(self, name: str) -> TokenRecord:
        """Take an exported PIN back."""
        ...

    async def decide(self, name: str, decision: Decision) -> QuarantineOutcome:
        """Decide about a token in quarantine."""
        ...


class Trust(Protocol):
    """Who is trusted for what."""

    def authorities(self, moment: datetime) -> Sequence[TrustedAuthority]:
        """Return every authority known, accepted or not; blocking."""
        ...

    def bundle(self, scope: TrustScope, moment: datetime) -> Sequence[x509.Certificate]:
        """Return the certificates accepted in a scope; blocking."""
        ...


class Validation(Protocol):
    """Validation of certificates for applications."""

    async def validate(
        self, request: ValidationRequest, language: Language = "en", callers: Iterable[str] = ()
    ) -> ValidationView:
        """Validate a certificate for an application; the findings are told in `language`."""
        ...


class Policies(Protocol):
    """What applications make of ageing lists."""

    def of(
        self, name: str | None = None, callers: Iterable[str] = (), field: str = "policy"
    ) -> FreshnessPolicy:
        """Return the policy that a request names, else the caller's, else the default."""
        ...

    def all(self) -> Sequence[PolicyView]:
        """Return every policy."""
        ...

    async def put(self, name: str, request: PolicyRequest) -> PolicyView:
        """Store a policy."""
        ...

    async def remove(self, name: str) -> None:
        """Forget a stored policy."""
        ...


class Revocation(Protocol):
    """The lists kept, and answers from them."""

    def lists(self, language: Language = "en") -> Sequence[CrlView]:
        """Return every list kept."""
        ...

    def get(self, source: str, language: Language = "en") -> CrlView:
        """Return one list."""
        ...

    def file(self, source: str) -> Path:
        """Return the file of a list."""
        ...

    async def add(self, request: CrlRequest) -> CrlView:
        """Keep a list from now on."""
        ...

    async def remove(self, source: str) -> None:
        """Forget a list."""
        ...

    async def refresh(self, source: str) -> CrlView:
        """Fetch a list now."""
        ...

    def answer(
        self, issuer: SpkiHash, serial: int, policy: FreshnessPolicy | None = None
    ) -> RevocationAnswer:
        """Answer for a serial of the CA whose key has this hash."""
        ...

    async def batch(
        self, questions: Sequence[Question], policy: FreshnessPolicy | None = None
    ) -> Sequence[RevocationAnswer]:
        """Answer many, in their order."""
        ...

    async def status_of(
        self,
        certificate: x509.Certificate,
        at: datetime | None = None,
        policy: FreshnessPolicy | None = None,
    ) -> RevocationAnswer:
        """Answer for a certificate."""
        ...


class Learner(Protocol):
    """Lists that certificates name."""

    async def learn(self, certificate: x509.Certificate) -> Sequence[CrlView]:
        """Keep the lists that a certificate and the CAs above it name; return those that are new."""
        ...


class PreparedLists(Protocol):
    """Lists that are known and off."""

    async def all(self, language: Language = "en") -> Sequence[PreparedList]:
        """Return every prepared list."""
        ...

    async def enable(self, name: str) -> CrlView:
        """Keep a prepared list from now on."""
        ...

    async def disable(self, name: str) -> None:
        """Forget a prepared list."""
        ...


class Backups(Protocol):
    """Backups of the whole state."""

    async def make(self, request: BackupRequest) -> BackupView:
        """Make a backup now."""
        ...

    async def list(self) -> Sequence[BackupView]:
        """Return the backups kept, newest first."""
        ...

    async def path(self, name: str) -> Path:
        """Return the file of a backup."""
        ...

    async def delete(self, name: str) -> None:
        """Remove a backup."""
        ...


class Alerts(Protocol):
    """What is wrong and was told of."""

    async def list(self) -> Sequence[AlertView]:
        """Return the alerts raised now, the oldest first."""
        ...


class TokenView(msgspec.Struct, frozen=True, kw_only=True):
    """A token of this machine, and what a program needs to use its keys itself."""

    label: str
    serial: str
    module: str
    level: str
    purpose: str
    structure: str | None
    module_path: str
    #: Of an exported PIN; otherwise it is sealed.
    pin_file: str | None
    quarantine: Quarantine | None = None


async def _no_parts() -> tuple[HealthPart, ...]:
    return ()


async def _no_tokens() -> tuple[TokenView, ...]:
    return ()


async def _nothing_to_refresh() -> None:
    pass


@dataclass(frozen=True, kw_only=True)
class Services:
    """The daemon's rooms, as the web service uses them."""

    settings: Settings
    clock: Clock
    store: Store
    bus: EventBus
    token: OwnerToken
    request_secret: bytes = field(repr=False)
    """The key under which requests with an `Idempotency-Key` are hashed."""
    presence: Presence
    cards: Cards
    sessions: CardSessions
    habilitations: Habilitations
    orders: Orders
    certificates: Certificates
    pki: Pki
    list_ocsp: ListOcsp
    keys: Keys
    revocation: Revocation
    learner: Learner
    prepared: PreparedLists
    policies: Policies
    trust: Trust
    validation: Validation
    applications: Applications
    pairings: Pairings
    consents: Consents
    machines: Machines
    backups: Backups
    alerts: Alerts
    tokens: Callable[[], Awaitable[Sequence[TokenView]]] = _no_tokens
    health: Callable[[], Awaitable[Sequence[HealthPart]]] = _no_parts
    """Parts beside the store, which the web service asks itself."""
    metrics: CollectorRegistry = field(default_factory=CollectorRegistry)
    refresh_metrics: Callable[[], Awaitable[None]] = _nothing_to_refresh
    """Brings those numbers up to date that are not read by themselves."""
