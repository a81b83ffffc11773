"""SQLite connections: each statement is one trip to the connection's thread."""

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cardd.store.aiosqlite_cursors import WholeResultConnection, connect


@pytest.fixture
async def connection(tmp_path: Path) -> AsyncIterator[WholeResultConnection]:
    opened = await connect(str(tmp_path / "test.sqlite3"))
    await opened.cursor().execute("CREATE TABLE t (n INTEGER PRIMARY KEY, name TEXT UNIQUE)")
    yield opened
    await opened.close()


async def test_a_statement_and_its_rows_take_one_trip(
    connection: WholeResultConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    trips: list[Any] = []
    travel = connection.in_its_thread

    async def counted(work: Any, *arguments: Any) -> None:
        trips.append(work)
        await travel(work, *arguments)

    await connection.cursor().executemany("INSERT INTO t (name) VALUES (?)", [("a",), ("b",)])
    monkeypatch.setattr(connection, "in_its_thread", counted)
    cursor = await connection.cursor().execute("SELECT n, name FROM t ORDER BY n")
    assert cursor.description is not None
    assert [column[0] for column in cursor.description] == ["n", "name"]
    assert await cursor.fetchall() == [(1, "a"), (2, "b")]
    assert await cursor.fetchall() == ()
    await cursor.close()
    assert len(trips) == 1


async def test_a_change_tells_its_row_and_how_many_it_changed(connection: WholeResultConnection) -> None:
    cursor = connection.cursor()
    await cursor.execute("INSERT INTO t (name) VALUES (?)", ["a"])
    assert (cursor.lastrowid, cursor.rowcount, cursor.description) == (1, 1, None)
    await cursor.execute("UPDATE t SET name = ? WHERE n = ?", ("b", 2))
    assert cursor.rowcount == 0


async def test_a_statement_that_fails_fails_its_caller(connection: WholeResultConnection) -> None:
    await connection.cursor().execute("INSERT INTO t (name) VALUES ('a')")
    with pytest.raises(sqlite3.IntegrityError):
        await connection.cursor().execute("INSERT INTO t (name) VALUES ('a')")
