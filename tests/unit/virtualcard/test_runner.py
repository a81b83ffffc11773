"""Insertion, removal and faults of the connection, against a reader played by the test."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from cardd.clock import Clock, ManualClock
from cardd.virtualcard import (
    CardEvent,
    ConnectionLost,
    Fault,
    MemoryStateStore,
    MuteAtPowerOn,
    Silent,
    Slow,
    StateStore,
    VirtualCard,
    When,
    tcp_connector,
)
from cardd.virtualcard.errors import VirtualReaderUnavailableError
from cardd.virtualcard.wire import Ins
from tests.support.virtualcard import CHEAP, content

ATR = bytes.fromhex("3BAC00402A001225006480000310009000")
WRONG_PIN = bytes.fromhex("0020000108 30303030FFFFFFFF")
STATUS = bytes.fromhex("00200001")


class FakeReader:
    """vpcd's side of the connection."""

    def __init__(self) -> None:
        self.port = 0
        self._server: asyncio.Server | None = None
        self._arrivals: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
        self._writers: list[asyncio.StreamWriter] = []

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._arrive, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.close()
        await self._server.wait_closed()

    async def card(self) -> "InReader":
        return InReader(*await asyncio.wait_for(self._arrivals.get(), 5))

    def _arrive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        self._arrivals.put_nowait((reader, writer))


