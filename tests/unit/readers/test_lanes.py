"""Listeners and the order of what they are told."""

import asyncio

import pytest

from cardd.readers.lanes import Lanes
from cardd.readers.names import ReaderName
from cardd.readers.types import CardRemoved, ReaderAdded, ReaderRemoved, ReadersEvent, ServiceUp

A, B = ReaderName("A"), ReaderName("B")


async def test_a_reader_s_events_are_heard_in_their_order_one_at_a_time() -> None:
    lanes, heard, at_once = Lanes(), [], 0

    async def listen(event: ReadersEvent) -> None:
        nonlocal at_once
        at_once += 1
        assert at_once == 1
        await asyncio.sleep(0)
        at_once -= 1
        heard.append(event)

    lanes.add(listen)
    told: list[ReadersEvent] = [ReaderAdded(A), CardRemoved(A, None), ReaderRemoved(A)]
    for event in told:
        lanes.tell(event)
    await lanes.settled()
    assert heard == told


async def test_a_slow_listener_delays_neither_others_nor_other_readers() -> None:
    lanes, heard, go_on = Lanes(), [], asyncio.Event()

    async def slow(event: ReadersEvent) -> None:
        if event == ReaderAdded(A):
            await go_on.wait()
        heard.append(("slow", event))

    async def quick(event: ReadersEvent) -> None:
        heard.append(("quick", event))

    lanes.add(slow)
    lanes.add(quick)
    for event in (ReaderAdded(A), ReaderRemoved(A), ReaderAdded(B), ServiceUp()):
        lanes.tell(event)
    for _ in range(5):
        await asyncio.sleep(0)
    assert ("quick", ReaderRemoved(A)) in heard
    assert ("slow", ReaderAdded(B)) in heard
    assert ("slow", ServiceUp()) in heard
    assert ("slow", ReaderRemoved(A)) not in heard
    go_on.set()
    await lanes.settled()
    assert heard[-2:] == [("slow", ReaderAdded(A)), ("slow", ReaderRemoved(A))]


async def test_a_listener_that_fails_is_logged_and_told_what_follows(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lanes, heard = Lanes(), []

    async def fail(event: ReadersEvent) -> None:
        heard.append(event)
        raise ValueError("a listener's own fault")

    lanes.add(fail)
    lanes.tell(ReaderAdded(A))
    lanes.tell(ReaderRemoved(A))
    await lanes.settled()
    assert heard == [ReaderAdded(A), ReaderRemoved(A)]
    assert "reader_listener_failed" in "".join(capsys.readouterr())


async def test_who_no_longer_listens_is_told_nothing() -> None:
    lanes, heard = Lanes(), []

    async def listen(event: ReadersEvent) -> None:
        heard.append(event)

    stop_listening = lanes.add(listen)
    stop_listening()
    stop_listening()
    lanes.tell(ServiceUp())
    await lanes.settled()
    assert heard == []


async def test_closing_ends_listeners_that_are_at_work() -> None:
    lanes = Lanes()

    async def listen(_: ReadersEvent) -> None:
        await asyncio.Event().wait()

    lanes.add(listen)
    lanes.tell(ServiceUp())
    await asyncio.sleep(0)
    await lanes.close()
    assert {task.get_name() for task in asyncio.all_tasks()}.isdisjoint({"reader listener"})
