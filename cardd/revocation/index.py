"""The index: what is held of every list, in one LMDB environment, replaced in one transaction.

The indexer's process writes; the daemon reads through a snapshot, a read transaction that it keeps until it
has been told of a change. So facts and entries that are answered together were committed together, and
whatever happens to the writer, the daemon goes on with what it sees.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, Self, cast

import lmdb
import msgspec

from cardd.revocation.lists import Entries, ListFacts
from cardd.revocation.types import CrlId
from cardd.revocation.verifying import Held

#: Address space set aside; the file is only as large as what is in it.
_MAP_BYTES = 16 * 1024**3
#: Lists whose entries can be told apart: two databases each.
_MOST_DATABASES = 4096

_FACTS = b"facts"
_ARCHIVE = b"archive"


class HeldFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is held of one source."""

    full: ListFacts
    delta: ListFacts | None = None


class Archived(msgspec.Struct, frozen=True, kw_only=True):
    """A list in the archive, whose DER is in the file named by its hash."""

    source: str
    facts: ListFacts


class Snapshot(NamedTuple):
    """One committed state of the index."""

    transaction: lmdb.Transaction
    lists: dict[CrlId, HeldFacts]
    databases: dict[CrlId, tuple[lmdb._Database, lmdb._Database | None]]

    def entry(self, source: CrlId, key: bytes) -> bytes | None:
        """Return what the complete list of a source has under a key."""
        return _bytes(self.transaction.get(key, db=self.databases[source][0]))

    def delta_entry(self, source: CrlId, key: bytes) -> bytes | None:
        """Return what its delta has under a key."""
        database = self.databases[source][1]
        return None if database is None else _bytes(self.transaction.get(key, db=database))


class IndexReader:
    """The daemon's side."""

    def __init__(self, directory: Path) -> None:
        self._environment = _opened(directory)
        self._snapshot: Snapshot | None = None
        self._handles: dict[bytes, lmdb._Database] = {}

    def close(self) -> None:
        """Let go of the index."""
        self._release()
        self._environment.close()

    @property
    def now(self) -> Snapshot:
        """The state seen last."""
        return self._snapshot if self._snapshot is not None else self.renew()

    def renew(self) -> Snapshot:
        """See the newest committed state from now on."""
        with self._environment.begin() as transaction:
            names = [bytes(name) for name, _ in transaction.cursor()]
        for name in names:
            if name not in self._handles:
                self._handles[name] = self._environment.open_db(name, create=False)
        transaction = self._environment.begin()
        lists = dict(_all_facts(transaction, self._handles.get(_FACTS)))
        databases = {
            source: (
                self._handles[_entries_name(source)],
                self._handles.get(_delta_name(source)) if held.delta is not None else None,
            )
            for source, held in lists.items()
        }
        self._release()
        self._snapshot = Snapshot(transaction, lists, databases)
        return self._snapshot

    def copy_to(self, directory: Path) -> None:
        """Copy the index as committed last into an empty directory, whatever the writer does meanwhile."""
        self._environment.copy(str(directory), compact=True)

    def archived(self, source: CrlId) -> list[Archived]:
        """Return the archive of a source, oldest first."""
        database = self._handles.get(_ARCHIVE)
        return [] if database is None else list(_archive_of(self.now.transaction, database, source))

    def _release(self) -> None:
        if self._snapshot is not None:
            self._snapshot.transaction.abort()
            self._snapshot = None


class IndexWriter:
    """The indexer's side; every method is one transaction, flushed to disk when it returns."""

    def __init__(self, directory: Path) -> None:
        self._environment = _opened(directory)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._environment.close()

    @contextmanager
    def replacing(self, source: CrlId) -> Iterator["Replacement"]:
        """Open the transaction that replaces a list: what is held is read in it, so that no other replaces it
        between the check and the commit.
        """
        facts = self._environment.open_db(_FACTS)
        archive = self._environment.open_db(_ARCHIVE)
        entries = self._environment.open_db(_entries_name(source))
        delta = self._environment.open_db(_delta_name(source))
        with self._environment.begin(write=True) as transaction:
            yield Replacement(transaction, source, _Databases(facts, archive, entries, delta))

    def remove(self, source: CrlId) -> None:
        """Forget a source and its archive."""
        with self.replacing(source) as replacement:
            replacement.clear()

    def expire_archive(self, before: datetime) -> set[str]:
        """Drop archived lists that were over before a moment; return the hashes that are still named."""
        archive, facts = self._environment.open_db(_ARCHIVE), self._environment.open_db(_FACTS)
        named: set[str] = set()
        with self._environment.begin(write=True) as transaction:
            for _, held in _all_facts(transaction, facts):
                named |= {each.sha256 for each in (held.full, held.delta) if each is not None}
            for key, value in list(transaction.cursor(db=archive)):
                archived = msgspec.msgpack.decode(value, type=Archived)
                end = archived.facts.next_update or archived.facts.this_update
                if end < before and archived.facts.sha256 not in named:
                    transaction.delete(key, db=archive)
                else:
                    named.add(archived.facts.sha256)
        return named


