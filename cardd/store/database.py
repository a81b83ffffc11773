"""The store: transactions that hold a state change, its journal lines and its events together.

One writer at a time in this process; readers see the last committed state. What a transaction
publishes reaches the bus after the commit, never before, and never without it.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import CursorResult
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.sql.base import Executable

from cardd.audit import (
    GENESIS_HASH,
    ChainReport,
    JournalEntry,
    chain_hash,
    current_actor,
    current_application,
    verify_chain,
)
from cardd.clock import Clock
from cardd.events import Event, EventBus, EventType
from cardd.store import tables
from cardd.store.errors import StoreUnavailableError
from cardd.store.idempotency import current_request_key
from cardd.store.migrate import upgrade
from cardd.text import Text


class Transaction:
    """One state change in the making: statements, journal lines and events, committed together."""

    def __init__(self, connection: AsyncConnection, now: datetime) -> None:
        self.connection = connection
        self.now = now
        self._lines: list[tuple[str, str, dict[str, Any]]] = []
        self._events: list[tuple[EventType, str, dict[str, Any]]] = []

    async def execute(self, statement: Executable, parameters: Any = None) -> CursorResult[Any]:
        """Run a statement inside the transaction."""
        result: CursorResult[Any] = await self.connection.execute(statement, parameters)
        return result

    def journal(self, action: str, subject: str, **details: Any) -> None:
        """Add a line to the journal; the actor is the one of the running context.

        Where an application acts with a card, the line names it too, as `by_application`.
        """
        application = current_application.get()
        if application is not None and current_actor.get() != f"application:{application}":
            details = {**details, "by_application": application}
        self._lines.append((action, subject, details))

    def publish(self, event_type: EventType, subject: str, **data: Any) -> None:
        """Add an event to the outbox; listeners get it after the commit."""
        self._events.append((event_type, subject, data))

    async def answer(self, kind: str, subject: str) -> None:
        """Bind the request's `Idempotency-Key`, if it has one, to what this transaction makes."""
        request = current_request_key.get()
        if request is None:
            return
        await self.execute(
            sa.insert(tables.idempotency).values(
                caller=request.caller,
                key=request.key,
                request_sha256=request.request_sha256,
                kind=kind,
                subject=subject,
                created_at=self.now,
            )
        )

    async def seal(self) -> list[Event]:
        """Write the journal lines and the outbox; return the events to publish after the commit."""
        await self._append_journal()
        return [await self._append_event(*event) for event in self._events]

    async def _append_journal(self) -> None:
        if not self._lines:
            return
        head = (await self.execute(sa.select(tables.journal_head).with_for_update())).one()
        seq, previous = head.seq, head.hash
        rows = []
        for action, subject, details in self._lines:
            seq += 1
            line: dict[str, Any] = {
                "actor": current_actor.get(),
                "action": action,
                "subject": subject,
                "details": details,
            }
            line_hash = chain_hash(seq, self.now, previous_hash=previous, **line)
            rows.append({"seq": seq, "at": self.now, "previous_hash": previous, "hash": line_hash, **line})
            previous = line_hash
        await self.execute(sa.insert(tables.journal), rows)
        await self.execute(sa.update(tables.journal_head).values(seq=seq, hash=previous))

    async def _append_event(self, event_type: EventType, subject: str, data: dict[str, Any]) -> Event:
        statement = sa.insert(tables.events).values(at=self.now, type=event_type, subject=subject, data=data)
        result = await self.execute(statement)
        (number,) = result.inserted_primary_key or (0,)
        return Event(id=number, at=self.now, type=event_type, subject=subject, data=data)


