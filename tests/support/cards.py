"""Test cards for tests: a token host in memory that behaves as SoftHSM does, and a PKI without tokens."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from cardd.cards.personalisation import Personaliser
from cardd.cards.sessions import CardSessions, SessionParts
from cardd.cards.testcards import CardParts, TestCards
from cardd.cards.types import CardView, TestCardRequest
from cardd.cards.virtualcards import VirtualCards
from cardd.clock import ManualClock
from cardd.custody.keys import KeyMaker
from cardd.custody.pins import PinVault
from cardd.events import EventBus
from cardd.igc.crl import RevocationReason
from cardd.igc.issuing import IssuedCertificate, Issuer, IssueRequest
from cardd.igc.lint import Linter
from cardd.igc.names import CaName
from cardd.igc.pki import Pki, Recorded
from cardd.igc.policy import CaKeyAlgorithm
from cardd.orders.habilitations import Habilitations
from cardd.orders.types import HabilitationForm, HabilitationView, Offer, Recipient, WantedOffer
from cardd.settings import Settings
from cardd.store import Store, Transaction
from cardd.text import Text
from cardd.virtualcard import VirtualReaders
from cardd_pkcs11 import protocol
from cardd_pkcs11.errors import (
    NotLoggedInError,
    ObjectNotFoundError,
    PinIncorrectError,
    TokenError,
    TokenNotFoundError,
)
from cardd_pkcs11.operations import TokenOperations
from cardd_pkcs11.types import (
    CustodyLevel,
    KeyAttributes,
    KeyCapabilities,
    ObjectInfo,
    ObjectKind,
    PinFlags,
    SignMechanism,
    Spki,
    TokenInfo,
    TokenSerial,
)
from tests.support.igc import PREPARED, TestPki, build_pki, ec_signer, policy_for_tests

T = TypeVar("T")

FORM = HabilitationForm(
    structure_name="HOPITAL GENERIQUE",
    delivery_address="1 rue de l’Exemple",
    postal_code="75014",
    town="Paris",
    finess="1B0057881",
    recipient=Recipient(
        last_name="DUPONT", first_name="Zoé", function="DSI", phone="+33100000000", email="zoe@example.org"
    ),
    offers=(WantedOffer(offer=Offer.ORG),),
)

_ATTRIBUTES = KeyAttributes(
    token=True, private=True, local=True, sensitive=True, always_sensitive=True, extractable=False,
    never_extractable=True, copyable=False, modifiable=False, sign=True, sign_recover=False, decrypt=False,
    wrap=None, unwrap=False, derive=False, key_gen_mechanism="RSA_PKCS_KEY_PAIR_GEN",
)  # fmt: skip
_PIN_FLAGS = PinFlags(initialised=True, count_low=False, final_try=False, locked=False)


@cache
def rsa_key(number: int) -> rsa.RSAPrivateKey:
    """Return the key of that number, made once in the whole run."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@dataclass
class MemoryToken:
    """A token in memory."""

    serial: TokenSerial
    label: str
    so_pin: str
    user_pin: str
    logged_in: bool = False
    keys: dict[bytes, rsa.RSAPrivateKey] = field(default_factory=dict)
    objects: list[tuple[ObjectInfo, bytes]] = field(default_factory=list)


