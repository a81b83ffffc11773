"""A state moved from SQLite to PostgreSQL: all of it, or nothing."""

from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from cardd.clock import ManualClock
from cardd.errors import NotFoundError
from cardd.events import EventBus, EventType
from cardd.progress import ProgressStep, no_progress
from cardd.store import SharedDatabase, Store, tables
from cardd.store.lock import StateInUseError, state_of_ours
from cardd.store.moving import MOVED, MoveUnfaithfulError, TargetNotEmptyError, move
from tests.support.igc import PREPARED, TestPki, quick_pki
from tests.support.orders import open_world
from tests.support.stores import PostgresqlServer

FILE = "cardd.sqlite3"


@pytest.fixture(scope="module")
def pki() -> Iterator[TestPki]:
    with quick_pki() as made:
        yield made


@pytest.fixture
async def target(postgresql_server: PostgresqlServer, tmp_path: Path) -> AsyncIterator[SharedDatabase]:
    yield await postgresql_server.of(tmp_path / "target")
    await postgresql_server.forget()


@pytest.fixture
async def state(tmp_path: Path, pki: TestPki) -> Path:
    """A state with an order retrieved, one that waits, and a pruned event."""
    directory = tmp_path / "state"
    directory.mkdir()
    world = await open_world(directory, ManualClock(PREPARED + timedelta(hours=1)), pki)
    await world.authorise()
    await world.retrieve()
    await world.order()
    async with world.store.transaction() as tx:
        await tx.execute(sa.insert(tables.instance).values(name="http_port", value=8980))
        await tx.execute(sa.delete(tables.events).where(tables.events.c.id > 3))
    await world.store.close()
    return directory


async def _counts(store: Store) -> dict[str, int]:
    async with store.read() as connection:
        return {
            table.name: (await connection.execute(sa.select(sa.func.count()).select_from(table))).scalar_one()
            for table in tables.metadata.sorted_tables
        }


async def test_everything_arrives_and_goes_on_from_where_it_was(state: Path, target: SharedDatabase) -> None:
    before = await Store.open(state, ManualClock(PREPARED), EventBus())
    counts, report = await _counts(before), await before.verify_journal()
    await before.close()
    steps: list[ProgressStep] = []
    moved = await move(state, target, steps.append)
    assert (moved.rows, moved.journal_head) == (sum(counts.values()), report.head)
    assert (steps[-1].done, steps[-1].total) == (len(moved.tables), len(moved.tables))

    after = await Store.open(state, ManualClock(PREPARED), EventBus(), target)
    assert await _counts(after) == counts
    async with after.transaction() as tx:
        tx.journal("test.goes_on", "test:1")
        owners = set((await tx.execute(sa.select(tables.tokens.c.machine))).scalars())
        facts = list((await tx.execute(sa.select(tables.instance.c.name))).scalars())
    assert (await after.verify_journal()).entries == report.entries + 1
    assert owners == {after.machine}
    assert f"http_port@{after.machine}" in facts
    await after.close()


async def test_events_are_numbered_on_from_the_last_one_even_if_it_was_pruned(
    state: Path, target: SharedDatabase
) -> None:
    engine = sa.create_engine(f"sqlite:///{state / FILE}")
    with engine.connect() as connection:
        (last,) = connection.exec_driver_sql("SELECT seq FROM sqlite_sequence WHERE name = 'events'").one()
    engine.dispose()
    await move(state, target, no_progress)
    after = await Store.open(state, ManualClock(PREPARED), EventBus(), target)
    async with after.transaction() as tx:
        tx.publish(EventType.KEY_CREATED, "test:1")
    assert [event.id for event in await after.events_after(3)] == [last + 1]
    await after.close()


async def test_a_move_cut_short_leaves_both_sides_as_they_were(state: Path, target: SharedDatabase) -> None:
    content = (state / FILE).read_bytes()

    def cut_short(step: ProgressStep) -> None:
        if step.done > 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await move(state, target, cut_short)
    assert (state / FILE).read_bytes() == content
    assert (await move(state, target, no_progress)).rows > 0


async def test_a_move_cut_short_after_its_commit_is_finished_by_the_next(
    state: Path, target: SharedDatabase
) -> None:
    first = await move(state, target, no_progress)
    (state / MOVED).rename(state / FILE)
    assert await move(state, target, no_progress) == first
    assert (state / MOVED).is_file()


async def test_a_database_with_another_state_is_refused(
    state: Path, target: SharedDatabase, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other = await Store.open(tmp_path / "other", ManualClock(PREPARED), EventBus(), target)
    async with other.transaction() as tx:
        tx.journal("test", "test:1")
    await other.close()
    with pytest.raises(TargetNotEmptyError):
        await move(state, target, no_progress)
    assert (state / FILE).is_file()


async def test_a_journal_that_was_changed_is_not_moved(state: Path, target: SharedDatabase) -> None:
    engine = sa.create_engine(f"sqlite:///{state / FILE}")
    with engine.begin() as connection:
        connection.execute(
            sa.update(tables.journal).where(tables.journal.c.seq == 1).values(actor="intruder")
        )
    engine.dispose()
    with pytest.raises(MoveUnfaithfulError, match="journal"):
        await move(state, target, no_progress)
    assert (state / FILE).is_file()


async def test_a_state_that_a_daemon_works_on_is_left_alone(state: Path, target: SharedDatabase) -> None:
    with state_of_ours(state), pytest.raises(StateInUseError):
        await move(state, target, no_progress)


async def test_a_directory_without_a_state_is_said_so(tmp_path: Path, target: SharedDatabase) -> None:
    with pytest.raises(NotFoundError):
        await move(tmp_path, target, no_progress)
