"""Test cards on a real SoftHSM, issued by the real PKI: the objects of a CPS, sessions, crashes, removal."""

import asyncio
import hashlib
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256

from cardd.cards.errors import (
    CardMechanismUnavailableError,
    CardSessionEndedError,
    PinIncorrectError,
    PinLockedError,
)
from cardd.cards.personalisation import Personaliser
from cardd.cards.sessions import CardSessions, SessionParts
from cardd.cards.testcards import CardParts, TestCards
from cardd.cards.types import (
    ISSUED_TYPES,
    CardRole,
    CardType,
    CardView,
    PinChangeRequest,
    SessionRequest,
    SignRequest,
    TestCardRequest,
)
from cardd.clock import ManualClock
from cardd.custody.keys import KeyMaker
from cardd.custody.pins import PinVault
from cardd.custody.registry import KeyIntents
from cardd.custody.tokens import TokenKeeper
from cardd.events import EventBus
from cardd.igc.issuing import serial_hex
from cardd.igc.lint import Linter
from cardd.igc.names import CaName
from cardd.igc.pki import Pki, PkiParts
from cardd.igc.policy import CaKeyAlgorithm
from cardd.igc.publishing import ListKind
from cardd.orders.habilitations import Habilitations
from cardd.settings import Settings
from cardd.store import Store
from cardd_pkcs11.pool import TokenHostPool
from cardd_pkcs11.types import CustodyLevel, ObjectKind, TokenSerial
from tests.support.cards import FORM, no_virtual_cards
from tests.support.igc import PREPARED, policy_for_tests
from tests.support.softhsm import open_pool, require_tool, softhsm_environment

RIGHT = SessionRequest(pin="1234")
TO_SIGN = SignRequest(role=CardRole.AUTHENTICATION, data=b"hello")


@dataclass
class _Room:
    store: Store
    clock: ManualClock
    pool: TokenHostPool
    pki: Pki
    habilitations: Habilitations
    sessions: CardSessions
    cards: TestCards

    async def card(self, card_type: CardType = CardType.CPS) -> CardView:
        approved = await self.habilitations.approve((await self.habilitations.submit(FORM)).id)
        made = await self.cards.create(TestCardRequest(habilitation=approved.id, type=card_type))
        return await self.cards.insert(made.serial)

    async def card_tokens(self) -> dict[str, TokenSerial]:
        """Return the tokens of cards, finished or not, by label."""
        return {t.label: t.serial for t in await self.pool.list_tokens() if t.label.startswith("CPS ")}

    async def token_of(self, serial: str) -> TokenSerial:
        return (await self.card_tokens())[f"CPS {serial}"]


@asynccontextmanager
async def _room(state: Path) -> AsyncIterator[_Room]:
    clock = ManualClock(PREPARED)
    store, linter = await Store.open(state, clock, EventBus()), Linter()
    async with open_pool(state, 2) as pool:
        vault, maker = PinVault(state / "pins"), KeyMaker(pool, CustodyLevel.SOFTWARE)
        keeper = TokenKeeper(store, pool, vault)
        await keeper.reopen()
        pki = Pki(
            PkiParts(
                store=store,
                clock=clock,
                policy=policy_for_tests(ca_algorithm=CaKeyAlgorithm.EC_P256),
                pool=pool,
                keeper=keeper,
                maker=maker,
                intents=KeyIntents(store, pool),
                linter=linter,
                base_every=timedelta(hours=24),
            )
        )
        settings = Settings(state_dir=str(state), runtime_dir=str(state / "run"))
        habilitations = Habilitations(store, clock)
        sessions = CardSessions(
            SessionParts(
                store=store,
                clock=clock,
                settings=settings,
                tokens=pool,
                pki=pki,
                habilitations=habilitations.of_card,
                vault=PinVault(state / "pins"),
            )
        )
        cards = TestCards(
            CardParts(
                store=store,
                clock=clock,
                settings=settings,
                tokens=pool,
                personaliser=Personaliser(pool, vault, maker, pki),
                pki=pki,
                habilitations=habilitations,
                sessions=sessions,
                virtual=no_virtual_cards(state, store, pki, clock, EventBus()),
            )
        )
        try:
            await pki.start(lambda *_: None)
            yield _Room(store, clock, pool, pki, habilitations, sessions, cards)
        finally:
            await sessions.stop()
            await linter.close()
            await store.close()


