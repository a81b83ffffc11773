"""Clocks: the machine's, and the one that tests move."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from cardd.clock import ManualClock, SystemClock

START = datetime(2026, 1, 1, tzinfo=UTC)


async def test_sleepers_wake_in_the_order_of_their_moments() -> None:
    clock, woken = ManualClock(START), []

    async def sleep(name: str, days: int) -> None:
        await clock.pause(timedelta(days=days))
        woken.append(name)

    async with asyncio.TaskGroup() as group:
        group.create_task(sleep("late", 2))
        group.create_task(sleep("early", 1))
        group.create_task(sleep("past", 0))
        await asyncio.sleep(0)
        clock.advance(timedelta(days=3))
    assert woken == ["past", "early", "late"]


async def test_a_sleeper_does_not_wake_before_its_moment() -> None:
    clock = ManualClock(START)
    sleeper = asyncio.create_task(clock.pause(timedelta(hours=1)))
    await asyncio.sleep(0)
    clock.advance(timedelta(minutes=59))
    await asyncio.sleep(0)
    assert not sleeper.done()
    clock.advance(timedelta(minutes=1))
    await sleeper


def test_monotonic_time_counts_what_the_clock_was_advanced() -> None:
    clock = ManualClock(START)
    clock.advance(timedelta(seconds=90))
    assert clock.monotonic() == 90


def test_an_offset_moves_the_machines_clock() -> None:
    moved, real = SystemClock(timedelta(days=365)), SystemClock()
    assert timedelta(days=364) < moved.now() - real.now() < timedelta(days=366)


async def test_a_duration_that_is_over_is_not_waited_for() -> None:
    await asyncio.wait_for(SystemClock().pause(timedelta(seconds=-1)), 5)


@pytest.mark.parametrize("by", [timedelta(days=40), timedelta(days=-40)])
async def test_a_clock_that_is_set_wakes_sleepers_and_lets_no_time_pass(by: timedelta) -> None:
    clock = ManualClock(START)
    sleeper = asyncio.create_task(clock.pause(timedelta(hours=1)))
    await asyncio.sleep(0)
    clock.set_by(by)
    await sleeper
    assert (clock.now(), clock.monotonic()) == (START + by, 0)


@pytest.mark.parametrize("by", [timedelta(days=40), timedelta(days=-40)])
async def test_a_machines_clock_that_was_set_ends_a_pause_instead_of_prolonging_it(by: timedelta) -> None:
    class SetClock(SystemClock):
        """The machine's clock, set after the first look at it."""

        looks = 0

        def now(self) -> datetime:
            self.looks += 1
            return super().now() + (by if self.looks > 1 else timedelta(0))

    await asyncio.wait_for(SetClock().pause(timedelta(days=1)), 5)
