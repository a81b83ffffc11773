"""SQLite: a file of its owner's, for one writing program."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from cardd.clock import ManualClock
from cardd.events import EventBus
from cardd.store import Store, StoreUnavailableError, tables


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = await Store.open(tmp_path, ManualClock(datetime(2026, 1, 1, tzinfo=UTC)), EventBus())
    yield store
    await store.close()


async def _write(store: Store) -> None:
    async with store.transaction() as tx:
        tx.journal("fact.add", "fact:1")


async def test_the_database_is_for_its_owner_only(store: Store, tmp_path: Path) -> None:
    await _write(store)
    modes = {path.name: path.stat().st_mode & 0o077 for path in tmp_path.glob("cardd.sqlite3*")}
    assert set(modes.values()) == {0}


async def test_a_database_locked_by_another_program_is_said_so(store: Store, tmp_path: Path) -> None:
    other = sa.create_engine(f"sqlite:///{tmp_path / 'cardd.sqlite3'}")
    with other.connect() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        async with store.read() as reader:
            assert (
                await reader.execute(sa.select(sa.func.count()).select_from(tables.journal))
            ).scalar() == 0
        with pytest.raises(StoreUnavailableError, match="locked"):
            await _write(store)
        connection.exec_driver_sql("ROLLBACK")
    other.dispose()
    await _write(store)


async def test_nobody_else_holds_what_is_held_exclusively(store: Store) -> None:
    async with store.exclusively("lists") as alone:
        assert alone


async def test_what_is_kept_stays_until_it_is_given_up(store: Store) -> None:
    taken = asyncio.Event()
    keeping = asyncio.create_task(store.keep("place", wait=0, taken=taken.set))
    await taken.wait()
    keeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await keeping


async def test_what_no_list_carries_yet_is_found_without_walking_through_what_is_revoked(
    store: Store,
) -> None:
    table = tables.certificates
    unlisted = (
        (table.c.issuer == "ACR-EL-TEST") & table.c.crl_entry.is_not(None) & table.c.first_crl.is_(None)
    )
    statements = (
        sa.select(table.c.crl_entry).where(unlisted).order_by(table.c.revoked_at),
        sa.update(table).where(unlisted).values(first_crl=1),
    )
    async with store.read() as connection:
        for statement in statements:
            written = str(
                statement.compile(dialect=connection.dialect, compile_kwargs={"literal_binds": True})
            )
            plan = (await connection.execute(sa.text(f"EXPLAIN QUERY PLAN {written}"))).all()
            assert [row.detail.split(" (")[0] for row in plan] == [
                "SEARCH certificates USING INDEX ix_certificates_unlisted"
            ]
