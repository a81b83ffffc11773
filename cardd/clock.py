"""The only source of time, so that tests and demonstrations can move it.

Wall-clock times are aware datetimes in UTC. Deadlines that must not follow a wall clock that is set use
`monotonic`, in seconds. What waits, waits by `pause`, which a clock that is set ends and never prolongs.
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

    async def pause(self, duration: timedelta) -> None:
        """Wait for `duration`; return earlier, within seconds, where the wall clock is set meanwhile."""
        ...


class SystemClock:
    """The machine's clock, moved by a constant `offset` (zero but in demonstrations)."""

    #: A long wait is cut into pieces of this many seconds, so that a clock that was set is noticed.
    _PIECE = 10.0
    #: A wall clock that runs off from the monotonic one by more than this many seconds was set, or the machine slept.
    _SET_BY = 30.0

    def __init__(self, offset: timedelta = timedelta(0)) -> None:
        self._offset = offset

    def now(self) -> datetime:
        """Return the machine's time plus the offset."""
        now = datetime.now(UTC)
        return now + self._offset if self._offset else now

    def monotonic(self) -> float:
        """Return the machine's monotonic clock, in seconds."""
        return time.monotonic()

    async def pause(self, duration: timedelta) -> None:
        """Wait in pieces."""
        began, began_monotonic = self.now(), self.monotonic()
        while True:
            passed = self.monotonic() - began_monotonic
            left = duration.total_seconds() - passed
            if left <= 0 or abs((self.now() - began).total_seconds() - passed) > self._SET_BY:
                return
            await asyncio.sleep(min(left, self._PIECE))


class ManualClock:
    """A clock that stands still until it is advanced or set; sleepers wake in the order of their moments."""

    def __init__(self, start: datetime) -> None:
        self._now = start
        self._passed = timedelta(0)
        self._sleepers: list[tuple[timedelta, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def now(self) -> datetime:
        """Return the moment the clock was last moved to."""
        return self._now

    def monotonic(self) -> float:
        """Return the seconds the clock was advanced since it was made."""
        return self._passed.total_seconds()

    async def pause(self, duration: timedelta) -> None:
        """Wait until the clock has been advanced by `duration`, or set."""
        if duration <= timedelta(0):
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._passed + duration, next(self._order), future))
        await future

    def advance(self, by: timedelta) -> None:
        """Move the clock forward by `by` and wake every sleeper whose moment has come."""
        self._now += by
        self._passed += by
        self._wake(self._passed)

    def set_by(self, by: timedelta) -> None:
        """Set the wall clock forth or back, as an administrator does, and wake every sleeper; no time passes."""
        self._now += by
        self._wake(timedelta.max)

    def _wake(self, due: timedelta) -> None:
        while self._sleepers and self._sleepers[0][0] <= due:
            _, _, future = heapq.heappop(self._sleepers)
            if not future.done():
                future.set_result(None)
