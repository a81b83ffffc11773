"""A real pcscd, confined, for each test; skipped with a sentence where a part is missing."""

import threading
from collections.abc import AsyncIterator, Iterator

import pytest

from cardd.readers.pcsc import SystemPcsc
from cardd.readers.registry import Readers
from cardd.virtualcard import ConfinedPcscd
from cardd.virtualcard.errors import ConfinementUnavailableError
from tests.support.pcscd import DIRECTORY, missing_part, turn
from tests.support.readers import Told

OUR_THREADS = {"reader watch", "reader watch stop", "card serial"}


@pytest.fixture
def pcscd_turn() -> Iterator[None]:
    """One pcscd at a time."""
    missing = missing_part()
    if missing is not None:
        pytest.skip(f"needs a real pcscd: {missing}")
    with turn():
        yield


@pytest.fixture
async def stopped_pcscd(pcscd_turn: None) -> AsyncIterator[ConfinedPcscd]:
    """A pcscd that can be started and is not running yet."""
    pcscd = ConfinedPcscd(DIRECTORY)
    yield pcscd
    await pcscd.stop()


@pytest.fixture
async def pcscd(stopped_pcscd: ConfinedPcscd) -> ConfinedPcscd:
    """A running pcscd with two empty virtual readers."""
    try:
        await stopped_pcscd.start()
    except ConfinementUnavailableError as error:
        pytest.skip(f"needs a real pcscd: {error.detail.en}")
    return stopped_pcscd


@pytest.fixture
async def told() -> Told:
    """What `readers` tells."""
    return Told()


@pytest.fixture
async def readers(pcscd_turn: None, told: Told) -> AsyncIterator[Readers]:
    """`Readers` over the real PC/SC; started by the test, stopped here. No thread of theirs is left."""
    readers = Readers(SystemPcsc())
    readers.on_change(told)
    yield readers
    await readers.stop()
    for thread in threading.enumerate():
        if thread.name in OUR_THREADS:
            thread.join(2)
    assert OUR_THREADS.isdisjoint(thread.name for thread in threading.enumerate())
