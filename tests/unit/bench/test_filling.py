"""A filled store is like one that the daemon filled: its rows are listed and found, and it takes new ones."""

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from bench.filling import add_certificates, fill
from cardd.clock import ManualClock
from cardd.orders.filters import CertificateFilters
from cardd.orders.paging import PageRequest
from cardd.orders.types import CertificateState
from tests.support.igc import PREPARED, TestPki, quick_pki
from tests.support.orders import World, open_world

COUNT = 400


@pytest.fixture(scope="module")
def pki() -> Iterator[TestPki]:
    with quick_pki() as made:
        yield made


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(PREPARED + timedelta(hours=1))


@pytest.fixture
async def serial(tmp_path: Path, clock: ManualClock, pki: TestPki) -> str:
    """A certificate in the store of a daemon that does not run."""
    world = await open_world(tmp_path, clock, pki)
    await world.authorise()
    retrieved = await world.retrieve()
    await world.store.close()
    return retrieved.serial


@pytest.fixture
async def opened(tmp_path: Path, clock: ManualClock, pki: TestPki) -> AsyncIterator[list[World]]:
    """Where a test puts the world that it opens again."""
    worlds: list[World] = []
    yield worlds
    for world in worlds:
        await world.store.close()


def scheme(state: Path) -> dict[str, str]:
    """Return the statements that made the store's tables, indexes and triggers."""
    with closing(sqlite3.connect(state / "cardd.sqlite3")) as database:
        found = database.execute("SELECT name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_stat%'")
        return dict(found.fetchall())


async def found(world: World, q: str) -> list[str]:
    page = await world.certificates.list(CertificateFilters(q=q), PageRequest(limit=50))
    return [each.common_name for each in page.items]


async def test_a_filled_store_is_searched_and_takes_new_certificates(
    tmp_path: Path, clock: ManualClock, pki: TestPki, serial: str, opened: list[World]
) -> None:
    before = scheme(tmp_path)
    fill(tmp_path, COUNT)
    assert scheme(tmp_path) == before
    world = await open_world(tmp_path, clock, pki)
    opened.append(world)
    number = f"{COUNT // 2 + 1:07d}"
    (name,) = await found(world, number)
    assert name.endswith(number)
    assert await found(world, serial) != []
    new = await world.retrieve()
    assert new.common_name in await found(world, new.serial)


async def test_copies_of_a_certificate_are_in_force_and_revoked_as_asked(
    tmp_path: Path, clock: ManualClock, pki: TestPki, serial: str, opened: list[World]
) -> None:
    before = scheme(tmp_path)
    serials = add_certificates(tmp_path, serial, revoked=30, in_force=20)
    assert (len(set(serials)), scheme(tmp_path)) == (20, before)
    with closing(sqlite3.connect(tmp_path / "cardd.sqlite3")) as database:
        revoked = database.execute(
            "SELECT count(*) FROM certificates WHERE crl_entry IS NOT NULL AND revoked_at IS NOT NULL"
        ).fetchone()
    assert revoked == (30,)
    world = await open_world(tmp_path, clock, pki)
    opened.append(world)
    assert (await world.certificates.get(serials[0])).state is CertificateState.ACTIVE
