"""A served web service over rooms in memory."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.webservice import Running, running


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path) as started:
        yield started
