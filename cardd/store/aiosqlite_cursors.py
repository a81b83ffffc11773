"""SQLite connections whose statements each go to the connection's thread and back once.

aiosqlite makes four such trips a statement: to open a cursor, to execute, to fetch, to close. Each costs more than
what SQLite does in it. Here a statement is executed, its rows fetched and its cursor closed in one, which suits a
daemon that asks for rows by the page. The statement that begins a transaction travels with the first that needs it,
and nothing is sent to end one that did not begin. SQLAlchemy takes these connections through its `async_creator`.
"""

import sqlite3
from collections.abc import Generator, Iterable, Sequence
from typing import Any

import aiosqlite


class WholeResultCursor:
    """What SQLAlchemy needs of a cursor; the rows are here as soon as a statement was executed."""

    def __init__(self, connection: "WholeResultConnection") -> None:
        self._connection = connection
        self._rows: Sequence[Any] = ()
        self.arraysize = 1
        self.description: tuple[Any, ...] | None = None
        self.rowcount = -1
        self.lastrowid: int | None = None

    async def __aenter__(self) -> "WholeResultCursor":
        return self

    async def execute(self, statement: str, parameters: Iterable[Any] = ()) -> "WholeResultCursor":
        """Execute a statement and fetch all its rows."""
        await self._connection.in_its_thread(self._execute, statement, parameters)
        return self

    async def executemany(self, statement: str, parameters: Iterable[Sequence[Any]]) -> "WholeResultCursor":
        """Execute a statement once for each of many rows of parameters."""
        await self._connection.in_its_thread(self._executemany, statement, parameters)
        return self

    async def fetchall(self) -> Sequence[Any]:
        """Return the rows of the last statement."""
        rows, self._rows = self._rows, ()
        return rows

    async def close(self) -> None:
        """Do nothing: nothing is held open."""

    def _execute(self, database: sqlite3.Connection, statement: str, parameters: Iterable[Any]) -> None:
        cursor = database.execute(statement, tuple(parameters))
        self._keep(cursor)

    def _executemany(
        self, database: sqlite3.Connection, statement: str, parameters: Iterable[Sequence[Any]]
    ) -> None:
        self._keep(database.executemany(statement, parameters))

    def _keep(self, cursor: sqlite3.Cursor) -> None:
        self.description, self.lastrowid = cursor.description, cursor.lastrowid
        self._rows = cursor.fetchall() if cursor.description is not None else ()
        self.rowcount = cursor.rowcount
        cursor.close()


class WholeResultConnection(aiosqlite.Connection):
    """A connection of aiosqlite with cursors of the kind above."""

    #: What begins the transaction that the next statement belongs to.
    _beginning: str | None = None
    #: Whether the last trip may not have come back: whoever waited for it was cancelled, or it failed.
    _is_unsettled = False

    def begin(self, statement: str) -> None:
        """Have `statement`, such as `BEGIN IMMEDIATE`, executed before the next one."""
        self._beginning = statement

    async def commit(self) -> None:
        """End the transaction, if one was begun."""
        if self._has_begun():
            await super().commit()

    async def rollback(self) -> None:
        """Undo the transaction, if one was begun."""
        if self._has_begun():
            await super().rollback()
            self._is_unsettled = False

    def cursor(self) -> WholeResultCursor:  # type: ignore[override]
        """Return a cursor, at once."""
        return WholeResultCursor(self)

    async def in_its_thread(self, work: Any, *arguments: Any) -> None:
        """Let the connection's own thread do something with the database."""
        if self._beginning is not None:
            work, arguments, self._beginning = _begun, (self._beginning, work, *arguments), None
        self._is_unsettled = True
        await self._execute(work, self._conn, *arguments)  # type: ignore[no-untyped-call]
        self._is_unsettled = False

    def _has_begun(self) -> bool:
        """Tell whether there may be a transaction to end, and forget one that was only announced."""
        self._beginning = None
        return self._is_unsettled or self._conn.in_transaction

    def __await__(self) -> Generator[Any, None, "WholeResultConnection"]:
        self._thread.daemon = True
        yield from super().__await__()
        return self


def _begun(database: sqlite3.Connection, beginning: str, work: Any, *arguments: Any) -> None:
    database.execute(beginning)
    work(database, *arguments)


def connect(path: str) -> WholeResultConnection:
    """Return a connection to the database file `path`, to be awaited."""

    def opened() -> sqlite3.Connection:
        return sqlite3.connect(path, check_same_thread=False, cached_statements=512)

    return WholeResultConnection(opened, iter_chunk_size=64)
