"""One turn at a time for the calls that libpcsclite does not keep apart.

Each call on a card's handle looks through the handles of all contexts of the process, without the locks
under which connect, disconnect and release change them (pcsc-lite's winscard_clnt.c,
SCardGetContextAndChannelFromHandleTH and SCardCleanContext). Two threads with a context each make the process
crash: seen with 1.9.9, as rarely as once in some ten thousand connections. So these calls take turns, for the
whole process. Waits and cancellations look at contexts only and are safe.

The price: while one card does not answer a command, no other card's number is read. A release never waits;
it is done by whoever ends a turn.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cardd.readers.names import Context


class Turns:
    """The turn of handle calls, and the contexts that wait to be released between two of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._to_release: deque[tuple[Context, Callable[[Context], object]]] = deque()

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Wait for the turn and hold it."""
        try:
            with self._lock:
                yield
        finally:
            self._release_waiting()

    def release(self, context: Context, release: Callable[[Context], object]) -> None:
        """Call `release` with `context` between two turns: now when there is none, else after the present one."""
        self._to_release.append((context, release))
        self._release_waiting()

    def _release_waiting(self) -> None:
        """Release what waits, unless somebody has the turn, who will come here after it."""
        while self._to_release and self._lock.acquire(blocking=False):
            try:
                while self._to_release:
                    context, release = self._to_release.popleft()
                    release(context)
            finally:
                self._lock.release()
