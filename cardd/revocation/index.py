"""The index: what is held of every list, in one LMDB environment, replaced in one transaction.

The indexer's process writes; the daemon reads through a snapshot, a read transaction that it keeps until it
has been told of a change. So facts and entries that are answered together were committed together, and
whatever happens to the writer, the daemon goes on with what it sees. The entries of a list are one value, a
table (see `tables`): a million rows in a sub-database of their own would cost a B-tree insertion each, and
pages of it to free at the next replacement; a table is written in one piece and read where it is mapped.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, Self

import lmdb
import msgspec

from cardd.revocation.lists import ListFacts
from cardd.revocation.tables import EntryTable, Find
from cardd.revocation.types import CrlId
from cardd.revocation.verifying import Held

#: Address space set aside; the file is only as large as what is in it.
_MAP_BYTES = 16 * 1024**3

_FACTS, _ARCHIVE, _TABLES = b"facts", b"archive", b"tables"
#: Before tables, each list had databases of its own, of which an index may still hold some.
_FORMER = (b"full:", b"delta:")
_MOST_DATABASES = 4096


class HeldFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is held of one source."""

    full: ListFacts
    delta: ListFacts | None = None


class Archived(msgspec.Struct, frozen=True, kw_only=True):
    """A list in the archive, whose DER is in the file named by its hash."""

    source: str
    facts: ListFacts


class Tables(NamedTuple):
    """The entries of one source, as a snapshot sees them."""

    full: Find
    delta: Find | None


class Snapshot(NamedTuple):
    """One committed state of the index."""

    transaction: "lmdb.Transaction[memoryview]"
    lists: dict[CrlId, HeldFacts]
    """What is held and can be answered from."""
    tables: dict[CrlId, Tables]
    """To be asked while this is the newest snapshot, and not after: they lie in the memory that it maps."""
    outdated: bool
    """Whether tables are missing, in the form of this version: see `indexer.RebuildJob`."""


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
        with self._environment.begin() as listing:
            names = [bytes(name) for name, _ in listing.cursor()]
        for name in (_FACTS, _ARCHIVE, _TABLES):
            if name in names and name not in self._handles:
                self._handles[name] = self._environment.open_db(name, create=False)
        transaction = self._environment.begin(buffers=True)
        known = dict(_all_facts(transaction, self._handles.get(_FACTS)))
        tables = {
            source: found
            for source, held in known.items()
            if (found := _tables_of(transaction, self._handles.get(_TABLES), source, held)) is not None
        }
        self._release()
        lists = {source: known[source] for source in tables}
        self._snapshot = Snapshot(transaction, lists, tables, len(tables) < len(known))
        return self._snapshot

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
        tables = self._environment.open_db(_TABLES)
        with self._environment.begin(write=True) as transaction:
            yield Replacement(transaction, source, _Databases(facts, archive, tables))

    def remove(self, source: CrlId) -> None:
        """Forget a source and its archive."""
        with self.replacing(source) as replacement:
            replacement.clear()

    def rebuild(self, make: Callable[[ListFacts], memoryview]) -> None:
        """Make every table anew that is missing in the form of this version, and drop those of former versions."""
        with self._environment.begin() as transaction:
            former = [bytes(name) for name, _ in transaction.cursor() if bytes(name).startswith(_FORMER)]
        facts, tables = self._environment.open_db(_FACTS), self._environment.open_db(_TABLES)
        databases = [self._environment.open_db(name) for name in former]
        with self._environment.begin(write=True) as transaction:
            for source, held in list(_all_facts(transaction, facts)):
                if _tables_of(transaction, tables, source, held) is None:
                    transaction.put(_full_key(source), make(held.full), db=tables)
                    if held.delta is not None:
                        transaction.put(_delta_key(source), make(held.delta), db=tables)
            for database in databases:
                transaction.drop(database)

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
        self._facts, self._archive, self._tables = databases

    def held(self) -> Held:
        """Return what is held now."""
        value = self._transaction.get(self._source.encode(), db=self._facts)
        if value is None:
            return Held()
        held = msgspec.msgpack.decode(value, type=HeldFacts)
        return Held(held.full, held.delta)

    def put_full(self, facts: ListFacts, table: memoryview, delta: ListFacts | None) -> None:
        """Replace the complete list; `delta` is the delta that stays beside it."""
        self._transaction.put(_full_key(self._source), table, db=self._tables)
        if delta is None:
            self._transaction.delete(_delta_key(self._source), db=self._tables)
        self._put(HeldFacts(full=facts, delta=delta), facts)

    def put_delta(self, full: ListFacts, facts: ListFacts, table: memoryview) -> None:
        """Replace the delta beside the complete list held."""
        self._transaction.put(_delta_key(self._source), table, db=self._tables)
        self._put(HeldFacts(full=full, delta=facts), facts)

    def clear(self) -> None:
        """Forget the source."""
        self._transaction.delete(_full_key(self._source), db=self._tables)
        self._transaction.delete(_delta_key(self._source), db=self._tables)
        self._transaction.delete(self._source.encode(), db=self._facts)
        for archived in list(_archive_of(self._transaction, self._archive, self._source)):
            self._transaction.delete(_archive_key(self._source, archived.facts), db=self._archive)

    def _put(self, held: HeldFacts, newest: ListFacts) -> None:
        self._transaction.put(self._source.encode(), msgspec.msgpack.encode(held), db=self._facts)
        archived = Archived(source=self._source, facts=newest)
        self._transaction.put(
            _archive_key(self._source, newest), msgspec.msgpack.encode(archived), db=self._archive
        )


class _Databases(NamedTuple):
    facts: lmdb._Database
    archive: lmdb._Database
    tables: lmdb._Database


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
    transaction: "lmdb.Transaction[Any]", database: lmdb._Database | None
) -> Iterable[tuple[CrlId, HeldFacts]]:
    if database is None:
        return
    for key, value in transaction.cursor(db=database):
        yield CrlId(bytes(key).decode()), msgspec.msgpack.decode(value, type=HeldFacts)


def _archive_of(
    transaction: "lmdb.Transaction[Any]", database: lmdb._Database, source: CrlId
) -> Iterator[Archived]:
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


def _full_key(source: CrlId) -> bytes:
    return b"full:" + source.encode()


def _delta_key(source: CrlId) -> bytes:
    return b"delta:" + source.encode()


def _tables_of(
    transaction: "lmdb.Transaction[Any]", database: lmdb._Database | None, source: CrlId, held: HeldFacts
) -> Tables | None:
    """Return the tables of what is held; None where one is missing or of another form."""
    if database is None:
        return None
    full = _table(transaction, database, _full_key(source))
    if held.delta is None or full is None:
        return None if full is None else Tables(full, None)
    delta = _table(transaction, database, _delta_key(source))
    return None if delta is None else Tables(full, delta)


def _table(transaction: "lmdb.Transaction[Any]", database: lmdb._Database, key: bytes) -> Find | None:
    block = transaction.get(key, db=database)
    if block is None:
        return None
    try:
        return EntryTable(memoryview(block)).find
    except ValueError:
        return None
