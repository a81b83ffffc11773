"""Questions to the store that come while another is being answered, asked together: one trip for all of them."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Gathered(Generic[K, V]):
    """Answers of `answer`, which takes many keys at once; each is one of a state committed when it was asked for.

    A key that `answer` leaves out is answered `None`. Its error is the error of all who asked.
    """

    def __init__(self, answer: Callable[[frozenset[K]], Awaitable[Mapping[K, V]]]) -> None:
        self._answer = answer
        self._waiting: dict[K, asyncio.Future[V | None]] = {}
        self._asking: asyncio.Task[None] | None = None

    async def __call__(self, key: K) -> V | None:
        """Answer one key."""
        waiting = self._waiting.get(key)
        if waiting is None:
            waiting = self._waiting[key] = asyncio.get_running_loop().create_future()
            if self._asking is None:
                self._asking = asyncio.create_task(self._ask())
        return await asyncio.shield(waiting)

    async def _ask(self) -> None:
        while self._waiting:
            asked, self._waiting = self._waiting, {}
            try:
                found = await self._answer(frozenset(asked))
            except Exception as error:  # noqa: BLE001 - it is raised where the answers are waited for
                for waiting in asked.values():
                    waiting.set_exception(error)
                    waiting.exception()  # who asked may have gone
            else:
                for key, waiting in asked.items():
                    waiting.set_result(found.get(key))
        self._asking = None
