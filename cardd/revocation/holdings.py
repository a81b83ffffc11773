"""What is held now: the sources and, of the index, the newest committed state; answers are made from both.

Everything that changes a source or the index ends with `see`, so that the next answer knows of it.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import structlog
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from cardd.errors import CarddError, NotFoundError
from cardd.events import EventType
from cardd.revocation.cacheparts import CacheParts
from cardd.revocation.index import HeldFacts, IndexReader
from cardd.revocation.indexing import Indexer
from cardd.revocation.jobs import IndexJob, RebuildJob, RemoveJob
from cardd.revocation.lists import ListFacts
from cardd.revocation.sources import NewSource, Source, Sources
from cardd.revocation.status import Cover, Held, Standing, covers_of, freshness_of, standing
from cardd.revocation.types import CrlId, Freshness, FreshnessPolicy, SpkiHash
from cardd.text import Text

_log = structlog.get_logger(__name__)


class Change(NamedTuple):
    """What becomes of a source, and the event that tells of it."""

    source: Source
    event: EventType | None = None
    told: Mapping[str, object] = MappingProxyType({})


class Holdings:
    """The lists held and the sources they come from."""

    def __init__(self, parts: CacheParts) -> None:
        self._parts = parts
        self.sources = Sources(parts.store)
        self.indexer = Indexer(parts.directory)
        self._reader: IndexReader | None = None
        self.covers: dict[SpkiHash, tuple[Cover, ...]] = {}
        self.held = self._nothing()
        #: Grows with each state of sources and index that is answered from.
        self.revision = 0
        self._turn = asyncio.Lock()
        self._standings: dict[tuple[SpkiHash, FreshnessPolicy], Standing] = {}

    async def open(self) -> None:
        """Open the index as the last run left it, bring it to the form of this version, and read the sources."""
        self._reader = await asyncio.to_thread(IndexReader, self._parts.directory / "index")
        await self.sources.load()
        if self._reader.renew().outdated:
            try:
                await self.indexer.perform(RebuildJob())
            except CarddError as error:
                # What is missing is not held: answers say so, and the lists are fetched again.
                _log.warning("index not rebuilt", error=error.detail.en)

    async def copy_index(self, directory: Path) -> None:
        """Copy the index into an empty directory; the files of its lists are beside the index and never change."""
        await asyncio.to_thread(self.index.copy_to, directory)

    async def close(self) -> None:
        """End the indexer and let go of the index."""
        await self.indexer.close()
        if self._reader is not None:
            self.held = self._nothing()
            self._standings.clear()
            self._reader.close()
            self._reader = None

    @property
    def index(self) -> IndexReader:
        """The index, once it is open."""
        if self._reader is None:
            raise RuntimeError("the revocation cache is not started")
        return self._reader

    def see(self) -> None:
        """Answer from the newest committed state of index and sources."""
        snapshot, known = self.index.renew(), self.sources.all()
        stale_at = {source.id: source.stale_at for source in known}
        lists = {source.id: snapshot.lists[source.id] for source in known if source.id in snapshot.lists}
        self.held = Held(lists, snapshot.tables, stale_at, self._parts.renewal.assumed)
        self.covers = covers_of(known)
        self.revision += 1
        self._standings.clear()

    def standing(self, issuer: SpkiHash, now: datetime, policy: FreshnessPolicy) -> Standing:
        """Return what the lists held make of the certificates of a CA, named by its key."""
        key = (issuer, policy)
        found = self._standings.get(key)
        if found is None or not found.holds(now):
            covers = self.covers.get(issuer, ())
            found = standing(covers, self.held, now, policy=policy)
            if covers:  # what is asked about CAs that are not known here must not fill the memory
                self._standings[key] = found
        return found

    def of(self, source: CrlId) -> HeldFacts | None:
        """Return what is held of a source."""
        return self.held.lists.get(source)

    def known(self, source: str) -> Source:
        """Return a source; raises `NotFoundError`."""
        found = self.sources.get(source)
        if found is None:
            raise NotFoundError.of(Text("revocation list", "liste de révocation"), source)
        return found

    def authorities(self) -> list[x509.Certificate]:
        """Return the certificates of every CA that a list is kept for."""
        return [c for source in self.sources.all() for c in (source.signer, *source.others)]

    def freshness(self, source: Source, now: datetime) -> Freshness:
        """Say how far what is held of a source can be relied on."""
        return freshness_of(self.of(source.id), source.stale_at, now, self._parts.renewal.assumed)

    async def add(self, new: NewSource, *, answering: bool = False) -> Source:
        """Keep a source from now on; `answering` binds it to the request's `Idempotency-Key`."""
        async with self._parts.store.transaction() as tx:
            source = await self.sources.add(tx, new)
            tx.journal("crl.add", f"crl:{new.id}", origin=new.origin, urls=list(new.urls))
            tx.publish(EventType.CRL_ADDED, f"crl:{new.id}", origin=new.origin)
            if answering:
                await tx.answer("crl", new.id)
        self.sources.remember(source)
        self.see()
        return source

    async def remove(self, source: Source) -> None:
        """Forget a source and its archive; raises `SourceFixedError`."""
        async with self._parts.store.transaction() as tx:
            await self.sources.remove(tx, source)
            tx.journal("crl.remove", f"crl:{source.id}")
            tx.publish(EventType.CRL_REMOVED, f"crl:{source.id}")
        self.sources.drop(source)
        self.see()
        await self.indexer.perform(RemoveJob(source=source.id))
        self.see()

    async def change(self, source: CrlId, alter: Callable[[Source], Change | None]) -> Source | None:
        """Store what `alter` makes of a source as it is now; it returns None where nothing is to be changed.

        Changes follow one another, so that none undoes what another has just noted. Returns the source as it is then;
        None where it is not kept any more.
        """
        async with self._turn:
            before = self.sources.get(source)
            change = None if before is None else alter(before)
            if change is None:
                return before
            async with self._parts.store.transaction() as tx:
                await self.sources.update(tx, change.source)
                if change.event is not None:
                    tx.publish(change.event, f"crl:{source}", **change.told)
            if self.sources.get(source) is not None:
                self.sources.remember(change.source)
            self.see()
            return change.source

    async def take_file(self, source: Source, path: Path, *, delta: bool) -> ListFacts:
        """Have a file verified and indexed in the place of what is held, and remove it.

        Raises `ListRefusedError`, and `IndexerLostError` when the indexer ends before it is done.
        """
        try:
            outcome = await self.indexer.perform(
                IndexJob(
                    source=source.id,
                    path=str(path),
                    signer=source.signer.public_bytes(Encoding.DER),
                    now=self._parts.clock.now(),
                    delta=delta,
                )
            )
        finally:
            with suppress(FileNotFoundError):
                await asyncio.to_thread(path.unlink)
        if outcome.facts is None:
            raise RuntimeError("the indexer gave no facts")
        if self.sources.get(source.id) is None:
            await self.indexer.perform(RemoveJob(source=source.id))
        self.see()
        return outcome.facts

    def _nothing(self) -> Held:
        return Held({}, {}, {}, self._parts.renewal.assumed)
