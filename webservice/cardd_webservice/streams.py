"""Open event streams: how many, and ending them when the daemon stops."""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
from aiohttp import web

from cardd.text import Text
from cardd_webservice.errors import TooManyStreamsError
from cardd_webservice.metrics import Metrics


class StreamPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of event streams."""

    most: int = 32
    """Streams open at once."""

    heartbeat_seconds: float = 15.0
    """A silent stream sends a comment this often, so that both ends notice a dead connection."""


class Streams:
    """The streams that are open now."""

    def __init__(self, policy: StreamPolicy, metrics: Metrics) -> None:
        self.policy = policy
        self._metrics = metrics
        self._running: set[asyncio.Task[None]] = set()
        self._open = 0
        self._closing = False

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place for a stream; raises `TooManyStreamsError`."""
        if self._closing or self._open >= self.policy.most:
            raise TooManyStreamsError(
                Text(
                    f"{self._open} event streams are open.", f"{self._open} flux d’événements sont ouverts."
                ),
                retry_after=5,
            )
        self._open += 1
        self._metrics.streams(self._open)
        try:
            yield
        finally:
            self._open -= 1
            self._metrics.streams(self._open)

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
