"""SQLite connections: each statement is one trip to the connection's thread."""

import asyncio
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


async def test_what_begins_a_transaction_travels_with_its_first_statement(
    connection: WholeResultConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    trips = 0
    travel = connection._execute

    async def counted(*arguments: Any) -> None:
        nonlocal trips
        trips += 1
        await travel(*arguments)  # type: ignore[no-untyped-call]

    monkeypatch.setattr(connection, "_execute", counted)
    connection.begin("BEGIN IMMEDIATE")
    await connection.rollback()
    assert trips == 0, "what was only announced is not undone"
    await connection.cursor().execute("CREATE TABLE after (name TEXT)")
    assert not connection.in_transaction, "what was announced before is forgotten"
    connection.begin("BEGIN IMMEDIATE")
    await connection.cursor().execute("CREATE TABLE undone (name TEXT)")
    assert connection.in_transaction
    assert trips == 2
    await connection.rollback()
    assert not connection.in_transaction
    with pytest.raises(sqlite3.OperationalError):
        await connection.cursor().execute("SELECT * FROM undone")


async def test_a_transaction_whose_statement_nobody_waits_for_any_more_is_undone(
    connection: WholeResultConnection,
) -> None:
    connection.begin("BEGIN IMMEDIATE")
    waiting = asyncio.create_task(connection.cursor().execute("CREATE TABLE given_up (name TEXT)"))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await connection.rollback()
    assert not connection.in_transaction
    with pytest.raises(sqlite3.OperationalError):
        await connection.cursor().execute("SELECT * FROM given_up")
