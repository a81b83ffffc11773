"""The web service over rooms that live in memory, with the real store, guard and server."""

import atexit
import functools
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cardd.alerts.alerts import AlertView
from cardd.applications.consent import Consents
from cardd.applications.pairing import Pairings
from cardd.applications.registry import Applications
from cardd.backup.types import BackupRequest, BackupView
from cardd.cards.errors import CardSessionUnknownError, CardUnknownError, PinIncorrectError
from cardd.cards.sessions import CardSession
from cardd.cards.types import (
    AuthenticationRequest,
    AuthenticationView,
    CardDataView,
    CardSerial,
    CardSessionId,
    CardType,
    CardView,
    DecryptionView,
    DecryptRequest,
    Holder,
    PinChangeRequest,
    PinState,
    PinView,
    ReaderView,
    SessionRequest,
    SignatureView,
    SignRequest,
    TestCardRequest,
    UnblockRequest,
)
from cardd.cards.virtualcards import FaultsRequest
from cardd.clock import ManualClock
from cardd.custody.tokens import TokenRecord
from cardd.custody.types import Decision, EvidenceView, KeyView, QuarantineOutcome, SweepReport
from cardd.errors import NotFoundError
from cardd.events import EventBus, EventType
from cardd.igc.authority import Authority
from cardd.igc.names import CaName
from cardd.igc.ocsp import OcspReply
from cardd.igc.publishing import ListKind, PublishedList
from cardd.machines.registry import Machines
from cardd.orders.errors import AlreadyRevokedError
from cardd.orders.filters import CertificateFilters, OrderFilters
from cardd.orders.paging import Page, PageRequest
from cardd.orders.types import (
    BlockedKeyView,
    CertificateSerial,
    CertificateState,
    CertificateSummary,
    CertificateView,
    HabilitationForm,
    HabilitationId,
    HabilitationState,
    HabilitationView,
    KeyBlockRequest,
    Offer,
    OfferUsages,
    OrderId,
    OrderRequest,
    OrderState,
    OrderView,
    PossessionProof,
    RenewalRequest,
    RetrievalRequest,
    RevocationRequest,
    StructureId,
    StructureView,
)
from cardd.revocation.applicationpolicies import FreshnessPolicies
from cardd.revocation.learning import Learner
from cardd.revocation.policies import built_in
from cardd.revocation.prepared import PreparedLists
from cardd.settings import Settings, load_settings
from cardd.store import Store
from cardd.store.migrate import upgrade
from cardd.text import Text
from cardd.vocabulary import Usage
from cardd_webservice import (
    Services,
    create_application,
    ensure_owner_token,
    ensure_request_secret,
    reserve_port,
    serving,
)
from cardd_webservice.streams import StreamPolicy
from tests.support.igc import ec_signer
from tests.support.validation import FakeRevocation, validation

START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
CARD = CardSerial("00000017")
#: An order that is always there.
KNOWN_ORDER = OrderId("o1")
PIN = "1234"
#: The key and the token that are always there.
KEY = "0a" * 32
BACKUP = "cardd-20260302T090000Z-1a2b.tar.age"
TOKEN = "0123456789abcdef"
_DATABASE = "cardd.sqlite3"
STRUCTURE = StructureView(id=StructureId("318751275100020"), name="HOPITAL DE TEST")
#: Neither valid DER nor meant to be: what the fakes hand out where bytes are only carried.
T = TypeVar("T")

CERTIFICATE = b"\x30\x03\x02\x01\x05"


class Readers:
    async def readers(self) -> list[ReaderView]:
        return [ReaderView(name=f"cardd SoftHSM {CARD}", state="present", card=CARD)]


class Cards:
    async def list(self) -> list[CardView]:
        return [card_view(CardSerial(f"{number:08d}")) for number in (17, 25, 33)]

    async def get(self, serial: str) -> CardView:
        _check_known(serial)
        return card_view(CARD)

    async def data(self, serial: str) -> CardDataView:
        raise CardUnknownError.named(serial)

    async def create(self, request: TestCardRequest) -> CardView:
        if request.habilitation != "h1":
            raise NotFoundError.of(Text("habilitation", "habilitation"), request.habilitation)
        return card_view(CARD)

    async def insert(self, serial: str) -> CardView:
        return await self.get(serial)

    async def remove(self, serial: str) -> CardView:
        return await self.get(serial)

    async def set_faults(self, serial: str, request: FaultsRequest) -> None:
        _check_known(serial)

    async def oppose(self, serial: str, reason: str) -> CardView:
        return await self.get(serial)


