"""Blocking calls in threads of their own."""

import asyncio
import threading

import pytest

from cardd.readers.threads import in_own_thread


async def test_a_result_comes_back_and_the_loop_runs_meanwhile() -> None:
    go_on = threading.Event()
    call = asyncio.ensure_future(in_own_thread(lambda: go_on.wait(5), "test call"))
    await asyncio.sleep(0)
    go_on.set()
    assert await call is True


async def test_an_error_is_raised_where_it_is_awaited() -> None:
    def fail() -> None:
        raise ValueError("as it happens")

    with pytest.raises(ValueError, match="as it happens"):
        await in_own_thread(fail, "test call")


async def test_a_caller_that_is_cancelled_does_not_wait_and_the_late_result_is_dropped() -> None:
    go_on = threading.Event()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await in_own_thread(lambda: go_on.wait(5), "late call")
    (thread,) = (each for each in threading.enumerate() if each.name == "late call")
    go_on.set()
    await in_own_thread(thread.join, "joining")


def test_a_loop_that_is_closed_does_not_trouble_the_thread() -> None:
    go_on = threading.Event()

    async def leave() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await in_own_thread(lambda: go_on.wait(5), "orphan call")

    asyncio.run(leave())
    (thread,) = (each for each in threading.enumerate() if each.name == "orphan call")
    go_on.set()
    thread.join(5)
    assert not thread.is_alive()
