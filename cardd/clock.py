"""The only source of time, so that tests and demonstrations can move it.

Wall-clock times are aware datetimes in UTC. Deadlines that must not follow a moved wall clock use
`monotonic`, in seconds.
"""

import asyncio
import heapq
import itertools
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """What the rooms know of time."""

    def now(self) -> datetime:
        """Return the present moment, in UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never go back, from an arbitrary origin."""
        ...

    async def sleep_until(self, moment: datetime) -> None:
        """Wait until `moment`; return at once when it is past."""
        ...


class SystemClock:
    """The machine's clock, moved by a constant `offset` (zero but in demonstrations)."""

    #: A long wait is cut into pieces of this many seconds, so that a clock set forward is noticed.
    _LONGEST_WAIT = 60.0

    def __init__(self, offset: timedelta = timedelta(0)) -> None:
        self._offset = offset

    def now(self) -> datetime:
        """Return the machine's time plus the offset."""
        return datetime.now(UTC) + self._offset

    def monotonic(self) -> float:
        """Return the machine's monotonic clock, in seconds."""
        return time.monotonic()

    async def sleep_until(self, moment: datetime) -> None:
        """Wait until `moment`, in pieces."""
        while (left := (moment - self.now()).total_seconds()) > 0:  # noqa: ASYNC110 (there is no event to wait for)
            await asyncio.sleep(min(left, self._LONGEST_WAIT))


class ManualClock:
    """A clock that stands still until it is advanced; sleepers wake in the order of their moments."""

    def __init__(self, start: datetime) -> None:
        self._now = start
        self._origin = start
        self._sleepers: list[tuple[datetime, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def now(self) -> datetime:
        """Return the moment the clock was last moved to."""
        return self._now

    def monotonic(self) -> float:
        """Return the seconds the clock was advanced since it was made."""
        return (self._now - self._origin).total_seconds()

    async def sleep_until(self, moment: datetime) -> None:
        """Wait until the clock has been advanced to `moment`."""
        if moment <= self._now:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (moment, next(self._order), future))
        await future

    def advance(self, by: timedelta) -> None:
        """Move the clock forward by `by` and wake every sleeper whose moment has come."""
        self._now += by
        while self._sleepers and self._sleepers[0][0] <= self._now:
            _, _, future = heapq.heappop(self._sleepers)
            if not future.done():
                future.set_result(None)
