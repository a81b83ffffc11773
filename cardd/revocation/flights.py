"""One flight a list: whoever asks for a fetch that is under way waits for that one."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class Flights(Generic[T]):
    """Work under way, by what it is about."""

    def __init__(self) -> None:
        self._under_way: dict[Hashable, asyncio.Task[T]] = {}

    def __contains__(self, key: Hashable) -> bool:
        return key in self._under_way

    def start(self, key: Hashable, work: Callable[[], Awaitable[T]]) -> asyncio.Task[T]:
        """Return the flight under way for `key`, or begin one. A cancelled waiter does not cancel it."""
        task = self._under_way.get(key)
        if task is None:
            task = asyncio.create_task(self._fly(key, work), name=f"flight {key}")
            self._under_way[key] = task
            task.add_done_callback(_seen)
        return task

    async def close(self) -> None:
        """Cancel what is under way."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _fly(self, key: Hashable, work: Callable[[], Awaitable[T]]) -> T:
        try:
            return await work()
        finally:
            self._under_way.pop(key, None)


def _seen(task: asyncio.Task[T]) -> None:
    """Mark a failure as seen; those who wait have it raised, and the source's row has it."""
    if not task.cancelled():
        task.exception()
