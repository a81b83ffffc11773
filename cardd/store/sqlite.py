"""SQLite: the state of one machine, in a file of its state directory."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from cardd.store.aiosqlite_cursors import connect
from cardd.store.backend import ONLY_MACHINE
from cardd.store.migrate import upgrade

#: The database in a state directory.
FILE = "cardd.sqlite3"

#: Connections kept for reading beside the writer.
_READERS = 4


class SqliteBackend:
    """The database file of one state; the state's lock keeps every other daemon out."""

    machine = ONLY_MACHINE
    shared = False

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE
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

    async def close(self) -> None:
        """Close every connection."""
        await self.reader.dispose()
        await self.writer.dispose()


def _engine(url: str, *, begin: str, size: int) -> AsyncEngine:
    """Take transactions into our own hands (the driver's would begin too late) and set the pragmas."""
    file = str(sa.make_url(url).database)
    engine = create_async_engine(url, pool_size=size, max_overflow=0, async_creator=lambda: connect(file))

    @sa.event.listens_for(engine.sync_engine, "connect")
    def _on_connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=5000"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @sa.event.listens_for(engine.sync_engine, "begin")
    def _on_begin(connection: Any) -> None:
        connection.connection.driver_connection.begin(begin)

    return engine
