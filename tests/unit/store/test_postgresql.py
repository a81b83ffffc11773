"""PostgreSQL: several machines on one state, and a server that goes away."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from cardd.clock import ManualClock
from cardd.events import Event, EventBus, EventType, Subscription
from cardd.settings import SettingsError, StoreSettings
from cardd.store import SharedDatabase, Store, StoreUnavailableError, tables
from cardd.store.errors import StoreNewerError
from tests.support.stores import PostgresqlServer

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
async def database(postgresql_server: PostgresqlServer, tmp_path: Path) -> AsyncIterator[SharedDatabase]:
    yield await postgresql_server.of(tmp_path)
    await postgresql_server.forget()


class Machine:
    """One machine's store and bus."""

    def __init__(self, store: Store, bus: EventBus) -> None:
        self.store = store
        self.bus = bus

    async def change(self, subject: str) -> None:
        async with self.store.transaction() as tx:
            tx.journal("fact.add", subject)
            tx.publish(EventType.KEY_CREATED, subject)


@pytest.fixture
async def machines(database: SharedDatabase, tmp_path: Path) -> AsyncIterator[tuple[Machine, Machine]]:
    """Two machines on one database."""
    opened = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        bus = EventBus()
        opened.append(Machine(await Store.open(tmp_path / name, ManualClock(START), bus, database), bus))
    yield opened[0], opened[1]
    for each in opened:
        await each.store.close()


async def _heard(subscription: Subscription, count: int) -> list[Event]:
    async with asyncio.timeout(20):
        return [await subscription.next() for _ in range(count)]


async def test_each_machine_has_a_name_of_its_own_and_keeps_it(
    machines: tuple[Machine, Machine], database: SharedDatabase, tmp_path: Path
) -> None:
    a, b = machines
    assert a.store.machine != b.store.machine
    again = await Store.open(tmp_path / "a", ManualClock(START), EventBus(), database)
    assert again.machine == a.store.machine
    await again.close()


async def test_every_machine_hears_all_events_once_in_one_order(machines: tuple[Machine, Machine]) -> None:
    with machines[0].bus.subscribe() as at_a, machines[1].bus.subscribe() as at_b:
        await asyncio.gather(*(machines[n % 2].change(f"fact:{n}") for n in range(40)))
        heard_a, heard_b = await _heard(at_a, 40), await _heard(at_b, 40)
    assert heard_a == heard_b
    assert [event.id for event in heard_a] == sorted({event.id for event in heard_a})


async def test_the_journal_of_all_machines_is_one_chain(machines: tuple[Machine, Machine]) -> None:
    await asyncio.gather(*(machines[n % 2].change(f"fact:{n}") for n in range(40)))
    report = await machines[0].store.verify_journal()
    assert (report.valid, report.entries) == (True, 40)


async def test_what_one_machine_holds_the_other_gets_when_it_lets_go(
    machines: tuple[Machine, Machine],
) -> None:
    a, b = machines
    async with a.store.exclusively("lists") as first, b.store.exclusively("lists") as second:
        assert (first, second) == (True, False)
    async with b.store.exclusively("lists", wait=5) as alone:
        assert alone


async def test_what_is_kept_is_taken_again_when_the_connection_was_cut(
    machines: tuple[Machine, Machine], postgresql_server: PostgresqlServer
) -> None:
    a, b = machines
    taken = asyncio.Event()
    keeping = asyncio.create_task(a.store.keep("place", wait=0, taken=taken.set))
    async with asyncio.timeout(20):
        for _ in range(2):
            await taken.wait()
            taken.clear()
            async with b.store.exclusively("place") as alone:
                assert not alone
            await postgresql_server.administer(_CUT)
        await taken.wait()
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
    async with b.store.exclusively("place", wait=5) as alone:
        assert alone


async def test_who_keeps_a_thing_is_told_that_another_took_it_meanwhile(
    machines: tuple[Machine, Machine], postgresql_server: PostgresqlServer, database: SharedDatabase
) -> None:
    taken = asyncio.Event()
    keeping = asyncio.create_task(machines[0].store.keep("place", wait=0, taken=taken.set))
    await taken.wait()
    other = await database.connect("another machine")
    waiting = asyncio.create_task(other.execute("SELECT pg_advisory_lock(hashtextextended('place', 0))"))
    async with asyncio.timeout(20):
        watcher = await database.connect("tests")
        while not await watcher.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            pass
        await watcher.close()
        await postgresql_server.administer(_CUT)
        await waiting
        await keeping
    await other.close()