class InReader:
    """A card that has connected."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def send(self, payload: bytes) -> None:
        self._writer.write(len(payload).to_bytes(2, "big") + payload)

    async def answer(self) -> bytes:
        async with asyncio.timeout(5):
            length = int.from_bytes(await self._reader.readexactly(2), "big")
            return await self._reader.readexactly(length)

    async def ask(self, payload: bytes) -> bytes:
        self.send(payload)
        return await self.answer()

    async def is_gone(self) -> bool:
        try:
            async with asyncio.timeout(5):
                return await self._reader.read() == b""
        except ConnectionResetError:
            return True


class WaitedOnClock(ManualClock):
    """Tells when somebody waits on it."""

    def __init__(self, start: datetime) -> None:
        super().__init__(start)
        self.is_waited_on = asyncio.Event()

    async def pause(self, duration: timedelta) -> None:
        self.is_waited_on.set()
        await super().pause(duration)


@pytest.fixture
async def reader() -> AsyncIterator[FakeReader]:
    fake = FakeReader()
    await fake.open()
    yield fake
    await fake.close()


def make(
    reader: FakeReader,
    *faults: Fault,
    store: StateStore | None = None,
    clock: Clock | None = None,
    serial: str = "28006362",
    events: list[CardEvent] | None = None,
) -> VirtualCard:
    return VirtualCard(
        content(serial=serial),
        store or MemoryStateStore(),
        connector=tcp_connector(port=reader.port),
        faults=faults,
        clock=clock,
        code_cost=CHEAP,
        observer=(events if events is not None else []).append,
    )


async def test_an_inserted_card_gives_its_atr_and_answers_commands(reader: FakeReader) -> None:
    async with make(reader) as card:
        inside = await reader.card()
        assert card.is_inserted
        assert card.is_connected
        assert await inside.ask(b"\x04") == ATR
        inside.send(b"\x01")
        assert await inside.ask(b"\x04") == ATR
        assert await inside.ask(WRONG_PIN) == b"\x63\xc2"
    assert await inside.is_gone()
    assert not card.is_inserted


async def test_power_and_reset_log_out_without_an_answer(reader: FakeReader) -> None:
    async with make(reader):
        inside = await reader.card()
        for control in (b"\x00", b"\x01", b"\x02"):
            assert await inside.ask(bytes.fromhex("0020000104 31323334")) == b"\x90\x00"
            inside.send(control)
            assert await inside.ask(STATUS) == b"\x63\xc3"


async def test_insertion_and_removal_are_told_once_each(reader: FakeReader) -> None:
    events: list[CardEvent] = []
    card = make(reader, events=events)
    await card.insert()
    await card.insert()
    await card.remove()
    await card.remove()
    assert events == [CardEvent.INSERTED, CardEvent.REMOVED]


async def test_tries_are_kept_between_two_insertions(reader: FakeReader) -> None:
    card = make(reader)
    await card.insert()
    assert await (await reader.card()).ask(WRONG_PIN) == b"\x63\xc2"
    await card.remove()
    await card.insert()
    assert await (await reader.card()).ask(STATUS) == b"\x63\xc2"
    await card.remove()


async def test_a_swap_puts_another_card_of_the_same_atr_in(reader: FakeReader) -> None:
    first, second = make(reader), make(reader, serial="28006363")
    await first.insert()
    before = await reader.card()
    await first.swap(second)
    assert await before.is_gone()
    inside = await reader.card()
    assert await inside.ask(b"\x04") == ATR
    assert b"\x28\x00\x63\x63" in await inside.ask(bytes.fromhex("00B09C000C"))
    await second.remove()


async def test_without_a_reader_insertion_says_so() -> None:
    fake = FakeReader()
    await fake.open()
    await fake.close()
    card = make(fake)
    with pytest.raises(VirtualReaderUnavailableError) as caught:
        await card.insert()
    assert str(fake.port) in caught.value.detail.en
    assert not card.is_inserted


async def test_a_card_finds_its_reader_again_after_pcscd_restarted() -> None:
    events: list[CardEvent] = []
    fake = FakeReader()
    await fake.open()
    async with make(fake, events=events) as card:
        await fake.card()
        await fake.close()
        await fake.open()
        inside = await fake.card()
        assert await inside.ask(b"\x04") == ATR
        assert card.is_connected
    await fake.close()
    assert events == [CardEvent.INSERTED, CardEvent.READER_GONE, CardEvent.INSERTED, CardEvent.REMOVED]


async def test_a_mute_card_is_felt_but_its_answer_to_power_is_unusable(reader: FakeReader) -> None:
    async with make(reader, MuteAtPowerOn()):
        inside = await reader.card()
        assert await inside.ask(b"\x04") == ATR
        inside.send(b"\x01")
        assert len(await inside.ask(b"\x04")) > 33
        assert await inside.ask(b"\x04") == ATR


async def test_a_slow_card_answers_when_its_time_has_come(reader: FakeReader) -> None:
    clock = WaitedOnClock(datetime(2026, 1, 1, tzinfo=UTC))
    async with make(reader, Slow(3, When(ins=Ins.VERIFY)), clock=clock):
        inside = await reader.card()
        answer = asyncio.create_task(inside.ask(STATUS))
        await asyncio.wait_for(clock.is_waited_on.wait(), 5)
        clock.advance(timedelta(seconds=2))
        assert not answer.done()
        clock.advance(timedelta(seconds=1))
        assert await answer == b"\x63\xc3"


@pytest.mark.parametrize(("after_execution", "tries"), [(True, 2), (False, 3)])
async def test_a_card_pulled_inside_a_command_answers_nothing(
    reader: FakeReader, *, after_execution: bool, tries: int
) -> None:
    events: list[CardEvent] = []
    store = MemoryStateStore()
    fault = ConnectionLost(When(ins=Ins.VERIFY), after_execution=after_execution)
    card = make(reader, fault, store=store, events=events)
    await card.insert()
    inside = await reader.card()
    inside.send(WRONG_PIN)
    assert await inside.is_gone()
    state = store.load()
    assert state is not None
    assert state.pin.tries_left == tries
    card.set_faults([])
    await card.remove()
    assert events == [CardEvent.INSERTED, CardEvent.REMOVED]
    await card.insert()
    assert await (await reader.card()).ask(STATUS) == bytes([0x63, 0xC0 | tries])
    await card.remove()


async def test_a_silent_card_never_answers_and_can_be_removed(reader: FakeReader) -> None:
    card = make(reader, Silent(When(ins=Ins.VERIFY)))
    await card.insert()
    inside = await reader.card()
    inside.send(WRONG_PIN)
    inside.send(b"\x04")
    await card.remove()
    assert await inside.is_gone()


async def test_frames_that_mean_nothing_are_passed_over(reader: FakeReader) -> None:
    async with make(reader):
        inside = await reader.card()
        inside.send(b"")
        inside.send(b"\x77")
        assert await inside.ask(b"\x04") == ATR


async def test_one_may_wait_until_the_reader_has_felt_the_card(reader: FakeReader) -> None:
    async with make(reader) as card:
        inside = await reader.card()
        felt = asyncio.create_task(card.wait_until_felt())
        await asyncio.sleep(0)
        assert not felt.done()
        await inside.ask(b"\x04")
        await asyncio.wait_for(felt, 5)
