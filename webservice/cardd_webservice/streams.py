"""Open event streams: how many, and ending them when the daemon stops."""

import asyncio
from collections import Counter
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
from aiohttp import web

from cardd.text import Text
from cardd_webservice.errors import TooManyStreamsError
from cardd_webservice.guard.callers import Caller
from cardd_webservice.metrics import Metrics


class StreamPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of event streams."""

    most: int = 32
    """Streams open at once."""

    most_of_one: int = 8
    """Of those, streams of one application; the owner may have all."""

    heartbeat_seconds: float = 15.0
    """A silent stream sends a comment this often, so that both ends notice a dead connection."""


class Streams:
    """The streams that are open now."""

    def __init__(self, policy: StreamPolicy, metrics: Metrics) -> None:
        self.policy = policy
        self._metrics = metrics
        self._running: set[asyncio.Task[None]] = set()
        self._open: Counter[str] = Counter()
        self._closing = False

    @contextmanager
    def place(self, caller: Caller) -> Iterator[None]:
        """Hold a place for a stream; raises `TooManyStreamsError`."""
        name, in_all = caller.name, self._open.total()
        own = self._open[name] if caller.application is not None else 0
        if self._closing or in_all >= self.policy.most or own >= self.policy.most_of_one:
            shown = own or in_all
            raise TooManyStreamsError(
                Text(f"{shown} event streams are open.", f"{shown} flux d’événements sont ouverts."),
                retry_after=5,
            )
        self._open[name] += 1
        self._metrics.streams(self._open.total())
        try:
            yield
        finally:
            self._open[name] -= 1
            self._metrics.streams(self._open.total())

    async def run(self, pump: Coroutine[Any, Any, None]) -> None:
        """Run a stream until it ends, its listener goes, or the daemon stops."""
        task = asyncio.create_task(pump)
        self._running.add(task)
        try:
            await asyncio.wait({task})
        finally:
            self._running.discard(task)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error

    async def close(self) -> None:
        """End every stream; their answers are then completed."""
        self._closing = True
        for task in self._running:
            task.cancel()


STREAMS: web.AppKey[Streams] = web.AppKey("streams", Streams)
