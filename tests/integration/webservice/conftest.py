"""One served web service for all generated calls."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import pytest

from cardd.cards.sessions import CardSession
from cardd.cards.types import CardSessionId
from tests.support.served import Served, served
from tests.support.webservice import CARD, START, Sessions

#: A card session that is always open.
SESSION = "00" * 16


@dataclass
class _EverOpen(Sessions):
    async def get(self, session_id: str) -> CardSession:
        if session_id != SESSION:
            return await super().get(session_id)
        return CardSession(
            id=CardSessionId(SESSION),
            card_serial=CARD,
            expires_at=START + timedelta(hours=1),
        )


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("webservice"), sessions=_EverOpen()) as found:
        yield found
