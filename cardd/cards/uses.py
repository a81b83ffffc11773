"""What is being done with each card, so that a removal cuts it short at once.

Work on a card runs inside `CardUses.using(serial)`. When the card goes away, every such block of that card is
cancelled and leaves with the error given, as `asyncio.timeout` does with `TimeoutError`.
"""

import asyncio
from collections import Counter
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any, TypeVar

from cardd.cards.types import CardSerial
from cardd.errors import CarddError
from cardd.store.effects import Effect, current_effect

T = TypeVar("T")


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
        self._left_behind: set[asyncio.Task[Any]] = set()

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

        Work that is cut short is cancelled, and undoes what it had begun after its caller was told. Work whose effect
        is being committed, or was, is not: its caller waits for what it says of it.
        """
        effect, context = Effect(), copy_context()
        context.run(current_effect.set, effect)
        task = asyncio.create_task(work, context=context)
        try:
            with self.using(serial):
                return await asyncio.shield(task)
        except CarddError:
            if task.done():
                raise
            self._leave_behind(task)
            if effect.stands:
                await asyncio.wait([task])
                return task.result()
            task.cancel()
            raise
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            raise

    async def settle(self) -> None:
        """Wait until everything that was left behind has ended, and what was cut short is undone."""
        await asyncio.gather(*self._left_behind, return_exceptions=True)

    def _leave_behind(self, task: asyncio.Task[Any]) -> None:
        self._left_behind.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._left_behind.discard(task)
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
