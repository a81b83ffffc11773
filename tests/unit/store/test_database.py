"""The store: a state change, its journal lines and its events stand or fall together."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from cardd.clock import ManualClock
from cardd.events import EventBus, EventType
from cardd.store import RequestKey, Store, current_request_key, database, tables
from tests.support.stores import change_behind, open_store

#: Each test runs on SQLite and on PostgreSQL.
pytestmark = pytest.mark.usefixtures("each_store")

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def bus() -> EventBus:
    return EventBus()


@pytest.fixture
async def store(tmp_path: Path, bus: EventBus) -> AsyncIterator[Store]:
    store = await open_store(tmp_path, ManualClock(START), bus)
    yield store
    await store.close()


async def _change(store: Store, number: int) -> None:
    async with store.transaction() as tx:
        await tx.execute(sa.insert(tables.instance).values(name=f"fact {number}", value=number))
        tx.journal("fact.add", f"fact:{number}", number=number)
        tx.publish(EventType.KEY_CREATED, f"fact:{number}", number=number)


async def test_a_committed_change_has_its_line_and_its_event(store: Store, bus: EventBus) -> None:
    with bus.subscribe() as subscription:
        await _change(store, 1)
        event = await subscription.next()
    assert (event.id, event.type, event.data, event.at) == (1, EventType.KEY_CREATED, {"number": 1}, START)
    assert [line.subject for line in await store.journal()] == ["fact:1"]
    assert await store.events_after(0) == [event]


async def test_a_change_that_fails_leaves_nothing_and_tells_nobody(store: Store, bus: EventBus) -> None:
    with bus.subscribe() as subscription:
        with pytest.raises(IntegrityError):
            async with store.transaction() as tx:
                tx.journal("fact.add", "fact:1")
                tx.publish(EventType.KEY_CREATED, "fact:1")
                for _ in range(2):
                    await tx.execute(sa.insert(tables.instance).values(name="same", value=1))
        await _change(store, 2)
        assert (await subscription.next()).subject == "fact:2"
    assert [line.subject for line in await store.journal()] == ["fact:2"]


async def test_concurrent_changes_follow_one_another_in_the_chain(store: Store) -> None:
    await asyncio.gather(*(_change(store, number) for number in range(50)))
    report = await store.verify_journal()
    assert (report.valid, report.entries) == (True, 50)
    assert len({event.id for event in await store.events_after(0)}) == 50


async def test_a_line_changed_in_the_database_is_found(store: Store, tmp_path: Path) -> None:
    for number in range(3):
        await _change(store, number)
    await change_behind(
        tmp_path, sa.update(tables.journal).where(tables.journal.c.seq == 2).values(actor="intruder")
    )
    assert (await store.verify_journal()).broken_at == 2


@pytest.mark.parametrize("line", [1, 4, 5, 6, 12])
async def test_a_long_journal_is_checked_piece_by_piece(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: int
) -> None:
    monkeypatch.setattr(database, "_JOURNAL_PIECE", 5)
    for number in range(12):
        await _change(store, number)
    assert (await store.verify_journal()).valid
    await change_behind(
        tmp_path, sa.update(tables.journal).where(tables.journal.c.seq == line).values(actor="intruder")
    )
    assert (await store.verify_journal()).broken_at == line


async def test_the_chain_goes_on_after_a_restart(store: Store, tmp_path: Path, bus: EventBus) -> None:
    await _change(store, 1)
    again = await open_store(tmp_path, ManualClock(START), bus)
    await _change(again, 2)
    assert (await again.verify_journal()).entries == 2
    assert await again.last_event_number() == 2
    await again.close()


async def test_a_request_key_is_bound_to_what_the_transaction_makes(store: Store) -> None:
    token = current_request_key.set(RequestKey(caller="owner", key="k1", request_sha256="00"))
    try:
        async with store.transaction() as tx:
            await tx.answer("order", "o1")
        with pytest.raises(IntegrityError):
            async with store.transaction() as tx:
                await tx.answer("order", "o2")
    finally:
        current_request_key.reset(token)
    async with store.read() as connection:
        rows = (await connection.execute(sa.select(tables.idempotency))).all()
    assert [(row.key, row.subject, row.status) for row in rows] == [("k1", "o1", None)]


async def test_a_naive_time_is_never_stored(store: Store) -> None:
    with pytest.raises(sa.exc.StatementError, match="naive"):
        async with store.transaction() as tx:
            values = {
                "id": "s",
                "kind": "siren",
                "number": "1",
                "name": "n",
                "address": "a",
                "postal_code": "1",
            }
            naive = datetime(2026, 1, 1)  # noqa: DTZ001 (the mistake under test)
            await tx.execute(sa.insert(tables.structures).values(**values, town="t", created_at=naive))
