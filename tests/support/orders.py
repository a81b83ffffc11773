"""A technical phase over a real store and a real test PKI, whose tokens are in memory."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar, cast

import sqlalchemy as sa
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from cardd.clock import ManualClock
from cardd.custody.keys import KeyMaker
from cardd.custody.pins import PinVault
from cardd.custody.registry import KeyIntents
from cardd.custody.stock import KeyStock
from cardd.custody.tokens import TokenKeeper
from cardd.events import EventBus
from cardd.igc.issuing import IssuedCertificate, IssueRequest
from cardd.igc.pki import Pki
from cardd.igc.signer import SigningPublicKey
from cardd.orders.certificates import Certificates
from cardd.orders.codes import CodePolicy
from cardd.orders.habilitations import Habilitations
from cardd.orders.notices import Notices
from cardd.orders.orders import Orders
from cardd.orders.parts import OrderParts
from cardd.orders.types import (
    CertificateView,
    HabilitationForm,
    HabilitationView,
    KeyRequest,
    Offer,
    OrderRequest,
    OrderView,
    PossessionProof,
    Recipient,
    RetrievalRequest,
    WantedOffer,
)
from cardd.settings import Settings
from cardd.store import Store, tables
from cardd.vocabulary import Usage
from cardd_pkcs11 import protocol
from cardd_pkcs11.errors import HostLostError
from cardd_pkcs11.operations import TokenOperations
from cardd_pkcs11.pool import TokenHostPool
from cardd_pkcs11.types import CustodyLevel, KeyAttributes, KeyTemplate, Spki, TokenSerial
from tests.support.igc import TestPki, spki
from tests.support.stores import open_store

T = TypeVar("T")

FINESS = "1B0073160"
STRUCTURE = f"1{FINESS}"
SIRET = "18751275100020"
CODE = "un code 42"
CARD = "00636234"
#: Codes hashed without the cost that protects real ones.
QUICK = CodePolicy(time_cost=1, memory_kib=64, lanes=1)


@dataclass(frozen=True)
class Card:
    """An open card session, as far as orders look at it."""

    card_serial: str = CARD


@dataclass
class MemoryTokens(TokenOperations):
    """Tokens whose objects are in a dictionary; `broken` makes storing and destroying fail."""

    keys: dict[bytes, bytes] = field(default_factory=dict)
    templates: dict[bytes, KeyTemplate] = field(default_factory=dict)
    certificates: dict[bytes, bytes] = field(default_factory=dict)
    broken: bool = False

    async def call(self, call: protocol.Call[T], *, deadline: float | None = None) -> T:
        """Do what the orders' room asks of a token."""
        match call:
            case protocol.GenerateKeyPair():
                key: Any = _public_key(is_rsa=call.algorithm.is_rsa)
                self.keys[call.key_id] = spki(key)
                self.templates[call.key_id] = call.template
                return cast("T", Spki(self.keys[call.key_id]))
            case protocol.ReadKeyAttributes():
                return cast("T", _attributes_of(self.templates[call.key_id]))
            case protocol.ReadPublicKey():
                return cast("T", Spki(self.keys[call.key_id]))
            case protocol.StoreCertificate() if not self.broken:
                self.certificates[call.key_id] = call.der
            case protocol.Destroy() if not self.broken:
                self.certificates.pop(call.key_id or b"", None)
                return cast("T", int(self.keys.pop(call.key_id or b"", None) is not None))
            case _ if self.broken:
                raise HostLostError("the host is gone")
            case _:
                raise NotImplementedError(type(call).__name__)
        return cast("T", None)


@dataclass
class MemoryKeeper:
    """Gives every structure a token, by a row alone."""

    store: Store

    async def for_structure(self, structure_id: str) -> "MemoryToken":
        """Return the token of a structure."""
        token = MemoryToken(TokenSerial(f"token-{structure_id}"), f"cardd {structure_id}")
        table = tables.tokens
        async with self.store.transaction() as tx:
            known = await tx.execute(sa.select(table.c.serial).where(table.c.serial == token.serial))
            if known.first() is None:
                await tx.execute(
                    sa.insert(table).values(
                        serial=token.serial, machine=self.store.machine,
                        label=token.label, purpose="structure", structure_id=structure_id,
                        module="softhsm2", level="software", created_at=tx.now,
                    )
                )  # fmt: skip
        return token


