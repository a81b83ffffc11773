"""A cards room on tokens in memory, one a test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.cards import CardRoom, card_room, memory_hierarchy
from tests.support.igc import TestPki


@pytest.fixture(scope="session")
def hierarchy() -> TestPki:
    return memory_hierarchy()


@pytest.fixture
async def room(tmp_path: Path, hierarchy: TestPki) -> AsyncIterator[CardRoom]:
    async with card_room(tmp_path, hierarchy) as ready:
        yield ready