class Replacement:
    """The transaction that replaces a list."""

    def __init__(self, transaction: lmdb.Transaction, source: CrlId, databases: "_Databases") -> None:
        self._transaction = transaction
        self._source = source
        self._facts, self._archive, self._entries, self._delta = databases

    def held(self) -> Held:
        """Return what is held now."""
        value = self._transaction.get(self._source.encode(), db=self._facts)
        if value is None:
            return Held()
        held = msgspec.msgpack.decode(value, type=HeldFacts)
        return Held(held.full, held.delta)

    def put_full(self, facts: ListFacts, entries: Entries, delta: ListFacts | None) -> None:
        """Replace the complete list; `delta` is the delta that stays beside it."""
        self._fill(self._entries, entries)
        if delta is None:
            self._transaction.drop(self._delta, delete=False)
        self._put(HeldFacts(full=facts, delta=delta), facts)

    def put_delta(self, full: ListFacts, facts: ListFacts, entries: Entries) -> None:
        """Replace the delta beside the complete list held."""
        self._fill(self._delta, entries)
        self._put(HeldFacts(full=full, delta=facts), facts)

    def clear(self) -> None:
        """Forget the source."""
        self._transaction.drop(self._entries, delete=False)
        self._transaction.drop(self._delta, delete=False)
        self._transaction.delete(self._source.encode(), db=self._facts)
        for archived in list(_archive_of(self._transaction, self._archive, self._source)):
            self._transaction.delete(_archive_key(self._source, archived.facts), db=self._archive)

    def _fill(self, database: lmdb._Database, entries: Entries) -> None:
        self._transaction.drop(database, delete=False)
        cursor = self._transaction.cursor(db=database)
        cursor.putmulti(zip(entries.keys, entries.values, strict=True), append=True)

    def _put(self, held: HeldFacts, newest: ListFacts) -> None:
        self._transaction.put(self._source.encode(), msgspec.msgpack.encode(held), db=self._facts)
        archived = Archived(source=self._source, facts=newest)
        self._transaction.put(
            _archive_key(self._source, newest), msgspec.msgpack.encode(archived), db=self._archive
        )


class _Databases(NamedTuple):
    facts: lmdb._Database
    archive: lmdb._Database
    entries: lmdb._Database
    delta: lmdb._Database


def _bytes(value: bytes | memoryview | None) -> bytes | None:
    """Return what an environment without `buffers` gives as what it is."""
    return cast("bytes | None", value)


def _opened(directory: Path) -> lmdb.Environment:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return lmdb.open(
        str(directory),
        map_size=_MAP_BYTES,
        max_dbs=_MOST_DATABASES,
        mode=0o600,
        max_readers=16,
        readahead=False,
    )


def _all_facts(
    transaction: lmdb.Transaction, database: lmdb._Database | None
) -> Iterable[tuple[CrlId, HeldFacts]]:
    if database is None:
        return
    for key, value in transaction.cursor(db=database):
        yield CrlId(bytes(key).decode()), msgspec.msgpack.decode(value, type=HeldFacts)


def _archive_of(transaction: lmdb.Transaction, database: lmdb._Database, source: CrlId) -> Iterator[Archived]:
    prefix = source.encode() + b"\x00"
    cursor = transaction.cursor(db=database)
    if not cursor.set_range(prefix):
        return
    for key, value in cursor:
        if not bytes(key).startswith(prefix):
            return
        yield msgspec.msgpack.decode(value, type=Archived)


def _archive_key(source: CrlId, facts: ListFacts) -> bytes:
    moment = f"{facts.this_update:%Y%m%d%H%M%S}"
    return f"{source}\0{moment}\0{facts.sha256}".encode()


def _entries_name(source: CrlId) -> bytes:
    return b"full:" + source.encode()


def _delta_name(source: CrlId) -> bytes:
    return b"delta:" + source.encode()