async def test_a_card_of_each_type_holds_the_objects_of_its_family_and_opens_a_session(
    tmp_path: Path,
) -> None:
    async with _room(tmp_path) as room:
        for card_type in ISSUED_TYPES:
            card = await room.card(card_type)
            token = await room.token_of(card.serial)
            before = {(found.kind, found.label) for found in await room.pool.list_objects(token)}
            assert ObjectKind.PRIVATE_KEY not in {kind for kind, _ in before}
            session = await room.sessions.open(card.serial, RIGHT)
            after = {(found.kind, found.label) for found in await room.pool.list_objects(token)}
            assert {label for kind, label in after if kind is ObjectKind.PRIVATE_KEY} == {
                "CPS_PRIV_AUT",
                "CPS_PRIV_SIG",
            }
            assert {label for kind, label in after if kind is ObjectKind.CERTIFICATE} == {
                f"Certificat d'Authentification {card_type.upper()}",
                f"Certificat de Signature {card_type.upper()}",
            }
            assert {
                label for _, label in after - before if label.startswith("CPS_A") or label == "CPS_SIT_FACT"
            } == {
                "CPS_ACTIVITY_01_PS",
                "CPS_ACTIVITY_03_PS",
                "CPS_SIT_FACT",
            }
            data = await room.cards.data(card.serial)
            assert data.complete
            assert await room.sessions.authorised(session)


async def test_a_card_signs_data_and_digests_and_refuses_what_its_key_cannot_do(tmp_path: Path) -> None:
    async with _room(tmp_path) as room:
        card = await room.card()
        session = await room.sessions.open(card.serial, RIGHT)
        digest = hashlib.sha256(b"act").digest()
        for request in (
            SignRequest(role=CardRole.SIGNATURE, data=b"act"),
            SignRequest(role=CardRole.SIGNATURE, digest=digest),
            SignRequest(role=CardRole.SIGNATURE, mechanism="rsa_pkcs", digest=digest),
        ):
            signed = await room.sessions.sign(card.serial, request, session)
            public_key = x509.load_der_x509_certificate(signed.certificate).public_key()
            assert isinstance(public_key, rsa.RSAPublicKey)
            public_key.verify(signed.signature, digest, PKCS1v15(), Prehashed(SHA256()))
        with pytest.raises(CardMechanismUnavailableError):
            request = SignRequest(role=CardRole.SIGNATURE, mechanism="ecdsa_sha256", data=b"act")
            await room.sessions.sign(card.serial, request, session)
        assert {(able.role, able.operation) for able in (await room.cards.get(card.serial)).capabilities} == {
            (CardRole.AUTHENTICATION, "sign"),
            (CardRole.SIGNATURE, "sign"),
        }


async def test_the_pin_is_changed_and_counted_on_a_real_token(tmp_path: Path) -> None:
    async with _room(tmp_path) as room:
        card = await room.card()
        await room.sessions.change_pin(card.serial, PinChangeRequest(old="1234", new="567890"))
        with pytest.raises(PinIncorrectError):
            await room.sessions.open(card.serial, RIGHT)
        await room.sessions.open(card.serial, SessionRequest(pin="567890"))
        wrong = SessionRequest(pin="0000", accept_final_try=True)
        outcomes = await asyncio.gather(
            *(room.sessions.open(card.serial, wrong) for _ in range(10)), return_exceptions=True
        )
        assert sum(isinstance(outcome, PinIncorrectError) for outcome in outcomes) == 3
        assert sum(isinstance(outcome, PinLockedError) for outcome in outcomes) == 7