@dataclass
class Sessions:
    opened: dict[str, CardSession] = field(default_factory=dict)

    async def open(self, serial: str, request: SessionRequest) -> CardSession:
        _check_known(serial)
        if request.pin != PIN:
            raise PinIncorrectError.with_tries(2)
        session = CardSession(
            id=CardSessionId(secrets.token_hex(16)),
            card_serial=CARD,
            expires_at=START + timedelta(hours=1),
        )
        self.opened[session.id] = session
        return session

    async def get(self, session_id: str) -> CardSession:
        if session_id not in self.opened:
            raise CardSessionUnknownError(Text("No such session.", "Aucune session."))
        return self.opened[session_id]

    async def authorised(self, session: CardSession) -> tuple[HabilitationView, ...]:
        return (habilitation_view(),)

    async def while_present(self, session: Any, work: Callable[[], Awaitable[T]]) -> T:
        return await work()

    async def close(self, serial: str, session_id: str | None = None) -> None:
        _check_known(serial)
        for known in [session_id] if session_id is not None else list(self.opened):
            self.opened.pop(known, None)

    async def change_pin(self, serial: str, request: PinChangeRequest) -> None:
        _check_known(serial)

    async def sign(self, serial: str, request: SignRequest, session: Any) -> SignatureView:
        return SignatureView(signature=b"\x01\x02", mechanism=request.mechanism, certificate=CERTIFICATE)

    async def unblock_pin(self, serial: str, request: UnblockRequest) -> None:
        _check_known(serial)

    async def authenticate(
        self, serial: str, request: AuthenticationRequest, session: Any
    ) -> AuthenticationView:
        return AuthenticationView(
            signature=b"\x01\x02",
            mechanism="sha256_rsa_pkcs",
            certificate=CERTIFICATE,
            signed=b"context" + request.challenge,
        )

    async def decrypt(self, serial: str, request: DecryptRequest, session: Any) -> DecryptionView:
        return DecryptionView(plaintext=b"plain", mechanism=request.mechanism)


class Habilitations:
    async def submit(self, form: HabilitationForm) -> HabilitationView:
        return habilitation_view(form=form)

    async def list(self, limit: int, cursor: str | None) -> Page[HabilitationView]:
        return Page(items=(habilitation_view(),), next_cursor=None)

    async def get(self, habilitation_id: str) -> HabilitationView:
        if habilitation_id != "h1":
            raise NotFoundError.of(Text("habilitation", "habilitation"), habilitation_id)
        return habilitation_view()

    async def approve(self, habilitation_id: str) -> HabilitationView:
        return await self.get(habilitation_id)

    async def refuse(self, habilitation_id: str, reason: str) -> HabilitationView:
        return await self.get(habilitation_id)

    async def withdraw(self, habilitation_id: str) -> HabilitationView:
        return await self.get(habilitation_id)

    async def structures(self) -> tuple[StructureView, ...]:
        return (STRUCTURE,)


@dataclass
class Orders:
    """Orders that are only committed to the journal, the outbox and the idempotency table."""

    store: Store
    made: dict[str, OrderView] = field(default_factory=dict)
    asked: list[tuple[OrderFilters, PageRequest, Any]] = field(default_factory=list)
    failure: Exception | None = None

    async def create(self, request: OrderRequest, session: Any) -> OrderView:
        if self.failure is not None:
            raise self.failure
        view = order_view(OrderId(secrets.token_hex(8)))
        async with self.store.transaction() as tx:
            tx.journal("order.create", f"order:{view.id}")
            tx.publish(EventType.ORDER_CREATED, f"order:{view.id}")
            await tx.answer("order", view.id)
        self.made[view.id] = view
        return view

    async def list(self, filters: OrderFilters, page: PageRequest, session: Any) -> Page[OrderView]:
        self.asked.append((filters, page, session))
        return Page(items=tuple(self.made.values())[: page.limit], next_cursor=None)

    async def get(self, order_id: str, session: Any) -> OrderView:
        if order_id == KNOWN_ORDER:
            return order_view(KNOWN_ORDER)
        if order_id not in self.made:
            raise NotFoundError.of(Text("order", "commande"), order_id)
        return self.made[order_id]

    async def cancel(self, order_id: str, session: Any) -> OrderView:
        return await self.get(order_id, session)

    async def prove(self, order_id: str, proof: PossessionProof, session: Any) -> OrderView:
        return await self.get(order_id, session)

    async def renew_nonce(self, order_id: str, session: Any) -> OrderView:
        return await self.get(order_id, session)

    async def retrieve(self, order_id: str, request: RetrievalRequest, session: Any) -> CertificateView:
        await self.get(order_id, session)
        return certificate_view()


