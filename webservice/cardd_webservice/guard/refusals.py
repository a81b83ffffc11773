"""What the guard turned away: counted each time, journalled at most once a minute and reason.

Whoever may send requests must not be able to fill the journal with them; a line says how many came.
"""

import asyncio
from collections import Counter
from datetime import timedelta

import structlog
from aiohttp import web

from cardd.clock import Clock
from cardd.store import Store, StoreUnavailableError
from cardd_webservice.metrics import Metrics

_BETWEEN_LINES = timedelta(minutes=1)

_log = structlog.get_logger(__name__)


class Refusals:
    """The refusals of this run."""

    def __init__(self, store: Store, clock: Clock, metrics: Metrics) -> None:
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._unwritten: Counter[str] = Counter()
        self._next_line: dict[str, float] = {}
        self._noting: set[asyncio.Task[None]] = set()

    async def note(self, reason: str) -> None:
        """Count a refusal, and journal it unless a line for its reason was written within the last minute."""
        self._metrics.refused(reason)
        self._unwritten[reason] += 1
        now = self._clock.monotonic()
        if now >= self._next_line.get(reason, now):
            self._next_line[reason] = now + _BETWEEN_LINES.total_seconds()
            await self._write(reason)

    def note_soon(self, reason: str) -> None:
        """Count a refusal where nobody can wait for it."""
        noting = asyncio.ensure_future(self.note(reason))
        self._noting.add(noting)
        noting.add_done_callback(self._noting.discard)

    async def finish(self) -> None:
        """Journal what is counted and not yet written, before the daemon stops."""
        await asyncio.gather(*self._noting)
        for reason in list(self._unwritten):
            await self._write(reason)

    async def _write(self, reason: str) -> None:
        count = self._unwritten.pop(reason)
        try:
            async with self._store.transaction() as tx:
                tx.journal("guard.refuse", f"guard:{reason}", count=count)
        except StoreUnavailableError:
            _log.warning("refusals_not_journalled", reason=reason, count=count, exc_info=True)


REFUSALS: web.AppKey[Refusals] = web.AppKey("refusals", Refusals)
