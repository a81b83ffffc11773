"""Cards in readers, fed with the events of the readers' watch: known while they are in, and only then."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from cardd.cards import inserted as inserted_module
from cardd.cards.acceptance import check_accepted
from cardd.cards.access import pin_of, tries_left
from cardd.cards.cardpins import CardCountedPins
from cardd.cards.errors import (
    CardNotAcceptedError,
    CardUnknownError,
    CardUnreadableError,
    PinFinalTryError,
    PinIncorrectError,
    PinLockedError,
)
from cardd.cards.inserted import InsertedCards
from cardd.cards.presence import Presence
from cardd.cards.records import CardDirectory
from cardd.cards.types import CardEnvironment, CardSerial, PinState, SessionPurpose
from cardd.clock import ManualClock
from cardd.events import EventBus
from cardd.readers import CardIdentified, CardInserted, ReaderAdded, ReaderName, ReaderRemoved, ServiceDown
from cardd.readers.atr import CardGeneration
from cardd.readers.serial import CardSerial as ReadSerial
from cardd.store import Store
from cardd.text import Text
from cardd_pkcs11.errors import TokenRemovedError
from cardd_pkcs11.types import PinFlags, Secret
from tests.support.cardcertificates import card_certificate, card_objects
from tests.support.cardmodules import READER, MemoryCards, MemoryModules, came, left, token_serial
from tests.support.cards import MemoryTokens
from tests.support.igc import PREPARED, TestPki

SERIAL = CardSerial("28006362")
OBJECTS = card_objects(("Certificat d'Authentification CPS", card_certificate()))


@dataclass
class Desk:
    store: Store
    cards: MemoryCards
    inserted: InsertedCards
    directory: CardDirectory

    async def events(self) -> list[tuple[str, str]]:
        return [(event.type.value, event.subject) for event in await self.store.events_after(0)]


@pytest.fixture
async def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    monkeypatch.setattr(inserted_module, "_PAUSE_SECONDS", 0.001)
    store = await Store.open(tmp_path, ManualClock(PREPARED + timedelta(days=1)), EventBus())
    cards = MemoryCards()
    inserted = InsertedCards(store, MemoryModules(tmp_path, cards))
    directory = CardDirectory(store, MemoryTokens(), module="softhsm2", tries=3, inserted=inserted)
    yield Desk(store, cards, inserted, directory)
    await inserted.close()
    await store.close()


async def test_a_card_is_told_then_read_and_gone_when_it_leaves(desk: Desk) -> None:
    desk.cards.put_in(SERIAL, *OBJECTS)
    await desk.inserted.hear(came(SERIAL))
    card = await desk.directory.find(SERIAL)
    assert (card.medium, card.reader, card.environment) == ("pcsc", READER, CardEnvironment.TEST)
    assert card.pin is not None
    assert (card.pin.state, card.pin.tries_left) == (PinState.OK, 3)
    await desk.inserted.hear(left(SERIAL))
    with pytest.raises(CardUnknownError):
        await desk.directory.find(SERIAL)
    assert await desk.directory.all() == ()
    subject = f"card:{SERIAL}"
    assert await desk.events() == [
        ("card.inserted", subject),
        ("card.read", subject),
        ("card.removed", subject),
    ]


async def test_removal_interrupts_first_and_makes_the_module_forget(desk: Desk) -> None:
    desk.cards.put_in(SERIAL, *OBJECTS)
    order: list[str] = []

    async def departed(serial: CardSerial) -> None:
        order.append(
            f"recorded {serial}, published {('card.removed', f'card:{serial}') in await desk.events()}"
        )

    def interrupt(serial: CardSerial) -> None:
        order.append(f"interrupted {serial}, known {desk.inserted.find(serial) is not None}")

    desk.inserted.when_removed(interrupt, departed)
    await desk.inserted.hear(came(SERIAL))
    await desk.inserted.read()
    desk.cards.calls.clear()
    await desk.inserted.hear(left(SERIAL))
    assert order == [f"interrupted {SERIAL}, known False", f"recorded {SERIAL}, published True"]
    assert desk.cards.calls == [f"forget {token_serial(SERIAL)}"]


async def test_a_module_that_sees_the_card_late_is_asked_again(desk: Desk) -> None:
    desk.cards.when_asked_again = lambda: desk.cards.put_in(SERIAL, *OBJECTS)
    await desk.inserted.hear(came(SERIAL))
    card = await desk.directory.find(SERIAL)
    assert (card.problem, card.access is not None) == (None, True)


async def test_a_card_that_no_module_sees_or_reads_says_why(desk: Desk) -> None:
    await desk.inserted.hear(came(SERIAL))
    unseen = await desk.directory.find(SERIAL)
    assert unseen.problem is not None
    assert "opensc does not see the card" in unseen.problem.en
    with pytest.raises(CardUnreadableError):
        unseen.check_usable()
    desk.cards.fails = TokenRemovedError("cannot list the tokens")
    await desk.inserted.hear(left(SERIAL))
    await desk.inserted.hear(came(SERIAL))
    failed = await desk.directory.find(SERIAL)
    assert failed.problem is not None
    assert "cannot list the tokens" in failed.problem.en


async def test_without_a_module_the_missing_one_is_named(tmp_path: Path) -> None:
    store = await Store.open(tmp_path, ManualClock(PREPARED), EventBus())
    inserted = InsertedCards(store, MemoryModules(tmp_path, None))
    await inserted.hear(came(SERIAL))
    await inserted.read(SERIAL)
    stay = inserted.find(SERIAL)
    assert stay is not None
    assert stay.problem is not None
    assert "cryptolib-cps" in stay.problem.fr
    await inserted.close()
    await store.close()


async def test_another_card_s_token_is_not_taken_for_the_one_inserted(desk: Desk) -> None:
    desk.cards.put_in("99999999", *OBJECTS)
    await desk.inserted.hear(came(SERIAL))
    assert (await desk.directory.find(SERIAL)).access is None


async def test_a_card_that_leaves_while_it_is_read_is_not_told_read(desk: Desk) -> None:
    reached, going_on = asyncio.Event(), asyncio.Event()

    async def hold(_: object) -> None:
        reached.set()
        await going_on.wait()

    desk.cards.put_in(SERIAL, *OBJECTS)
    desk.cards.before = hold
    await desk.inserted.hear(came(SERIAL))
    await reached.wait()
    await desk.inserted.hear(left(SERIAL))
    going_on.set()
    await desk.inserted.read()
    assert await desk.events() == [("card.inserted", f"card:{SERIAL}"), ("card.removed", f"card:{SERIAL}")]


async def test_a_serial_told_late_makes_the_card_known_then(desk: Desk) -> None:
    desk.cards.put_in(SERIAL, *OBJECTS)
    await desk.inserted.hear(came(None))
    assert await desk.directory.all() == ()
    await desk.inserted.hear(CardIdentified(READER, ReadSerial(SERIAL)))
    assert [card.serial for card in await desk.directory.all()] == [SERIAL]


async def test_an_unknown_card_is_nobody_s_and_left_alone(desk: Desk) -> None:
    await desk.inserted.hear(CardInserted(READER, b"\x3b\x00", CardGeneration.UNKNOWN, None))
    await desk.inserted.hear(left(None))
    assert desk.cards.calls == []
    assert await desk.events() == []


async def test_readers_and_the_service_are_told_in_the_outbox(desk: Desk) -> None:
    reader = ReaderName("Reader 2")
    await desk.inserted.hear(ReaderAdded(reader))
    await desk.inserted.hear(ReaderRemoved(reader))
    await desk.inserted.hear(ServiceDown(Text("gone", "parti")))
    assert await desk.events() == [
        ("reader.added", "reader:Reader 2"),
        ("reader.removed", "reader:Reader 2"),
        ("reader.service_down", "readers"),
    ]


async def test_the_same_card_in_another_reader_is_there(desk: Desk) -> None:
    desk.cards.put_in(SERIAL, *OBJECTS)
    await desk.inserted.hear(came(SERIAL))
    await desk.inserted.hear(left(SERIAL))
    await desk.inserted.hear(came(SERIAL, ReaderName("Reader 2")))
    assert (await desk.directory.find(SERIAL)).reader == "Reader 2"
    assert await Presence(desk.store, desk.inserted).present() == [SERIAL]


@pytest.mark.parametrize(
    ("issuer", "medium", "refused"),
    [
        ("AC IGC-SANTE FORT PERSONNES", 0x00, {SessionPurpose.ORDER, SessionPurpose.USE}),
        ("TEST AC IGC-SANTE FORT PERSONNES", 0x80, {SessionPurpose.ORDER}),
        ("Somebody", None, {SessionPurpose.ORDER, SessionPurpose.USE}),
    ],
)
async def test_cards_of_other_pkis_are_refused_before_their_pin_is_asked(
    desk: Desk, hierarchy: TestPki, issuer: str, medium: int | None, refused: set[SessionPurpose]
) -> None:
    objects = card_objects(("Certificat d'Authentification CPS", card_certificate(issuer, medium=medium)))
    desk.cards.put_in(SERIAL, *objects)
    await desk.inserted.hear(came(SERIAL))
    card = await desk.directory.find(SERIAL)
    for purpose in SessionPurpose:
        if purpose in refused:
            with pytest.raises(CardNotAcceptedError) as error:
                check_accepted(card, purpose, hierarchy.authorities)
            assert error.value.data == {"environment": card.environment.value}
        else:
            check_accepted(card, purpose, hierarchy.authorities)


async def test_a_card_s_own_count_walks_to_the_lock(desk: Desk) -> None:
    desk.cards.put_in(SERIAL, *OBJECTS)
    await desk.inserted.hear(came(SERIAL))
    access = (await desk.directory.find(SERIAL)).reached()
    pins = CardCountedPins(desk.store, desk.inserted)

    async def try_pin(pin: str, *, accept: bool = False) -> None:
        await pins.present(
            SERIAL,
            access,
            lambda: access.tokens.login(access.token_serial, Secret(pin), accept_final_try=accept),
        )

    await try_pin("1234")
    for expected in (2, 1):
        with pytest.raises(PinIncorrectError) as wrong:
            await try_pin("0000")
        assert wrong.value.data == {"tries_left": expected}
    with pytest.raises(PinFinalTryError):
        await try_pin("1234")
    with pytest.raises(PinIncorrectError) as last:
        await try_pin("0000", accept=True)
    assert last.value.data == {"tries_left": 0}
    with pytest.raises(PinLockedError):
        await try_pin("1234", accept=True)
    assert desk.cards.pins_seen == ["1234", "0000", "0000", "0000"]
    assert ("card.pin_blocked", f"card:{SERIAL}") in await desk.events()
    await pins.settle()


@pytest.mark.parametrize(
    ("flags", "state", "left_over"),
    [
        ((False, False, False), PinState.OK, 3),
        ((True, False, False), PinState.LOW, 2),
        ((True, True, False), PinState.FINAL, 1),
        ((True, True, True), PinState.LOCKED, 0),
    ],
)
def test_flags_tell_the_tries_of_a_card_that_has_three(
    flags: tuple[bool, bool, bool], state: PinState, left_over: int
) -> None:
    low, final, locked = flags
    told = PinFlags(initialised=True, count_low=low, final_try=final, locked=locked)
    assert (pin_of(told, 3).state, tries_left(told, 3)) == (state, left_over)
