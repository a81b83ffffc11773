"""`Readers`: states and events, over a PC/SC in memory."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from cardd.readers.atr import CardGeneration
from cardd.readers.names import ReaderName
from cardd.readers.registry import Readers
from cardd.readers.serial import CardSerial
from cardd.readers.threads import in_own_thread
from cardd.readers.types import (
    CardIdentified,
    CardInserted,
    CardRemoved,
    ReaderAdded,
    ReaderCondition,
    ReaderRemoved,
    ReaderState,
    ServiceDown,
    ServiceUp,
)
from tests.support.pcsc import BANK_CARD, CPS3, CPS3_CONTACTLESS, CPS4, FakeCard, FakePcsc
from tests.support.readers import Told

A, B = ReaderName("Reader A"), ReaderName("Reader B")


@asynccontextmanager
async def reading(pcsc: FakePcsc, *, deadline: float = 10) -> AsyncIterator[tuple[Readers, Told]]:
    told = Told()
    readers = Readers(pcsc, serial_deadline_seconds=deadline)
    readers.on_change(told)
    async with readers:
        yield readers, told
    for thread in threading.enumerate():
        if thread.name == "card serial":
            await in_own_thread(lambda thread=thread: thread.join(5), "joining")  # type: ignore[misc]
    assert pcsc.open_contexts == 0


def inserted(
    reader: ReaderName,
    serial: str | None,
    atr: bytes = CPS3,
    generation: CardGeneration = CardGeneration.CPS3,
) -> CardInserted:
    return CardInserted(reader, atr, generation, CardSerial(serial) if serial else None)


class Gate:
    """Holds a card's answers back."""

    def __init__(self) -> None:
        self.is_reached = threading.Event()
        self._is_open = threading.Event()

    def __call__(self, _: bytes) -> None:
        self.is_reached.set()
        assert self._is_open.wait(10)

    def open(self) -> None:
        self._is_open.set()

    async def reached(self) -> None:
        assert await in_own_thread(lambda: self.is_reached.wait(5), "gate")


async def test_a_card_is_told_with_its_serial_and_removed_with_it() -> None:
    pcsc = FakePcsc(A)
    async with reading(pcsc) as (readers, told):
        assert await told.next(2) == [ServiceUp(), ReaderAdded(A)]
        assert readers.service_is_up
        pcsc.insert(A, FakeCard("00112233"))
        assert await told.next() == [inserted(A, "00112233")]
        assert readers.states() == (
            ReaderState(A, ReaderCondition.PRESENT, CPS3, CardGeneration.CPS3, CardSerial("00112233")),
        )
        assert readers.reader_of(CardSerial("00112233")) == A
        pcsc.remove(A)
        assert await told.next() == [CardRemoved(A, CardSerial("00112233"))]
        assert readers.state(A) == ReaderState(A)
        assert readers.reader_of(CardSerial("00112233")) is None


async def test_another_card_with_the_same_atr_is_told_by_its_serial() -> None:
    pcsc = FakePcsc(A)
    pcsc.insert(A, FakeCard("11111111"))
    async with reading(pcsc) as (_, told):
        assert (await told.next(3))[-1] == inserted(A, "11111111")
        with pcsc.unseen():
            pcsc.remove(A)
            pcsc.insert(A, FakeCard("22222222"))
        assert await told.next(2) == [CardRemoved(A, CardSerial("11111111")), inserted(A, "22222222")]


async def test_two_readers_hold_a_card_each() -> None:
    pcsc = FakePcsc(A, B)
    async with reading(pcsc) as (readers, told):
        await told.next(3)
        pcsc.insert(B, FakeCard("22222222", CPS3_CONTACTLESS))
        contactless = CardGeneration.CPS3_CONTACTLESS
        assert await told.next() == [inserted(B, "22222222", CPS3_CONTACTLESS, contactless)]
        pcsc.insert(A, FakeCard("11111111"))
        assert await told.next() == [inserted(A, "11111111")]
        assert [state.serial for state in readers.states()] == ["11111111", "22222222"]


@pytest.mark.parametrize(
    ("atr", "generation"), [(BANK_CARD, CardGeneration.UNKNOWN), (CPS4, CardGeneration.CPS4)]
)
async def test_a_card_whose_serial_has_no_known_place_is_told_and_left_alone(
    atr: bytes, generation: CardGeneration
) -> None:
    pcsc = FakePcsc(A)
    async with reading(pcsc) as (_, told):
        await told.next(2)
        card = pcsc.insert(A, FakeCard(atr=atr))
        assert await told.next() == [inserted(A, None, atr, generation)]
        assert card.commands == []


async def test_a_mute_card_is_told_as_mute_and_read_once_it_answers() -> None:
    pcsc = FakePcsc(A)
    async with reading(pcsc) as (readers, told):
        await told.next(2)
        pcsc.insert(A, FakeCard("11111111", is_mute=True))
        assert await told.next() == [CardInserted(A, b"", CardGeneration.UNKNOWN, None, is_mute=True)]
        assert readers.states()[0].state is ReaderCondition.MUTE
        pcsc.revive(A)
        assert await told.next(2) == [CardRemoved(A, None), inserted(A, "11111111")]


async def test_a_removal_is_told_while_the_serial_is_still_being_read() -> None:
    pcsc, gate = FakePcsc(A), Gate()
    async with reading(pcsc) as (readers, told):
        await told.next(2)
        pcsc.insert(A, FakeCard(before_answering=gate))
        await gate.reached()
        assert readers.states()[0].state is ReaderCondition.PRESENT
        assert [change.state.state for change in told.changes] == [ReaderCondition.PRESENT]
        pcsc.remove(A)
        assert await told.next(2) == [inserted(A, None), CardRemoved(A, None)]
        gate.open()
        await readers.settled()
        assert told.untaken == []


