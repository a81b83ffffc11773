"""Calls listeners with events: each listener gets the events of one reader in their order, one at a time.

A listener that takes its time delays neither other listeners nor what it is told of other readers.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import structlog

from cardd.readers.names import ReaderName
from cardd.readers.types import ReadersEvent, ServiceDown, ServiceUp

_log = structlog.get_logger(__name__)

Listener = Callable[[ReadersEvent], Awaitable[None]]


class _Lane(NamedTuple):
    """One listener and one reader; None is the service."""

    listener: Listener
    reader: ReaderName | None


class Lanes:
    """The listeners, and what they still have to be told. Listeners are told of the service on a lane of its own."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []
        self._waiting: dict[_Lane, deque[ReadersEvent]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def add(self, listener: Listener) -> Callable[[], None]:
        """Tell `listener` of every event from now on; return what ends that."""
        self._listeners.append(listener)

        def remove() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return remove

    def tell(self, event: ReadersEvent) -> None:
        """Queue an event for every listener; to be called in the loop."""
        reader = None if isinstance(event, ServiceDown | ServiceUp) else event.reader
        for listener in self._listeners:
            lane = _Lane(listener, reader)
            if lane in self._waiting:
                self._waiting[lane].append(event)
                continue
            self._waiting[lane] = deque([event])
            task = asyncio.create_task(self._drain(lane), name="reader listener")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def settled(self) -> None:
        """Wait until everything told so far was heard."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    async def close(self) -> None:
        """Tell nothing more; listeners that are still at work are cancelled."""
        tasks = set(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._waiting.clear()

    async def _drain(self, lane: _Lane) -> None:
        waiting = self._waiting[lane]
        while waiting:
            event = waiting.popleft()
            try:
                await lane.listener(event)
            except Exception:  # noqa: BLE001 - one listener's failure is not the others'
                _log.exception("reader_listener_failed", reader_event=type(event).__name__)
        del self._waiting[lane]
