"""Cards in a real pcscd's readers, driven by OpenSC; skipped with a sentence where a part is missing."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cardd.virtualcard.errors import ConfinementUnavailableError
from cardd_pkcs11.errors import ModuleMissingError
from cardd_pkcs11.profiles import load_profile
from tests.support.cardreaders import ReaderRoom, reader_room
from tests.support.cards import memory_hierarchy
from tests.support.igc import TestPki
from tests.support.pcscd import missing_part, turn


@pytest.fixture(scope="session")
def hierarchy() -> TestPki:
    return memory_hierarchy()


@pytest.fixture
async def room(tmp_path: Path, hierarchy: TestPki) -> AsyncIterator[ReaderRoom]:
    missing = missing_part()
    if missing is not None:
        pytest.skip(f"needs a real pcscd: {missing}")
    try:
        load_profile("opensc").locate()
    except ModuleMissingError as error:
        pytest.skip(f"needs OpenSC: {error}")
    with turn():
        try:
            async with reader_room(tmp_path, hierarchy) as ready:
                yield ready
        except ConfinementUnavailableError as error:
            pytest.skip(f"needs a real pcscd: {error.detail.en}")
