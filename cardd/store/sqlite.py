"""SQLite: the state of one machine, in a file of its state directory."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from cardd.store.aiosqlite_cursors import connect
from cardd.store.backend import ONLY_MACHINE
from cardd.store.migrate import upgrade
from cardd.store.snapshot import DATABASE, DatabaseSnapshot

#: Connections kept for reading beside the writer.
_READERS = 4

#: What a connection keeps of the file, in KiB: the inner pages of the indexes of a million rows, and those just read.
_CACHE = 8192


class SqliteBackend:
    """The database file of one state; the state's lock keeps every other daemon out."""

    machine = ONLY_MACHINE
    shared = False

    def __init__(self, directory: Path) -> None:
        self._path = directory / DATABASE
        url = f"sqlite+aiosqlite:///{self._path}"
        self.writer = _engine(url, begin="BEGIN IMMEDIATE", size=1)
        self.reader = _engine(url, begin="BEGIN", size=_READERS)

    async def upgrade(self) -> None:
        """Bring the tables up to date; the file is its owner's only."""
        self._path.touch(mode=0o600, exist_ok=True)
        await asyncio.to_thread(upgrade, f"sqlite:///{self._path}")

    @asynccontextmanager
    async def exclusively(self, name: str, *, wait: float) -> AsyncIterator[bool]:  # noqa: ARG002
        """Nobody else is there to hold anything."""
        yield True

    async def keep(self, name: str, *, wait: float, taken: Callable[[], None]) -> None:  # noqa: ARG002
        """Nobody else is there to take anything away."""
        taken()
        await asyncio.get_running_loop().create_future()

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[DatabaseSnapshot]:
        """Keep the state that is committed now for the length of the context."""
        pinned = await asyncio.to_thread(DatabaseSnapshot, self._path.parent)
        try:
            yield pinned
        finally:
            await asyncio.to_thread(pinned.close)

    async def close(self) -> None:
        """Close every connection."""
        await self.reader.dispose()
        await self.writer.dispose()


def _engine(url: str, *, begin: str, size: int) -> AsyncEngine:
    """Take transactions into our own hands (the driver's would begin too late) and set the pragmas."""
    file = str(sa.make_url(url).database)
    # The connection used last is taken first: it has kept what is read most, and its statements.
    engine = create_async_engine(
        url, pool_size=size, max_overflow=0, pool_use_lifo=True, async_creator=lambda: connect(file)
    )

    @sa.event.listens_for(engine.sync_engine, "connect")
    def _on_connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in (
            "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=5000", f"cache_size=-{_CACHE}",
        ):  # fmt: skip
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @sa.event.listens_for(engine.sync_engine, "begin")
    def _on_begin(connection: Any) -> None:
        connection.connection.driver_connection.begin(begin)

    return engine
