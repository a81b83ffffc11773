"""A listener that keeps what `Readers` tells, and waits for it."""

import asyncio

from cardd.readers.types import (
    CardIdentified,
    CardInserted,
    CardRemoved,
    ReaderAdded,
    ReaderChanged,
    ReaderRemoved,
    ReadersEvent,
    ServiceDown,
    ServiceUp,
)

#: Everything but ReaderChanged, which accompanies the others.
Telling = ReaderAdded | ReaderRemoved | CardInserted | CardIdentified | CardRemoved | ServiceDown | ServiceUp


class Told:
    """Every event but `ReaderChanged`, in its order, with the loop's time of its coming."""

    def __init__(self) -> None:
        self.events: list[Telling] = []
        self.changes: list[ReaderChanged] = []
        self.times: list[float] = []
        self._taken = 0
        self._more = asyncio.Event()

    async def __call__(self, event: ReadersEvent) -> None:
        if isinstance(event, ReaderChanged):
            self.changes.append(event)
            return
        self.events.append(event)
        self.times.append(asyncio.get_running_loop().time())
        self._more.set()

    async def next(self, number: int = 1, *, within_seconds: float = 20) -> list[Telling]:
        """Return the next `number` events."""
        async with asyncio.timeout(within_seconds):
            while len(self.events) < self._taken + number:
                self._more.clear()
                await self._more.wait()
        taken = self.events[self._taken : self._taken + number]
        self._taken += number
        return taken

    @property
    def untaken(self) -> list[Telling]:
        """What came and was not asked for."""
        return self.events[self._taken :]
