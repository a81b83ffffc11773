"""Upkeep: every duty is performed in time, whatever happens to the others."""

import asyncio
import itertools
from datetime import UTC, datetime, timedelta

from cardd.clock import ManualClock
from cardd.errors import UnavailableError
from cardd.text import Text
from cardd.upkeep import Duty, Upkeep


async def test_a_duty_is_performed_at_the_start_and_at_every_interval() -> None:
    clock, performed = ManualClock(datetime(2026, 1, 1, tzinfo=UTC)), asyncio.Queue[datetime]()

    async def perform() -> None:
        performed.put_nowait(clock.now())

    upkeep = asyncio.create_task(Upkeep(clock, (Duty("lists", timedelta(hours=1), perform),)).run())
    moments = [await performed.get()]
    for _ in range(2):
        await asyncio.sleep(0)
        clock.advance(timedelta(hours=1))
        moments.append(await performed.get())
    upkeep.cancel()
    assert [later - earlier for earlier, later in itertools.pairwise(moments)] == [timedelta(hours=1)] * 2


async def test_duties_are_performed_again_when_the_clock_is_set_back() -> None:
    clock, performed = ManualClock(datetime(2026, 1, 1, tzinfo=UTC)), asyncio.Queue[datetime]()

    async def perform() -> None:
        performed.put_nowait(clock.now())

    upkeep = asyncio.create_task(Upkeep(clock, (Duty("lists", timedelta(hours=1), perform),)).run())
    await performed.get()
    await asyncio.sleep(0)
    clock.set_by(timedelta(days=-40))
    assert await performed.get() == clock.now()
    upkeep.cancel()


async def test_a_duty_that_follows_is_well_again_once_it_goes_on() -> None:
    clock, outcomes = ManualClock(datetime(2026, 1, 1, tzinfo=UTC)), asyncio.Queue[str]()
    errors = [UnavailableError(Text("down", "arrêté"))]

    async def follow() -> None:
        outcomes.put_nowait("tried")
        if errors:
            raise errors.pop()
        await asyncio.Event().wait()

    upkeep = Upkeep(clock, (Duty("lists", timedelta(seconds=1), follow, follows=True),))
    task = asyncio.create_task(upkeep.run())
    await outcomes.get()
    await asyncio.sleep(0)
    assert upkeep.failing == {"lists": "unavailable"}
    clock.advance(timedelta(seconds=1))
    await outcomes.get()
    await asyncio.sleep(0)
    clock.advance(timedelta(minutes=1))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert upkeep.failing == {}
    task.cancel()


async def test_a_failing_duty_is_shown_tried_again_and_forgotten_once_it_works() -> None:
    clock, outcomes = ManualClock(datetime(2026, 1, 1, tzinfo=UTC)), asyncio.Queue[str]()
    errors: list[Exception] = [ValueError("boom"), UnavailableError(Text("down", "arrêté"))]

    async def fail_twice() -> None:
        outcomes.put_nowait("tried")
        if errors:
            raise errors.pop()

    upkeep = Upkeep(clock, (Duty("mail", timedelta(days=1), fail_twice),))
    task = asyncio.create_task(upkeep.run())
    seen = []
    for _ in range(3):
        await outcomes.get()
        await asyncio.sleep(0)
        seen.append(dict(upkeep.failing))
        clock.advance(timedelta(seconds=30))
    task.cancel()
    assert seen == [{"mail": "unavailable"}, {"mail": "internal_error"}, {}]
