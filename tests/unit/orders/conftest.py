"""A technical phase over a real store, SQLite and PostgreSQL; its PKI is made once a run, its tokens are in memory."""

from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from cardd.clock import ManualClock
from tests.support.igc import PREPARED, TestPki, quick_pki
from tests.support.orders import World, open_world


@pytest.fixture(scope="session")
def pki() -> Iterator[TestPki]:
    with quick_pki() as made:
        yield made


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(PREPARED + timedelta(hours=1))


@pytest.fixture
async def bare_world(
    tmp_path: Path, clock: ManualClock, pki: TestPki, each_store: str
) -> AsyncIterator[World]:
    """A world in which no habilitation was submitted."""
    world = await open_world(tmp_path, clock, pki)
    yield world
    await world.store.close()


@pytest.fixture
async def world(bare_world: World) -> World:
    """A world whose card is authorised for all offers of one structure."""
    await bare_world.authorise()
    return bare_world