class Certificates:
    async def list(
        self, filters: CertificateFilters, page: PageRequest, session: Any
    ) -> Page[CertificateSummary]:
        return Page(items=(), next_cursor=None)

    async def get(self, serial: str, session: Any) -> CertificateView:
        if serial != certificate_view().serial:
            raise NotFoundError.of(Text("certificate", "certificat"), serial)
        return certificate_view()

    async def revoke(self, serial: str, request: RevocationRequest, session: Any) -> CertificateView:
        await self.get(serial, session)
        raise AlreadyRevokedError(Text("Revoked before.", "Déjà révoqué."))

    async def block_key(self, spki_sha256: str, request: KeyBlockRequest) -> BlockedKeyView:
        return BlockedKeyView(public_key_sha256=spki_sha256, reason=request.reason, blocked_at=START)

    async def renew(self, serial: str, request: RenewalRequest, session: Any) -> OrderView:
        await self.get(serial, session)
        return order_view(OrderId("renewed"))


class Keys:
    """One key, held by the order that is always there, on one token."""

    async def keys(self) -> list[KeyView]:
        return [
            KeyView(
                id=KEY, spki_sha256=KEY, registered=True, holder_kind="order", holder=KNOWN_ORDER,
                level="machine-bound", token="cardd 1", token_serial=TOKEN, key_id="01", certificates=(),
                evidence=False, claimed_at=START, findings=(),
            )
        ]  # fmt: skip

    async def check(self) -> SweepReport:
        return SweepReport(swept_at=START, keys=1, findings=0, foreign_tokens=())

    async def evidence(self, spki_sha256: str) -> EvidenceView:
        raise NotFoundError.of(Text("key", "clé"), spki_sha256)

    async def request(self, spki_sha256: str) -> bytes:
        if spki_sha256 != KEY:
            raise NotFoundError.of(Text("key", "clé"), spki_sha256)
        return b"request"

    async def export_pin(self, name: str) -> TokenRecord:
        raise NotFoundError.of(Text("token", "jeton"), name)

    async def withdraw_pin(self, name: str) -> TokenRecord:
        raise NotFoundError.of(Text("token", "jeton"), name)

    async def decide(self, name: str, decision: Decision) -> QuarantineOutcome:
        raise NotFoundError.of(Text("token", "jeton"), name)


@dataclass
class Backups:
    """One backup that is always there."""

    file: Path
    made: list[BackupRequest] = field(default_factory=list)

    async def make(self, request: BackupRequest) -> BackupView:
        self.made.append(request)
        return backup_view()

    async def list(self) -> list[BackupView]:
        return [backup_view()]

    async def path(self, name: str) -> Path:
        if name != BACKUP:
            raise NotFoundError.of(Text("backup", "sauvegarde"), name)
        self.file.write_bytes(b"age-encryption.org/v1\n")
        return self.file

    async def delete(self, name: str) -> None:
        await self.path(name)


@dataclass
class Alerts:
    """Nothing is wrong, unless a test says so."""

    raised: list[AlertView] = field(default_factory=list)

    async def list(self) -> list[AlertView]:
        return self.raised


@dataclass
class Pki:
    """One CA that publishes bytes."""

    authorities: Mapping[CaName, Authority] = field(default_factory=lambda: {CaName.ACR_EL: authority()})
    entries: bytes = b"list"

    @property
    def lists(self) -> "Pki":
        return self

    @property
    def ocsp(self) -> "Pki":
        return self

    def current(self, issuer: CaName, kind: ListKind) -> PublishedList:
        return PublishedList(
            issuer=issuer, kind=kind, number=7, base_number=7, this_update=START,
            next_update=START + timedelta(days=7), entries=0, der=self.entries + kind.encode(),
        )  # fmt: skip

    async def answer_get(self, encoded: str, now: datetime) -> OcspReply:
        return OcspReply(encoded.encode(), 60, START, START + timedelta(seconds=60), '"0123"')

    async def answer_post(self, request: bytes, now: datetime) -> OcspReply:
        return OcspReply(b"answer to " + request)