class Store:
    """The database of one daemon."""

    #: Connections kept for reading beside the writer.
    READERS = 4

    def __init__(self, url: str, clock: Clock, bus: EventBus) -> None:
        self._url = url
        self._clock = clock
        self._bus = bus
        self._writer = _engine(url, writer=True, size=1)
        self._reader = _engine(url, writer=False, size=self.READERS)
        self._turn = asyncio.Lock()

    @classmethod
    async def open(cls, directory: Path, clock: Clock, bus: EventBus) -> "Store":
        """Open the SQLite database of a state directory, bringing its tables up to date first."""
        path = directory / "cardd.sqlite3"
        path.touch(mode=0o600, exist_ok=True)
        await asyncio.to_thread(upgrade, f"sqlite:///{path}")
        store = cls(f"sqlite+aiosqlite:///{path}", clock, bus)
        await store._ensure_journal_head()
        return store

    async def close(self) -> None:
        """Close every connection."""
        await self._reader.dispose()
        await self._writer.dispose()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """Open a write transaction; leaving the context commits it, an exception rolls it back."""
        async with self._turn:
            with _unavailability():
                async with self._writer.begin() as connection:
                    transaction = Transaction(connection, self._clock.now())
                    yield transaction
                    published = await transaction.seal()
            for event in published:
                self._bus.publish(event)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """Open a read-only view of one committed state."""
        with _unavailability():
            async with self._reader.begin() as connection:
                yield connection

    async def events_after(self, number: int, *, limit: int = 500) -> list[Event]:
        """Return the outbox's events with a greater number, oldest first."""
        table = tables.events
        statement = sa.select(table).where(table.c.id > number).order_by(table.c.id).limit(limit)
        async with self.read() as connection:
            rows = (await connection.execute(statement)).all()
        return [Event(id=r.id, at=r.at, type=EventType(r.type), subject=r.subject, data=r.data) for r in rows]

    async def last_event_number(self) -> int:
        """Return the number of the newest event, 0 when there is none."""
        async with self.read() as connection:
            return (await connection.execute(sa.select(sa.func.max(tables.events.c.id)))).scalar() or 0

    async def journal(self, *, before: int | None = None, limit: int = 50) -> list[JournalEntry]:
        """Return lines of the journal, newest first, with numbers below `before`."""
        table = tables.journal
        statement = sa.select(table).order_by(table.c.seq.desc()).limit(limit)
        if before is not None:
            statement = statement.where(table.c.seq < before)
        async with self.read() as connection:
            return [_entry(row) for row in (await connection.execute(statement)).all()]

    async def verify_journal(self) -> ChainReport:
        """Check the whole chain against its head, as one state of the database."""
        async with self.read() as connection:
            head = (await connection.execute(sa.select(tables.journal_head))).one()
            statement = sa.select(tables.journal).order_by(tables.journal.c.seq)
            entries = [_entry(row) for row in (await connection.execute(statement)).all()]
        return await asyncio.to_thread(verify_chain, entries, head_seq=head.seq, head_hash=head.hash)

    async def _ensure_journal_head(self) -> None:
        async with self._turn, self._writer.begin() as connection:
            if (await connection.execute(sa.select(tables.journal_head))).first() is None:
                await connection.execute(
                    sa.insert(tables.journal_head).values(id=1, seq=0, hash=GENESIS_HASH)
                )


def _entry(row: sa.Row[Any]) -> JournalEntry:
    return JournalEntry(**row._asdict())


def _engine(url: str, *, writer: bool, size: int) -> AsyncEngine:
    engine = create_async_engine(url, pool_size=size, max_overflow=0)
    if engine.dialect.name == "sqlite":
        _prepare_sqlite(engine, begin="BEGIN IMMEDIATE" if writer else "BEGIN")
    return engine


def _prepare_sqlite(engine: AsyncEngine, *, begin: str) -> None:
    """Take transactions into our own hands (the driver's would begin too late) and set the pragmas."""

    @sa.event.listens_for(engine.sync_engine, "connect")
    def _on_connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=5000"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @sa.event.listens_for(engine.sync_engine, "begin")
    def _on_begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql(begin)


class _unavailability:  # noqa: N801 (reads as a context at its uses)
    """Turn a database that does not answer into a `StoreUnavailableError`."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, _type: Any, error: BaseException | None, _trace: Any) -> None:
        if isinstance(error, OperationalError | sqlite3.OperationalError):
            reason = str(getattr(error, "orig", None) or error).splitlines()[0]
            raise StoreUnavailableError(
                Text(
                    f"The database does not take the change: {reason}.",
                    f"La base de données refuse : {reason}.",
                )
            ) from error