class MemoryTokens(TokenOperations):
    """Tokens in memory; like SoftHSM's they count no PIN tries. What tests look at and change is public."""

    def __init__(self) -> None:
        self.tokens: dict[TokenSerial, MemoryToken] = {}
        self.pins_seen: list[str] = []
        self.before: Callable[[protocol.Call[Any]], Any] | None = None
        self.keys = itertools.count()

    async def call(self, call: protocol.Call[T], *, deadline: float | None = None) -> T:
        await asyncio.sleep(0)
        if self.before is not None:
            await self.before(call)
        return cast("T", getattr(self, f"_{type(call).__name__}")(call))

    def _token(self, call: Any) -> MemoryToken:
        if call.serial not in self.tokens:
            raise TokenNotFoundError("no such token")
        return self.tokens[call.serial]

    def _inside(self, call: Any) -> MemoryToken:
        token = self._token(call)
        if not token.logged_in:
            raise NotLoggedInError("not logged in")
        return token

    def _ListTokens(self, _call: protocol.ListTokens) -> tuple[TokenInfo, ...]:  # noqa: N802
        return tuple(
            TokenInfo(
                serial=token.serial,
                label=token.label,
                manufacturer="",
                model="",
                initialised=True,
                write_protected=False,
                login_required=True,
                protected_authentication_path=False,
                user_pin=_PIN_FLAGS,
                logged_in=token.logged_in,
            )
            for token in self.tokens.values()
        )

    def _InitToken(self, call: protocol.InitToken) -> TokenInfo:  # noqa: N802
        serial = TokenSerial(f"{len(self.tokens):016x}")
        self.tokens[serial] = MemoryToken(serial, call.label, call.so_pin.reveal(), call.user_pin.reveal())
        return self._ListTokens(protocol.ListTokens())[-1]

    def _InitPin(self, call: protocol.InitPin) -> None:  # noqa: N802
        token = self._token(call)
        if call.so_pin.reveal() != token.so_pin:
            raise TokenError("wrong SO PIN")
        token.user_pin, token.logged_in = call.user_pin.reveal(), False

    def _Login(self, call: protocol.Login) -> None:  # noqa: N802
        token = self._token(call)
        token.logged_in = False
        self.pins_seen.append(call.pin.reveal())
        if call.pin.reveal() != token.user_pin:
            raise PinIncorrectError("wrong PIN")
        token.logged_in = True

    def _Logout(self, call: protocol.Logout) -> None:  # noqa: N802
        self._token(call).logged_in = False

    def _Forget(self, call: protocol.Forget) -> None:  # noqa: N802
        if call.serial in self.tokens:
            self.tokens[call.serial].logged_in = False

    def _ChangePin(self, call: protocol.ChangePin) -> None:  # noqa: N802
        token = self._token(call)
        self.pins_seen.append(call.old.reveal())
        if call.old.reveal() != token.user_pin:
            raise PinIncorrectError("wrong PIN")
        token.user_pin = call.new.reveal()

    def _ListObjects(self, call: protocol.ListObjects) -> tuple[ObjectInfo, ...]:  # noqa: N802
        token = self._token(call)
        return tuple(info for info, _ in token.objects if token.logged_in or not info.private)

    def _GenerateKeyPair(self, call: protocol.GenerateKeyPair) -> Spki:  # noqa: N802
        token = self._inside(call)
        key = token.keys[call.key_id] = rsa_key(next(self.keys))
        for kind in (ObjectKind.PRIVATE_KEY, ObjectKind.PUBLIC_KEY):
            token.objects.append((_info(kind, call.label, call.key_id, kind is ObjectKind.PRIVATE_KEY), b""))
        return Spki(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))

    def _ReadKeyAttributes(self, call: protocol.ReadKeyAttributes) -> KeyAttributes:  # noqa: N802
        self._inside(call)
        return _ATTRIBUTES

    def _Sign(self, call: protocol.Sign) -> bytes:  # noqa: N802
        key = self._inside(call).keys[call.key_id]
        assert call.mechanism is SignMechanism.SHA256_RSA_PKCS
        return key.sign(call.data, PKCS1v15(), SHA256())

    def _Capabilities(self, call: protocol.Capabilities) -> KeyCapabilities:  # noqa: N802
        self._inside(call)
        return KeyCapabilities((SignMechanism.RSA_PKCS, SignMechanism.SHA256_RSA_PKCS), ())

    def _StoreCertificate(self, call: protocol.StoreCertificate) -> None:  # noqa: N802
        info = _info(ObjectKind.CERTIFICATE, call.label, call.key_id, private=False, certificate=call.der)
        self._inside(call).objects.append((info, call.der))

    def _StoreData(self, call: protocol.StoreData) -> None:  # noqa: N802
        info = _info(ObjectKind.DATA, call.label, None, call.private, application=call.application)
        self._inside(call).objects.append((info, call.value))

    def _ReadData(self, call: protocol.ReadData) -> bytes:  # noqa: N802
        token = self._token(call)
        for info, value in token.objects:
            if (info.application, info.label) == (call.application, call.label):
                return value
        raise ObjectNotFoundError("no such object")

    def _Destroy(self, call: protocol.Destroy) -> int:  # noqa: N802
        token = self._inside(call)
        doomed = [
            entry
            for entry in token.objects
            if entry[0].kind in call.kinds
            and (call.key_id is None or entry[0].key_id == call.key_id)
            and (call.label is None or entry[0].label == call.label)
        ]
        token.objects = [entry for entry in token.objects if entry not in doomed]
        return len(doomed)


def _info(
    kind: ObjectKind,
    label: str,
    key_id: Any,
    private: bool,
    *,
    application: str | None = None,
    certificate: bytes | None = None,
) -> ObjectInfo:
    return ObjectInfo(
        kind=kind,
        label=label,
        key_id=key_id,
        private=private,
        application=application,
        certificate=certificate,
    )