@dataclass
class ListOcsp:
    """The OCSP responder for lists of others, off at first."""

    certificate: x509.Certificate | None = None


@dataclass
class Running:
    """A web service that is being served; calls are the owner's unless they say otherwise."""

    services: Services
    address: str
    socket: Path
    http: aiohttp.ClientSession
    token: str

    @property
    def orders(self) -> Orders:
        assert isinstance(self.services.orders, Orders)
        return self.services.orders

    @asynccontextmanager
    async def call(
        self, method: str, path: str, *, token: str | None = "", **options: Any
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        headers = dict(options.pop("headers", {}))
        if token is not None:
            headers.setdefault("Authorization", f"Bearer {token or self.token}")
        async with self.http.request(method, self.address + path, headers=headers, **options) as response:
            yield response

    async def json(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        async with self.call(method, path, **options) as response:
            body = await response.read()
            return response.status, (await response.json(content_type=None)) if body else None

    async def session(self) -> str:
        status, opened = await self.json("POST", f"/api/v1/cards/{CARD}/session", json={"pin": PIN})
        assert status == 201, opened
        return str(opened["id"])


@asynccontextmanager
async def running(
    directory: Path, *, streams: StreamPolicy | None = None, **replaced: Any
) -> AsyncIterator[Running]:
    """Serve the web service over the fakes on a free port and a Unix socket."""
    services = await make_services(directory, **replaced)
    reservation = reserve_port(services.settings)
    application = create_application(services, streams=streams)
    token = (directory / "token").read_text().strip()
    async with (
        serving(application, reservation, services.settings.runtime) as address,
        aiohttp.ClientSession(auto_decompress=False) as http,
    ):
        yield Running(services, address, services.settings.runtime / "cardd.sock", http, token)
    await services.store.close()


async def make_services(directory: Path, **replaced: Any) -> Services:
    """Return the fakes with a real store in `directory`."""
    settings = settings_for(directory)
    if not (directory / _DATABASE).exists():
        shutil.copy(empty_database(), directory / _DATABASE)
    clock, bus = ManualClock(START), EventBus()
    store = await Store.open(directory, clock, bus)
    validating, kept = validation(directory, now=clock.now()), FakeRevocation()
    policies = FreshnessPolicies(store, built_in(timedelta(hours=24)), "standard")
    validating = replace(validating, policies=policies)
    applications = Applications(store, clock)
    values: dict[str, Any] = {
        "settings": settings,
        "clock": clock,
        "store": store,
        "bus": bus,
        "token": ensure_owner_token(directory),
        "request_secret": ensure_request_secret(directory),
        "presence": Readers(),
        "cards": Cards(),
        "sessions": Sessions(),
        "habilitations": Habilitations(),
        "orders": Orders(store),
        "certificates": Certificates(),
        "pki": Pki(),
        "list_ocsp": ListOcsp(),
        "keys": Keys(),
        "revocation": validating.revocation,
        "learner": Learner(validating.trust, kept),
        "prepared": PreparedLists(validating.trust, kept),
        "policies": policies,
        "trust": validating.trust,
        "validation": validating,
        "applications": applications,
        "pairings": Pairings(store, clock, applications),
        "consents": Consents(store, clock),
        "machines": Machines(store, clock),
        "alerts": Alerts(),
        "backups": Backups(directory / "backup"),
    }
    return Services(**(values | replaced))


@functools.cache
def empty_database() -> Path:
    """Return a database with its tables, made once a test run."""
    path = Path(tempfile.mkdtemp(prefix="cardd-tests-")) / _DATABASE
    upgrade(f"sqlite:///{path}")
    atexit.register(shutil.rmtree, path.parent)
    return path


def settings_for(directory: Path) -> Settings:
    """Return settings with their state in `directory` and any free port."""
    return load_settings({}, overrides={"state_dir": str(directory), "http_port": 0})


def authority() -> Authority:
    """Return a root that certifies itself."""
    signer = ec_signer()
    assert isinstance(signer.key, ec.EllipticCurvePrivateKey)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, CaName.ACR_EL.common_name)])
    certificate = (
        x509.CertificateBuilder(name, name, signer.key.public_key(), x509.random_serial_number())
        .not_valid_before(START)
        .not_valid_after(START + timedelta(days=3650))
        .sign(signer.key, hashes.SHA256())
    )
    return Authority(CaName.ACR_EL, certificate, signer)


