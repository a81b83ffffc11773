"""The store: transactions that hold a state change, its journal lines and its events together.

One writer at a time; readers see the last committed state. What a transaction publishes reaches the bus after the
commit, never before, and never without it; on a shared database, the bus of every machine, in one order.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import structlog
from sqlalchemy.engine import CursorResult
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.base import Executable

from cardd.audit import (
    GENESIS_HASH,
    ChainCheck,
    ChainReport,
    JournalEntry,
    chain_hash,
    current_actor,
    current_application,
)
from cardd.clock import Clock
from cardd.events import Event, EventBus, EventType
from cardd.store import tables
from cardd.store.backend import Backend, Snapshot
from cardd.store.effects import current_effect
from cardd.store.errors import StoreUnavailableError
from cardd.store.idempotency import current_request_key
from cardd.store.machine import machine_identifier
from cardd.store.postgresql import CHANNEL, PostgresqlBackend, SharedDatabase
from cardd.store.sqlite import SqliteBackend
from cardd.store.unavailability import unavailability

#: Lines of the journal that are read and checked at a time.
_JOURNAL_PIECE = 1000
_log = structlog.get_logger(__name__)

# What every transaction executes, made once: making a statement takes longer than executing it.
_HEAD = sa.select(tables.journal_head).with_for_update()
_MOVE_HEAD = sa.update(tables.journal_head)
_ADD_LINES = sa.insert(tables.journal)
_ADD_EVENT = sa.insert(tables.events)


class Transaction:
    """One state change in the making: statements, journal lines and events, committed together."""

    def __init__(self, connection: AsyncConnection, now: datetime) -> None:
        self.connection = connection
        self.now = now
        self._lines: list[tuple[str, str, dict[str, Any]]] = []
        self._events: list[tuple[EventType, str, dict[str, Any]]] = []
        self._has_effect = False

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
        """Say that this transaction does what the request asks for, and bind its `Idempotency-Key`, if it has one."""
        self._has_effect = True
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
        """Write the journal lines and the outbox, before the commit; return the events to publish after it."""
        await self._append_journal()
        events = [await self._append_event(*event) for event in self._events]
        if events and self.connection.dialect.name == "postgresql":
            await self.execute(sa.select(sa.func.pg_notify(CHANNEL, "")))
        effect = current_effect.get()
        if effect is not None and self._has_effect:
            effect.stands = True
        return events

    async def _append_journal(self) -> None:
        if not self._lines:
            return
        head = (await self.execute(_HEAD)).one()
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
        await self.execute(_ADD_LINES, rows)
        await self.execute(_MOVE_HEAD, {"seq": seq, "hash": previous})

    async def _append_event(self, event_type: EventType, subject: str, data: dict[str, Any]) -> Event:
        values = {"at": self.now, "type": event_type, "subject": subject, "data": data}
        result = await self.execute(_ADD_EVENT, values)
        (number,) = result.inserted_primary_key or (0,)
        return Event(id=number, at=self.now, type=event_type, subject=subject, data=data)


class Store:
    """The state that one daemon works on, alone or with those of other machines."""

    def __init__(self, backend: Backend, clock: Clock, bus: EventBus) -> None:
        self._backend = backend
        self._clock = clock
        self._bus = bus
        self._turn = asyncio.Lock()
        self._telling = asyncio.Lock()
        self._told = 0
        self._listening: asyncio.Task[None] | None = None

    @classmethod
    async def open(
        cls, directory: Path, clock: Clock, bus: EventBus, shared: SharedDatabase | None = None
    ) -> "Store":
        """Open the state of a directory, or the one it shares with others, bringing its tables up to date first.

        Raises:
            StoreUnavailableError, SettingsError, StoreNewerError: it cannot be opened.
        """
        backend: Backend
        if shared is None:
            backend = SqliteBackend(directory)
        else:
            machine = await asyncio.to_thread(machine_identifier, directory)
            backend = PostgresqlBackend(shared, machine)
        store = cls(backend, clock, bus)
        with unavailability():
            await backend.upgrade()
            await store._ensure_journal_head()
        if isinstance(backend, PostgresqlBackend):
            store._told = await store.last_event_number()
            store._listening = asyncio.create_task(
                backend.listen(store.tell), name="events of other machines"
            )
        return store

    @property
    def machine(self) -> str:
        """The identifier that this machine's own rows carry."""
        return self._backend.machine

    def own_name(self, name: str) -> str:
        """Return `name` as the shared database has it for what is this machine's alone."""
        return f"{name}@{self.machine}" if self.shared else name

    @property
    def shared(self) -> bool:
        """Whether other machines may write here too."""
        return self._backend.shared

    @asynccontextmanager
    async def exclusively(self, name: str, *, wait: float = 0) -> AsyncIterator[bool]:
        """Hold `name` among all machines for the length of the context; False where another one holds it.

        `wait` is how long to wait for it, in seconds. It is free as soon as its holder ends, however it ends.
        """
        with unavailability():
            async with self._backend.exclusively(name, wait=wait) as alone:
                yield alone

    async def keep(self, name: str, *, wait: float, taken: Callable[[], None]) -> None:
        """Hold `name` among all machines until cancelled, whatever becomes of the database meanwhile.

        `taken` is called each time it is taken: at first, and after each loss of the database. Returns where another
        machine holds it still after `wait` seconds. Raises `StoreUnavailableError` where it cannot be taken at first.
        """
        with unavailability():
            await self._backend.keep(name, wait=wait, taken=taken)

    async def close(self) -> None:
        """Close every connection."""
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
        await self._backend.close()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """Open a write transaction; leaving the context commits it, an exception rolls it back."""
        async with self._turn:
            with unavailability():
                async with self._backend.writer.begin() as connection:
                    transaction = Transaction(connection, self._clock.now())
                    yield transaction
                    published = await transaction.seal()
            await self._tell_committed(published)

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Let no transaction of this process begin while the context is open."""
        async with self._turn:
            yield

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Snapshot]:
        """Keep the state that is committed now for the length of the context, to be copied."""
        with unavailability():
            async with self._backend.snapshot() as pinned:
                yield pinned

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """Open a read-only view of one committed state."""
        with unavailability():
            async with self._backend.reader.begin() as connection:
                yield connection

    async def tell(self) -> None:
        """Publish on the bus what machines have committed since, in the order of their commits."""
        async with self._telling:
            while events := await self.events_after(self._told):
                for event in events:
                    self._told = event.id
                    self._bus.publish(event)

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
        """Check the whole chain against its head, as one state of the database, piece by piece and beside the loop."""
        table, check, last = tables.journal, ChainCheck(), 0
        async with self.read() as connection:
            head = (await connection.execute(sa.select(tables.journal_head))).one()
            piece = sa.select(table).order_by(table.c.seq).limit(_JOURNAL_PIECE)
            while rows := (await connection.execute(piece.where(table.c.seq > last))).all():
                await asyncio.to_thread(check.take, map(_entry, rows))
                last = rows[-1].seq
        return check.report(head_seq=head.seq, head_hash=head.hash)

    async def _tell_committed(self, published: list[Event]) -> None:
        """Publish what was just committed; on a shared database after what others have committed before."""
        if not self._backend.shared:
            for event in published:
                self._bus.publish(event)
        elif published:
            try:
                await self.tell()
            except StoreUnavailableError as error:
                # The change stands; its events are told when the database answers again.
                _log.warning("store.events_wait", why=error.detail.en)

    async def _ensure_journal_head(self) -> None:
        async with self._turn, self._backend.writer.begin() as connection:
            if (await connection.execute(sa.select(tables.journal_head))).first() is None:
                await connection.execute(
                    sa.insert(tables.journal_head).values(id=1, seq=0, hash=GENESIS_HASH)
                )


def _entry(row: sa.Row[Any]) -> JournalEntry:
    return JournalEntry(**row._asdict())
