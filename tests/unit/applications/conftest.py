"""A store, a clock and the rooms of applications."""

import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cardd.applications.consent import Consents
from cardd.applications.pairing import Pairings
from cardd.applications.registry import Applications
from cardd.applications.types import ApprovalRequest, PairingRequest, PairingTicket, Scope
from cardd.clock import ManualClock
from cardd.events import EventBus
from cardd.store import Store
from tests.support.webservice import empty_database

START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
ORIGIN = "https://app.example"


@dataclass
class Rooms:
    store: Store
    bus: EventBus
    clock: ManualClock
    pairings: Pairings
    applications: Applications
    consents: Consents

    async def ask(
        self, name: str = "Logiciel", origin: str | None = ORIGIN, scopes: tuple[Scope, ...] = (Scope.READ,)
    ) -> PairingTicket:
        return await self.pairings.ask(PairingRequest(name=name, scopes=scopes, origin=origin), None)

    async def paired(self, *scopes: Scope, origin: str | None = ORIGIN, days: int | None = 90) -> str:
        """Pair an application, and return its token."""
        ticket = await self.ask(scopes=scopes or (Scope.READ,), origin=origin)
        await self.pairings.allow(ticket.id, ApprovalRequest(code=ticket.code, days=days))
        outcome = await self.pairings.fetch(ticket.id, ticket.secret)
        assert outcome.token is not None
        return outcome.token

    async def lines(self) -> list[tuple[str, str]]:
        return [
            (line.action, line.subject.partition(":")[0]) for line in reversed(await self.store.journal())
        ]


@pytest.fixture
async def rooms(tmp_path: Path) -> AsyncIterator[Rooms]:
    clock = ManualClock(START)
    shutil.copy(empty_database(), tmp_path / "cardd.sqlite3")
    bus = EventBus()
    store = await Store.open(tmp_path, clock, bus)
    applications = Applications(store, clock)
    pairings = Pairings(store, clock, applications)
    yield Rooms(store, bus, clock, pairings, applications, Consents(store, clock))
    await store.close()