async def test_a_number_that_comes_after_its_card_was_swapped_is_not_the_new_card_s() -> None:
    pcsc, gate = FakePcsc(A), Gate()
    async with reading(pcsc) as (readers, told):
        await told.next(2)
        pcsc.insert(A, FakeCard("11111111", before_answering=gate))
        await gate.reached()
        with pcsc.unseen():
            pcsc.remove(A)
            pcsc.insert(A, FakeCard("22222222"))
        assert await told.next(3) == [inserted(A, None), CardRemoved(A, None), inserted(A, "22222222")]
        gate.open()
        await readers.settled()
        assert readers.states()[0].serial == "22222222"
        assert told.untaken == []


async def test_a_slow_card_is_told_at_the_deadline_and_identified_later() -> None:
    pcsc, gate = FakePcsc(A), Gate()
    async with reading(pcsc, deadline=0.05) as (readers, told):
        await told.next(2)
        pcsc.insert(A, FakeCard("11111111", before_answering=gate))
        assert await told.next() == [inserted(A, None)]
        gate.open()
        assert await told.next() == [CardIdentified(A, CardSerial("11111111"))]
        pcsc.remove(A)
        assert await told.next() == [CardRemoved(A, CardSerial("11111111"))]
        assert told.untaken == []
        assert readers.states()[0].state is ReaderCondition.EMPTY


async def test_a_card_another_program_holds_is_identified_when_it_is_given_free() -> None:
    pcsc = FakePcsc(A)
    with pcsc.unseen():
        pcsc.insert(A, FakeCard("11111111"))
        pcsc.set_exclusive(A, to=True)
    async with reading(pcsc) as (_, told):
        assert (await told.next(3))[-1] == inserted(A, None)
        pcsc.set_exclusive(A, to=False)
        assert await told.next() == [CardIdentified(A, CardSerial("11111111"))]
        pcsc.set_exclusive(A, to=True)
        pcsc.set_exclusive(A, to=False)
        pcsc.remove(A)
        assert await told.next() == [CardRemoved(A, CardSerial("11111111"))]


async def test_a_card_that_answers_otherwise_is_told_without_a_serial() -> None:
    pcsc = FakePcsc(A)
    async with reading(pcsc) as (_, told):
        await told.next(2)
        pcsc.insert(A, FakeCard(answers={bytes.fromhex("00B09C000C"): b"\x6a\x82"}))
        assert await told.next() == [inserted(A, None)]


async def test_a_reading_that_fails_as_nobody_thought_is_logged_and_the_card_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(_: bytes) -> None:
        raise ValueError("impossible")

    pcsc = FakePcsc(A)
    async with reading(pcsc) as (_, told):
        await told.next(2)
        pcsc.insert(A, FakeCard(before_answering=fail))
        assert await told.next() == [inserted(A, None)]
    assert "card_serial_failed" in "".join(capsys.readouterr())


async def test_an_unavailable_reader_is_shown_so() -> None:
    pcsc = FakePcsc(A)
    pcsc.insert(A)
    async with reading(pcsc) as (readers, told):
        await told.next(3)
        pcsc.set_unavailable(A, to=True)
        assert await told.next() == [CardRemoved(A, CardSerial("12345678"))]
        assert readers.states()[0].state is ReaderCondition.UNAVAILABLE
        pcsc.set_unavailable(A, to=False)
        assert await told.next() == [inserted(A, "12345678")]
        assert readers.states()[0].state is ReaderCondition.PRESENT


async def test_an_unplugged_reader_s_card_is_removed_first() -> None:
    pcsc = FakePcsc(A)
    pcsc.insert(A)
    async with reading(pcsc) as (readers, told):
        await told.next(3)
        pcsc.unplug(A)
        assert await told.next(2) == [CardRemoved(A, CardSerial("12345678")), ReaderRemoved(A)]
        assert readers.states() == ()
        assert readers.state(A) is None


async def test_a_killed_service_removes_cards_then_readers_and_comes_back_with_them() -> None:
    pcsc = FakePcsc(A)
    pcsc.insert(A)
    async with reading(pcsc) as (readers, told):
        await told.next(3)
        pcsc.kill()
        removed, gone, down = await told.next(3)
        assert (removed, gone) == (CardRemoved(A, CardSerial("12345678")), ReaderRemoved(A))
        assert isinstance(down, ServiceDown)
        assert not readers.service_is_up
        pcsc.start_service()
        assert await told.next(3) == [ServiceUp(), ReaderAdded(A), inserted(A, "12345678")]


async def test_stopping_in_the_middle_of_a_reading_does_not_wait_for_the_card() -> None:
    pcsc, gate, told = FakePcsc(A), Gate(), Told()
    readers = Readers(pcsc)
    readers.on_change(told)
    await readers.start()
    await told.next(2)
    pcsc.insert(A, FakeCard(before_answering=gate))
    await gate.reached()
    async with asyncio.timeout(2):
        await readers.stop()
    assert told.untaken == []
    gate.open()
    for thread in threading.enumerate():
        if thread.name == "card serial":
            thread.join(5)
    assert pcsc.open_contexts == 0


async def test_a_listener_that_left_is_told_nothing() -> None:
    pcsc, told = FakePcsc(A), Told()
    async with reading(pcsc) as (readers, first):
        leave = readers.on_change(told)
        leave()
        await first.next(2)
        assert told.events == []
