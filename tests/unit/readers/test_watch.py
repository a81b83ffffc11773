"""The watching thread over a PC/SC in memory."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from cardd.readers.errors import PcscCode, PcscError
from cardd.readers.names import ReaderName
from cardd.readers.states import CardArrived, CardLeft, ReaderAppeared, ReaderVanished
from cardd.readers.threads import in_own_thread
from cardd.readers.watch import ReaderWatch, ServiceFound, ServiceLost, StopSignal, WatchEvent
from cardd.text import Text
from tests.support.pcsc import CPS3, FakePcsc

A, B = ReaderName("Reader A"), ReaderName("Reader B")


class Heard:
    """What the loop was handed."""

    def __init__(self) -> None:
        self.events: list[WatchEvent] = []
        self._more = asyncio.Event()

    def receive(self, events: list[WatchEvent]) -> None:
        self.events += events
        self._more.set()

    async def next(self, number: int) -> list[WatchEvent]:
        """Return the next events, exactly `number` of them."""
        async with asyncio.timeout(10):
            while len(self.events) < number:
                self._more.clear()
                await self._more.wait()
        taken, self.events = self.events[:number], self.events[number:]
        return taken


class CountedPauses(threading.Event):
    """A stop signal whose pauses last no time; `then` is called after each with their number."""

    def __init__(self, then: Callable[[int], None] = lambda _: None) -> None:
        super().__init__()
        self.pauses: list[float] = []
        self._then = then

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.pauses.append(timeout)
        self._then(len(self.pauses))
        return self.is_set()


@asynccontextmanager
async def watching(pcsc: FakePcsc, stop_signal: StopSignal | None = None) -> AsyncIterator[Heard]:
    heard = Heard()
    watch = ReaderWatch(pcsc, heard.receive, stop_signal=stop_signal)
    watch.start()
    try:
        yield heard
    finally:
        await watch.stop()
        assert "reader watch" not in {thread.name for thread in threading.enumerate()}
        assert pcsc.open_contexts == 0


async def test_readers_and_cards_that_are_there_are_told_first() -> None:
    pcsc = FakePcsc(A, B)
    pcsc.insert(B)
    async with watching(pcsc) as heard:
        expected = [ServiceFound(), ReaderAppeared(A), ReaderAppeared(B), CardArrived(B, CPS3, 1)]
        assert await heard.next(4) == expected


async def test_insertion_and_removal_are_told() -> None:
    pcsc = FakePcsc(A)
    async with watching(pcsc) as heard:
        await heard.next(2)
        pcsc.insert(A)
        assert await heard.next(1) == [CardArrived(A, CPS3, 1)]
        pcsc.remove(A)
        assert await heard.next(1) == [CardLeft(A)]


async def test_a_swap_between_two_waits_is_told() -> None:
    pcsc = FakePcsc(A)
    pcsc.insert(A)
    async with watching(pcsc) as heard:
        await heard.next(3)
        with pcsc.unseen():
            pcsc.remove(A)
            pcsc.insert(A)
        assert await heard.next(2) == [CardLeft(A), CardArrived(A, CPS3, 3)]


async def test_a_reader_is_plugged_in_where_there_was_none_and_unplugged_with_its_card() -> None:
    pcsc = FakePcsc()
    async with watching(pcsc) as heard:
        assert await heard.next(1) == [ServiceFound()]
        pcsc.plug(A)
        assert await heard.next(1) == [ReaderAppeared(A)]
        pcsc.insert(A)
        await heard.next(1)
        pcsc.unplug(A)
        assert await heard.next(2) == [CardLeft(A), ReaderVanished(A)]


async def test_a_reader_that_came_just_before_the_wait_is_found_when_things_have_settled() -> None:
    pcsc = FakePcsc(A)
    async with watching(pcsc) as heard:
        await heard.next(2)
        pcsc.plug(B, quietly=True)
        pcsc.time_out()
        assert await heard.next(1) == [ReaderAppeared(B)]


async def test_once_settled_the_wait_has_no_end() -> None:
    pcsc = FakePcsc(A)
    async with watching(pcsc) as heard:
        await heard.next(2)
        while not pcsc.waits or pcsc.waits[-1] is not None:
            pcsc.time_out()
            await asyncio.sleep(0)
        pcsc.insert(A)
        await heard.next(1)
    assert pcsc.waits[0] == 2.0
    assert pcsc.waits[-1] is None


async def test_a_killed_service_takes_its_readers_along_and_is_found_again_twice() -> None:
    pcsc = FakePcsc(A)
    pcsc.insert(A)
    async with watching(pcsc, CountedPauses(lambda _: pcsc.start_service())) as heard:
        await heard.next(3)
        for _ in range(2):
            await in_own_thread(pcsc.until_waiting, "until waiting")
            pcsc.kill()
            *readers, down = await heard.next(3)
            assert readers == [CardLeft(A), ReaderVanished(A)]
            assert isinstance(down, ServiceLost)
            assert "COMM_ERROR" in down.reason.en
            assert await heard.next(3) == [ServiceFound(), ReaderAppeared(A), CardArrived(A, CPS3, 1)]


async def test_a_service_absent_at_the_start_is_told_once_and_tried_ever_less_often() -> None:
    pcsc = FakePcsc(A, is_running=False)
    pauses = CountedPauses(lambda number: pcsc.start_service() if number == 7 else None)
    async with watching(pcsc, pauses) as heard:
        down, *up = await heard.next(3)
        assert isinstance(down, ServiceLost)
        assert "NO_SERVICE" in down.reason.en
        assert up == [ServiceFound(), ReaderAppeared(A)]
    assert pauses.pauses == [0.25, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0]


async def test_the_pauses_begin_anew_after_a_time_of_service() -> None:
    pcsc = FakePcsc(A, is_running=False)
    pauses = CountedPauses(lambda number: pcsc.start_service() if number in (3, 4) else None)
    async with watching(pcsc, pauses) as heard:
        await heard.next(3)
        pcsc.kill()
        await heard.next(4)
    assert pauses.pauses == [0.25, 0.5, 1.0, 0.25]


async def test_a_stop_ends_a_pause() -> None:
    async with asyncio.timeout(2), watching(FakePcsc(is_running=False)) as heard:
        await heard.next(1)


async def test_a_cancellation_that_is_lost_is_repeated() -> None:
    pcsc = FakePcsc(A)
    async with asyncio.timeout(2), watching(pcsc) as heard:
        await heard.next(2)
        await in_own_thread(pcsc.until_waiting, "until waiting")
        pcsc.lost_cancellations = 3
    assert pcsc.lost_cancellations == 0


async def test_a_foreign_cancellation_changes_nothing() -> None:
    pcsc = FakePcsc(A)
    async with watching(pcsc) as heard:
        await heard.next(2)
        pcsc.fail_next_wait(PcscError(PcscCode.CANCELLED, "SCardGetStatusChange"))
        pcsc.insert(A)
        assert await heard.next(1) == [CardArrived(A, CPS3, 1)]


async def test_a_reader_that_went_before_the_wait_began_is_told() -> None:
    pcsc = FakePcsc(A, B)
    async with watching(pcsc) as heard:
        await heard.next(3)
        with pcsc.unseen():
            pcsc.fail_next_wait(PcscError(PcscCode.UNKNOWN_READER, "SCardGetStatusChange"))
            pcsc.unplug(B)
        assert await heard.next(1) == [ReaderVanished(B)]


async def test_a_failure_nobody_thought_of_is_logged_and_survived(capsys: pytest.CaptureFixture[str]) -> None:
    pcsc = FakePcsc(A)
    async with watching(pcsc, CountedPauses()) as heard:
        await heard.next(2)
        pcsc.fail_next_wait(ValueError("impossible"))
        assert await heard.next(4) == [
            ReaderVanished(A),
            ServiceLost(
                Text(
                    "The reader watch failed: impossible.",
                    "La surveillance des lecteurs a échoué : impossible.",
                )
            ),
            ServiceFound(),
            ReaderAppeared(A),
        ]
    assert "reader_watch_failed" in "".join(capsys.readouterr())


def test_a_loop_that_closed_without_stopping_the_watch_does_no_harm() -> None:
    pcsc = FakePcsc(A)
    heard: list[WatchEvent] = []
    signal = threading.Event()

    async def start() -> None:
        ReaderWatch(pcsc, heard.extend, stop_signal=signal).start()

    asyncio.run(start())
    signal.set()
    (thread,) = (each for each in threading.enumerate() if each.name == "reader watch")
    while thread.is_alive():
        pcsc.insert(A)
        thread.join(0.01)