async def test_removal_ends_the_login_on_the_token_and_the_card_comes_back(tmp_path: Path) -> None:
    async with _room(tmp_path) as room:
        card = await room.card()
        token = await room.token_of(card.serial)
        session = await room.sessions.open(card.serial, RIGHT)
        await room.cards.remove(card.serial)
        assert not any(info.logged_in for info in await room.pool.list_tokens() if info.serial == token)
        with pytest.raises(CardSessionEndedError):
            await room.sessions.sign(card.serial, TO_SIGN, session)
        await room.cards.insert(card.serial)
        again = await room.sessions.open(card.serial, RIGHT)
        await room.sessions.sign(card.serial, TO_SIGN, again)


async def test_killing_the_token_host_ends_the_session_and_the_next_one_works(tmp_path: Path) -> None:
    async with _room(tmp_path) as room:
        card = await room.card()
        session = await room.sessions.open(card.serial, RIGHT)
        for host in room.pool.hosts:
            if host.pid is not None:
                os.kill(host.pid, signal.SIGKILL)
        codes = set()
        for _ in range(2):
            with pytest.raises(Exception) as failed:  # noqa: PT011 (which of the two depends on when the kill lands)
                await room.sessions.sign(card.serial, TO_SIGN, session)
            codes.add(getattr(failed.value, "code", None))
        assert codes <= {"token_host_unavailable", "card_session_ended"}
        again = await room.sessions.open(card.serial, RIGHT)
        await room.sessions.sign(card.serial, TO_SIGN, again)


async def test_opposition_is_in_the_published_list_of_the_card_s_issuer(tmp_path: Path) -> None:
    async with _room(tmp_path) as room:
        card = await room.card()
        await room.cards.oppose(card.serial, "lost")
        crl = x509.load_der_x509_crl(room.pki.lists.current(CaName.ACI_FO_PP, ListKind.FULL).der)
        assert {serial_hex(entry.serial_number) for entry in crl} == {
            each.serial for each in card.certificates
        }


async def test_cards_outlive_the_daemon_and_what_was_begun_is_used_again(tmp_path: Path) -> None:
    async with _room(tmp_path) as room:
        card = await room.card()
        approved = card.habilitations[0]
        creating = asyncio.create_task(room.cards.create(TestCardRequest(habilitation=approved)))
        async with asyncio.timeout(20):
            while len(await room.card_tokens()) < 2:  # noqa: ASYNC110 (the token host is what is waited for)
                await asyncio.sleep(0.001)
        for host in room.pool.hosts:
            await host.close()
        with pytest.raises(Exception):  # noqa: B017, PT011 (where it is cut is left to chance)
            await creating
    async with _room(tmp_path) as room:
        assert await room.cards.recover() == 1
        assert [each.serial for each in await room.cards.list()] == [card.serial]
        await room.sessions.open(card.serial, RIGHT)
        made = await room.cards.create(TestCardRequest(habilitation=approved))
        assert len(await room.card_tokens()) == 2
        await room.cards.insert(made.serial)
        await room.sessions.open(made.serial, RIGHT)


async def test_another_program_sees_the_card_as_a_cps(tmp_path: Path) -> None:
    tool = require_tool("pkcs11-tool")
    async with _room(tmp_path) as room:
        card = await room.card()
        module = str(room.pool.profile.locate())
    listed = await asyncio.to_thread(
        subprocess.run,
        [tool, "--module", module, "--token-label", f"CPS {card.serial}", "--login", "--pin", "1234", "-O"],
        env={**os.environ, **softhsm_environment(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    for name in ("CPS_PRIV_AUT", "CPS_PRIV_SIG", "Certificat d'Authentification CPS", "CPS_ACTIVITY_03_PS"):
        assert name in listed.stdout