def order_request(**changes: Any) -> dict[str, Any]:
    """Return the body of a right order."""
    return {
        "offer": "ORG",
        "usage": "AUTH_CLI",
        "structure": STRUCTURE.id,
        "service": "INSI-AUTO",
        "contacts": ["tests@example.org"],
        **changes,
    }


def card_view(serial: CardSerial) -> CardView:
    return CardView(
        serial=serial, type=CardType.CPS, generation="CPS3", medium="softhsm",
        reader=f"cardd SoftHSM {serial}", module="softhsm2", present=True,
        holder=Holder(last_name="TEST", first_name="CLAIRE", identifier="899700000018"), certificates=(),
        pin=PinView(state=PinState.OK, tries_left=3), capabilities=(), habilitations=("h1",), issued_at=START,
        opposed=False, opposed_at=None, opposed_reason=None, opposes_at=START + timedelta(days=1095),
    )  # fmt: skip


def habilitation_view(form: HabilitationForm | None = None) -> HabilitationView:
    return HabilitationView(
        id=HabilitationId("h1"), state=HabilitationState.APPROVED, submitted_at=START, decided_at=START,
        withdrawn_at=None, reason=None, form=form or _FORM, structures=(STRUCTURE,),
        offers=(OfferUsages(offer=Offer.ORG, usages=(Usage.AUTH_CLI,)),), cards=(CARD,),
    )  # fmt: skip


def order_view(order_id: OrderId) -> OrderView:
    return OrderView(
        id=order_id, state=OrderState.TO_RETRIEVE, offer=Offer.ORG, usage=Usage.AUTH_CLI, structure=STRUCTURE,
        label="INSI-AUTO", fields={"service": "INSI-AUTO"}, contacts=("tests@example.org",), key_source="token",
        algorithm="rsa_2048", public_key_sha256="00" * 32, custody="software", token="0011223344556677",
        pkcs11_uri=None, ordered_by=CARD, created_at=START, expires_at=START + timedelta(days=30),
        ended_at=None, renewal_of=None, certificate=None,
    )  # fmt: skip


def certificate_view() -> CertificateView:
    return CertificateView(
        serial=CertificateSerial("4f1c0b2dab"), state=CertificateState.ACTIVE, offer=Offer.ORG,
        usage=Usage.AUTH_CLI, profile="ORG AUTH_CLI", structure=STRUCTURE, order=OrderId("o1"), card=None,
        subject="CN=INSI-AUTO", issuer="ACI-EL-ORG-TEST", common_name="INSI-AUTO", not_before=START,
        not_after=START + timedelta(days=1095), days_left=1095, public_key_sha256="00" * 32,
        custody="software", pkcs11_uri=None, contacts=(), issued_at=START, revoked_at=None,
        revocation_reason=None, certificate=CERTIFICATE, pem="", chain=(CERTIFICATE,),
    )  # fmt: skip


def backup_view() -> BackupView:
    """Return a backup."""
    return BackupView(
        name=BACKUP, made_at=START, size=22, sha256="0b" * 32, recipients=("age1…",), tokens=()
    )  # fmt: skip


def _check_known(serial: str) -> None:
    if serial != CARD:
        raise CardUnknownError.named(serial)


def form() -> dict[str, Any]:
    """Return the body of a right form F414."""
    return {
        "structure_name": "HOPITAL DE TEST",
        "delivery_address": "1 rue de la Paix",
        "postal_code": "75002",
        "town": "Paris",
        "siret": "18751275100020",
        "recipient": {
            "last_name": "TEST",
            "first_name": "CLAIRE",
            "function": "DSI",
            "phone": "0102030405",
            "email": "claire@example.org",
        },
        "offers": [{"offer": "ORG"}],
    }


_FORM = msgspec.convert(form(), HabilitationForm)