@dataclass(frozen=True)
class MemoryToken:
    """A token's names."""

    serial: TokenSerial
    label: str


@dataclass
class MemoryLists:
    """Counts how often lists were published."""

    published: int = 0

    async def publish_wanted(self) -> None:
        """Count one publication."""
        self.published += 1


class MemoryPki:
    """The real issuer over keys in memory; what it records is recorded as the daemon does."""

    record = Pki.record
    revoke_in = Pki.revoke_in

    def __init__(self, pki: TestPki, clock: ManualClock) -> None:
        self.authorities = pki.authorities
        self.lists = MemoryLists()
        self._issuer = pki.issuer
        self._clock = clock

    async def issue(self, request: IssueRequest) -> IssuedCertificate:
        """Issue a certificate."""
        return await self._issuer.issue(request, self._clock.now())


@dataclass
class World:
    """The room with everything around it."""

    store: Store
    bus: EventBus
    clock: ManualClock
    pki: MemoryPki
    tokens: MemoryTokens
    habilitations: Habilitations
    orders: Orders
    certificates: Certificates
    notices: Notices
    parts: OrderParts
    card: Card = Card()

    async def authorise(
        self, form: HabilitationForm | None = None, card: Card | None = None
    ) -> HabilitationView:
        """Submit and approve a habilitation, and authorise a card by it."""
        habilitation = await self.habilitations.submit(form or form_f414())
        await self.habilitations.approve(habilitation.id)
        async with self.store.transaction() as tx:
            await self.habilitations.add_card(tx, habilitation.id, (card or self.card).card_serial)
        return await self.habilitations.get(habilitation.id)

    async def order(self, request: OrderRequest | None = None) -> OrderView:
        """Place an order with the authorised card."""
        return await self.orders.create(request or order_request(), self.card)

    async def retrieve(self, order: OrderView | None = None, code: str = CODE) -> CertificateView:
        """Retrieve an order, a new one where none is given."""
        placed = order or await self.order()
        return await self.orders.retrieve(placed.id, retrieval(code), self.card)

    async def prove(self, order: OrderView, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> OrderView:
        """Prove possession of the key of an order's CSR."""
        assert order.possession.to_sign is not None
        return await self.orders.prove(
            order.id, PossessionProof(signature=signed(key, order.possession.to_sign))
        )

    async def keep_card(self, serial: str, *, opposed: bool = False) -> None:
        """Put a card's row into the store."""
        async with self.store.transaction() as tx:
            await tx.execute(
                sa.insert(tables.cards).values(
                    serial=serial, machine=self.store.machine, medium="softhsm",
                    type="cps", holder={}, capabilities=[], issued_at=tx.now,
                    opposes_at=tx.now + timedelta(days=1000), opposed_at=tx.now if opposed else None,
                    inserted=True, pin_tries_left=3,
                )
            )  # fmt: skip

    async def event_types(self) -> list[str]:
        """Return the types of all events so far."""
        return [event.type.value for event in await self.store.events_after(0)]

    async def rows(self, table: sa.Table) -> Sequence[sa.Row[Any]]:
        """Return all rows of a table."""
        async with self.store.read() as connection:
            return (await connection.execute(sa.select(table))).all()


async def open_world(
    directory: Path, clock: ManualClock, pki: TestPki, pool: TokenHostPool | None = None
) -> World:
    """Open a world on a state directory, over a real pool where one is given; the caller closes its store."""
    bus = EventBus()
    store = await open_store(directory, clock, bus)
    vault, memory = PinVault(directory / "pins"), MemoryTokens()
    keeper = TokenKeeper(store, pool, vault) if pool else cast("TokenKeeper", MemoryKeeper(store))
    memory_pki = MemoryPki(pki, clock)
    settings = Settings(state_dir=str(directory), runtime_dir=str(directory))
    maker, intents = KeyMaker(pool or memory, CustodyLevel.SOFTWARE), KeyIntents(store, pool or memory)
    parts = OrderParts(
        store=store,
        clock=clock,
        settings=settings,
        pki=cast("Pki", memory_pki),
        pool=pool or memory,
        keeper=keeper,
        maker=maker,
        intents=intents,
        stock=KeyStock(store, maker, intents),
        vault=vault,
        code_policy=QUICK,
    )
    return World(
        store=store,
        bus=bus,
        clock=clock,
        pki=memory_pki,
        tokens=memory,
        habilitations=Habilitations(store, clock),
        orders=Orders(parts),
        certificates=Certificates(parts),
        notices=Notices(store, clock, settings),
        parts=parts,
    )


def form_f414(**changes: object) -> HabilitationForm:
    """Return a form without faults, for a structure with a FINESS and all offers."""
    values: dict[str, object] = {
        "structure_name": "HOPITAL DES 3. DAMES",
        "delivery_address": "1 rue de l’Exemple",
        "postal_code": "75001",
        "town": "Paris",
        "finess": FINESS,
        "recipient": Recipient(
            last_name="MARTIN",
            first_name="Alice",
            function="DSI",
            phone="01 02 03 04 05",
            email="dsi@example.fr",
        ),
        "offers": tuple(WantedOffer(offer=offer) for offer in Offer),
    }
    return HabilitationForm(**(values | changes))  # type: ignore[arg-type]  # checked by each test's use


def order_request(**changes: object) -> OrderRequest:
    """Return an order of ORG AUTH_CLI without faults; its key is the quickest that the usage allows."""
    values: dict[str, object] = {
        "offer": Offer.ORG,
        "usage": Usage.AUTH_CLI,
        "structure": STRUCTURE,
        "service": "EMA",
        "contacts": ("a@example.fr", "b@example.fr"),
        "key": KeyRequest(algorithm="ec_p256"),
    }
    if changes.get("usage") not in (None, Usage.AUTH_CLI, Usage.SIGN):
        values["key"] = KeyRequest()
    return OrderRequest(**(values | changes))  # type: ignore[arg-type]  # checked by each test's use


def retrieval(code: str = CODE) -> RetrievalRequest:
    """Return a retrieval without faults."""
    return RetrievalRequest(revocation_code=code, confirmation=code, accept_terms=True)


def new_csr(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | None = None) -> str:
    """Return a CSR in PEM, with a new P-256 key where none is given."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ignored")])
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    signed = builder.sign(key or ec.generate_private_key(ec.SECP256R1()), SHA256())
    return signed.public_bytes(Encoding.PEM).decode()


def signed(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, message: bytes) -> bytes:
    """Return a key's signature with SHA-256, of RSA by PKCS#1 v1.5."""
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(message, PKCS1v15(), SHA256())
    return key.sign(message, ec.ECDSA(SHA256()))


def der_of(pem: str) -> str:
    """Return a PEM CSR as base64 of its DER."""
    return base64.b64encode(x509.load_pem_x509_csr(pem.encode()).public_bytes(Encoding.DER)).decode()


def csr_key(csr: str) -> KeyRequest:
    """Return the key of an order that brings a CSR."""
    return KeyRequest(source="csr", csr=csr)


def _public_key(*, is_rsa: bool) -> SigningPublicKey:
    if is_rsa:
        return rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    return ec.generate_private_key(ec.SECP256R1()).public_key()


def _attributes_of(template: KeyTemplate) -> KeyAttributes:
    return KeyAttributes(
        token=True, private=True, local=True, sensitive=True, always_sensitive=True, extractable=False,
        never_extractable=True, copyable=False, modifiable=False, sign=template.sign, sign_recover=False,
        decrypt=template.decrypt, wrap=False, unwrap=False, derive=False, key_gen_mechanism="EC_KEY_PAIR_GEN",
    )  # fmt: skip
