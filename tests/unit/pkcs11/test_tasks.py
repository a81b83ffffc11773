"""Several things at once: their values in order, or the first failure itself."""

import asyncio

import pytest

from cardd_pkcs11.tasks import together


async def _after(turns: int, value: int) -> int:
    for _ in range(turns):
        await asyncio.sleep(0)
    return value


async def test_values_come_in_the_order_of_the_work() -> None:
    assert await together([_after(3, 1), _after(0, 2)]) == [1, 2]


async def test_the_first_failure_is_raised_itself_and_ends_the_rest() -> None:
    ended = asyncio.Event()

    async def endless() -> int:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return 0

    async def fail() -> int:
        raise KeyError("first")

    with pytest.raises(KeyError, match="first"):
        await together([endless(), fail()])
    assert ended.is_set()
