"""The local PKI's own lists, taken into the cache as soon as they are published."""

import asyncio
import os
from pathlib import Path

from cardd.events import EventType
from cardd.revocation.cacheparts import CacheParts, LocalList
from cardd.revocation.holdings import Change, Holdings
from cardd.revocation.sources import NewSource, Source
from cardd.revocation.status import end_of
from cardd.revocation.types import Freshness


class OwnLists:
    """Follows what the local PKI publishes."""

    def __init__(self, parts: CacheParts, holdings: Holdings) -> None:
        self._parts = parts
        self._holdings = holdings
        self._turn = asyncio.Lock()

    async def follow(self) -> None:
        """Take every list in that the local PKI publishes, until cancelled."""
        with self._parts.bus.subscribe() as events:
            await self.take()
            while True:
                event = await events.next()
                if event.type is EventType.CRL_PUBLISHED or events.overflowed:
                    events.overflowed = False
                    await self.take()

    async def take(self) -> None:
        """Take the lists in that the local PKI has published since."""
        async with self._turn:
            for local in self._parts.local.current():
                held, source = self._holdings.of(local.id), self._holdings.sources.get(local.id)
                known = source is not None and source.signer == local.signer
                if held is None or held.full.sha256 != local.sha256 or not known:
                    await self._take(local)

    async def _take(self, local: LocalList) -> None:
        source = self._holdings.sources.get(local.id)
        if source is None:
            source = await self._holdings.add(NewSource(local.id, "local", local.signer))
        signer = local.signer
        path = self._parts.directory / "incoming" / f"{os.urandom(16).hex()}.part"
        await asyncio.to_thread(_write, path, local.der)
        facts = await self._holdings.take_file(source._replace(signer=signer), path, delta=False)
        now = self._parts.clock.now()
        left = end_of(facts, self._parts.renewal.assumed) - now
        stale_at = now + left * self._parts.renewal.stale_after

        def taken(before: Source) -> Change:
            fresh = Freshness.FRESH
            changed = before._replace(signer=signer, confirmed_at=now, stale_at=stale_at, told_state=fresh)
            return Change(changed, EventType.CRL_UPDATED, {"number": facts.number, "state": fresh})

        await self._holdings.change(source.id, taken)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_bytes(content)