class _NoLint:
    async def check_certificate(self, _der: bytes) -> None:
        """Let everything pass: linting is tested in its own room."""


@cache
def memory_hierarchy() -> TestPki:
    """Return nine authorities in memory, made once; to be called outside any running loop."""
    linter = cast("Linter", _NoLint())
    return build_pki(
        policy_for_tests(ca_algorithm=CaKeyAlgorithm.EC_P256), linter, {name: ec_signer() for name in CaName}
    )


class MemoryLists:
    """Counts publications."""

    def __init__(self) -> None:
        self.published = 0

    async def publish_wanted(self) -> None:
        self.published += 1


class MemoryPki:
    """What test cards need of the PKI, over authorities in memory; records as the real one does."""

    def __init__(self, hierarchy: TestPki, clock: ManualClock) -> None:
        self.authorities = hierarchy.authorities
        self.lists = MemoryLists()
        self.refuse: Exception | None = None
        self._issuer = Issuer(hierarchy.policy, hierarchy.authorities, hierarchy.linter)
        self._clock = clock

    async def issue(self, request: IssueRequest) -> IssuedCertificate:
        if self.refuse is not None:
            raise self.refuse
        return await self._issuer.issue(request, self._clock.now())

    async def record(self, tx: Transaction, issued: IssuedCertificate, recorded: Recorded) -> None:
        await Pki.record(cast("Pki", self), tx, issued, recorded)

    async def revoke_in(self, tx: Transaction, serial: str, reason: RevocationReason) -> bool:
        return await Pki.revoke_in(cast("Pki", self), tx, serial, reason)


@dataclass
class CardRoom:
    """The cards room, ready, with what stands around it."""

    store: Store
    bus: EventBus
    clock: ManualClock
    tokens: MemoryTokens
    pki: MemoryPki
    habilitations: Habilitations
    sessions: CardSessions
    cards: TestCards

    async def approved(self, form: HabilitationForm = FORM) -> HabilitationView:
        """Return an approved habilitation."""
        return await self.habilitations.approve((await self.habilitations.submit(form)).id)

    async def card(self, **fields: Any) -> CardView:
        """Make and insert a card of a new habilitation."""
        habilitation = await self.approved()
        made = await self.cards.create(TestCardRequest(habilitation=habilitation.id, **fields))
        return await self.cards.insert(made.serial)

    async def events(self) -> list[tuple[str, str]]:
        """Return type and subject of everything published."""
        return [(event.type.value, event.subject) for event in await self.store.events_after(0)]

    async def actions(self) -> list[str]:
        """Return the actions of the journal, oldest first."""
        return [line.action for line in reversed(await self.store.journal(limit=500))]


def no_virtual_cards(state: Path, store: Store, pki: Pki, clock: ManualClock, bus: EventBus) -> VirtualCards:
    """Return virtual cards without readers."""
    readers = VirtualReaders(state / "pcsc", state / "virtual-cards", clock)
    reason = Text("these tests start none", "ces tests n’en démarrent pas")
    return VirtualCards(store, pki, readers, bus=bus, unavailable=reason)


@asynccontextmanager
async def card_room(
    state: Path, hierarchy: TestPki, tokens: MemoryTokens | None = None
) -> AsyncIterator[CardRoom]:
    """Run the cards room over a state for the length of a block, as a start of the daemon would."""
    clock, bus = ManualClock(PREPARED + timedelta(days=1)), EventBus()
    store = await Store.open(state, clock, bus)
    tokens = tokens or MemoryTokens()
    pki = MemoryPki(hierarchy, clock)
    settings = Settings(state_dir=str(state), runtime_dir=str(state / "run"))
    habilitations = Habilitations(store, clock)
    real_pki = cast("Pki", pki)
    maker = KeyMaker(tokens, CustodyLevel.SOFTWARE)
    sessions = CardSessions(
        SessionParts(
            store=store,
            clock=clock,
            settings=settings,
            tokens=tokens,
            pki=real_pki,
            habilitations=habilitations.of_card,
            vault=PinVault(state / "pins"),
        )
    )
    cards = TestCards(
        CardParts(
            store=store,
            clock=clock,
            settings=settings,
            tokens=tokens,
            personaliser=Personaliser(tokens, PinVault(state / "pins"), maker, real_pki),
            pki=real_pki,
            habilitations=habilitations,
            sessions=sessions,
            virtual=no_virtual_cards(state, store, real_pki, clock, bus),
        )
    )
    try:
        yield CardRoom(store, bus, clock, tokens, pki, habilitations, sessions, cards)
    finally:
        await sessions.stop()
        await store.close()