async def test_what_another_machine_holds_is_not_taken(machines: tuple[Machine, Machine]) -> None:
    def never() -> None:
        raise AssertionError("it was taken")

    async with machines[0].store.exclusively("place"):
        await machines[1].store.keep("place", wait=0.1, taken=never)


_CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'cardd %'"


async def test_a_writer_waits_for_the_other_machines_transaction(machines: tuple[Machine, Machine]) -> None:
    a, b = machines
    async with a.store.transaction() as tx:
        await tx.execute(sa.insert(tables.instance).values(name="x", value=1))
        waiting = asyncio.create_task(_count_then_insert(b.store))
        done, _ = await asyncio.wait({waiting}, timeout=0.1)
        assert not done
    assert await waiting == 1


async def _count_then_insert(store: Store) -> int:
    async with store.transaction() as tx:
        return len((await tx.execute(sa.select(tables.instance))).all())


async def test_a_connection_that_was_cut_is_made_again_and_no_event_is_lost(
    machines: tuple[Machine, Machine], postgresql_server: PostgresqlServer
) -> None:
    a, b = machines
    with b.bus.subscribe() as at_b:
        await a.change("fact:0")
        assert [event.subject for event in await _heard(at_b, 1)] == ["fact:0"]
        await postgresql_server.administer(_CUT)
        await a.change("fact:1")
        assert [event.subject for event in await _heard(at_b, 1)] == ["fact:1"]


async def test_a_connection_cut_in_mid_transaction_is_said_so_and_leaves_nothing(
    machines: tuple[Machine, Machine], postgresql_server: PostgresqlServer
) -> None:
    a, b = machines
    with pytest.raises(StoreUnavailableError):
        async with a.store.transaction() as tx:
            await tx.execute(sa.insert(tables.instance).values(name="x", value=1))
            await postgresql_server.administer(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'idle in transaction'"
            )
    async with b.store.read() as connection:
        assert (await connection.execute(sa.select(tables.instance))).all() == []
    await a.change("fact:1")


async def test_a_connection_cut_while_it_waits_for_another_machine_is_said_so(
    machines: tuple[Machine, Machine], database: SharedDatabase
) -> None:
    a, b = machines

    async def wait_for_its_turn() -> None:
        async with b.store.exclusively("lists", wait=30):
            raise AssertionError("the other machine holds it")

    async with a.store.exclusively("lists"):
        waiting = asyncio.create_task(wait_for_its_turn())
        watcher = await database.connect("tests")
        async with asyncio.timeout(20):
            while not await watcher.fetchval(_CUT_WAITING):
                pass
        await watcher.close()
        with pytest.raises(StoreUnavailableError):
            await waiting


_CUT_WAITING = """
    SELECT bool_or(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE wait_event_type = 'Lock' AND wait_event = 'advisory' AND application_name LIKE 'cardd %'
"""


async def test_a_server_that_is_away_is_said_so_with_the_time_to_try_again(tmp_path: Path) -> None:
    nowhere = SharedDatabase(url=f"postgresql://cardd@/cardd?host={tmp_path}")
    with pytest.raises(StoreUnavailableError) as refused:
        await Store.open(tmp_path, ManualClock(START), EventBus(), nowhere)
    assert refused.value.data["retry_after"] > 0


async def test_tables_of_a_newer_version_are_left_alone(
    machines: tuple[Machine, Machine], database: SharedDatabase, tmp_path: Path
) -> None:
    async with machines[0].store.transaction() as tx:
        await tx.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreNewerError):
        await Store.open(tmp_path, ManualClock(START), EventBus(), database)


async def test_text_sorts_by_code_point_as_on_sqlite(machines: tuple[Machine, Machine]) -> None:
    async with machines[0].store.transaction() as tx:
        for name in ("é", "a", "B", "Z", "b"):
            await tx.execute(sa.insert(tables.instance).values(name=name, value=1))
        names = sa.select(tables.instance.c.name).order_by(tables.instance.c.name)
        assert list((await tx.execute(names)).scalars()) == ["B", "Z", "a", "b", "é"]


def test_a_password_in_the_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(SettingsError) as refused:
        SharedDatabase.of(StoreSettings(url="postgresql://cardd:hunter2@db/cardd"))
    assert "hunter2" not in str(refused.value)


async def test_a_password_file_that_is_missing_is_named(tmp_path: Path) -> None:
    database = SharedDatabase(url="postgresql://cardd@/cardd", password_file=str(tmp_path / "absent"))
    with pytest.raises(SettingsError, match="absent"):
        await database.connect("tests")
