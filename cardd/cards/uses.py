"""What is being done with each card, so that a removal cuts it short at once.

Work on a card runs inside `CardUses.using(serial)`. When the card goes away, every such block of that card is
cancelled and leaves with the error given, as `asyncio.timeout` does with `TimeoutError`.
"""

import asyncio
from collections import Counter
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from cardd.cards.types import CardSerial
from cardd.errors import CarddError

T = TypeVar("T")

#: Work that was cut short may still be past the point of no return: so long is waited for what it has done.
_GRACE_SECONDS: Final = 0.05


class _Use:
    def __init__(self, task: asyncio.Task[Any]) -> None:
        self.task = task
        self.cancelling = task.cancelling()
        self.error: CarddError | None = None

    def interrupt(self, error: CarddError) -> None:
        if self.error is None:
            self.error = error
            self.task.cancel()


class CardUses:
    """The uses of every card now."""

    def __init__(self) -> None:
        self._uses: dict[CardSerial, set[_Use]] = {}
        self._departures: Counter[CardSerial] = Counter()
        self._cleaning: set[asyncio.Task[Any]] = set()

    @contextmanager
    def using(self, serial: CardSerial) -> Iterator[None]:
        """Work on a card; raises the error given to `interrupt` when the card goes away meanwhile."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a card is used from a task")
        use = _Use(task)
        uses = self._uses.setdefault(serial, set())
        uses.add(use)
        try:
            yield
        except asyncio.CancelledError:
            if use.error is not None and task.uncancel() <= use.cancelling:
                raise use.error from None
            raise
        finally:
            uses.discard(use)
            if not uses and self._uses.get(serial) is uses:
                del self._uses[serial]

    async def while_present(self, serial: CardSerial, work: Coroutine[Any, Any, T]) -> T:
        """Return what `work` does, or leave with the error given as soon as the card goes away.

        Work that is cut short is cancelled, and undoes what it had begun after its caller was told.
        """
        task = asyncio.create_task(work)
        try:
            with self.using(serial):
                return await asyncio.shield(task)
        except CarddError:
            if task.done():
                raise
            self._cut_short(task)
            await asyncio.wait([task], timeout=_GRACE_SECONDS)
            if task.done() and not task.cancelled() and task.exception() is None:
                return task.result()
            raise
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            raise

    async def settle(self) -> None:
        """Wait until everything that was cut short has undone what it had begun."""
        await asyncio.gather(*self._cleaning, return_exceptions=True)

    def _cut_short(self, task: asyncio.Task[Any]) -> None:
        task.cancel()
        self._cleaning.add(task)
        task.add_done_callback(self._cleaned)

    def _cleaned(self, task: asyncio.Task[Any]) -> None:
        self._cleaning.discard(task)
        if not task.cancelled():
            task.exception()  # its caller was told of the removal

    def departures(self, serial: CardSerial) -> int:
        """Return how often the card went away: a change tells that it is not the same presence any more."""
        return self._departures[serial]

    def interrupt(self, serial: CardSerial, error: CarddError) -> None:
        """Cut short every use of a card, now."""
        self._departures[serial] += 1
        for use in tuple(self._uses.get(serial, ())):
            use.interrupt(error)
