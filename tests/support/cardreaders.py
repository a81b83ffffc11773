"""The cards room with real readers: a confined pcscd, virtual cards, OpenSC in its host, and a PKI in memory."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

from cardd.cards.inserted import InsertedCards
from cardd.cards.modules import CardModules
from cardd.cards.personalisation import Personaliser
from cardd.cards.presence import Presence
from cardd.cards.sessions import CardSession, CardSessions, SessionParts
from cardd.cards.testcards import CardParts, TestCards
from cardd.cards.types import CardView, SessionRequest, TestCardRequest
from cardd.cards.virtualcards import VirtualCards
from cardd.clock import ManualClock, SystemClock
from cardd.custody.keys import KeyMaker
from cardd.custody.pins import PinVault
from cardd.events import EventBus
from cardd.igc.pki import Pki
from cardd.orders.habilitations import Habilitations
from cardd.readers import Readers, SystemPcsc
from cardd.settings import Settings
from cardd.store import Store
from cardd.virtualcard import VirtualReaders
from cardd_pkcs11.types import CustodyLevel
from tests.support.cards import FORM, MemoryPki, MemoryTokens
from tests.support.igc import PREPARED, TestPki
from tests.support.pcscd import DIRECTORY
from tests.support.virtualcard import CHEAP


@dataclass
class ReaderRoom:
    """Cards in virtual readers, ready."""

    store: Store
    bus: EventBus
    virtual: VirtualReaders
    virtual_cards: VirtualCards
    inserted: InsertedCards
    presence: Presence
    sessions: CardSessions
    cards: TestCards
    habilitations: Habilitations

    async def card(self, *, insert: bool = True, **fields: Any) -> CardView:
        """Make a virtual card of a new habilitation, and insert it."""
        approved = await self.habilitations.approve((await self.habilitations.submit(FORM)).id)
        request = TestCardRequest(habilitation=approved.id, medium="virtual", **fields)
        made = await self.cards.create(request)
        return await self.cards.insert(made.serial) if insert else made

    async def open(self, serial: str, pin: str = "1234", **fields: Any) -> CardSession:
        """Open a session."""
        return await self.sessions.open(serial, SessionRequest(pin=pin, **fields))

    async def told(self, wanted: str, subject: str) -> None:
        """Wait until an event was published."""
        async with asyncio.timeout(20):
            with self.bus.subscribe() as events:
                past = await self.store.events_after(0)
                if any((each.type.value, each.subject) == (wanted, subject) for each in past):
                    return
                while True:
                    event = await events.next()
                    if (event.type.value, event.subject) == (wanted, subject):
                        return


@asynccontextmanager
async def reader_room(state: Path, hierarchy: TestPki) -> AsyncIterator[ReaderRoom]:
    """Run cards and readers over a state for the length of a block, as the daemon does."""
    clock, bus = ManualClock(PREPARED + timedelta(days=1)), EventBus()
    settings = Settings(state_dir=str(state), runtime_dir=str(state / "run"))
    store = await Store.open(state, clock, bus)
    virtual = VirtualReaders(DIRECTORY, state / "virtual-cards", SystemClock(), code_cost=CHEAP)
    environment = await virtual.start()
    modules = CardModules(("opensc", "cryptolib-cps"), state / "card-modules", environment)
    inserted = InsertedCards(store, modules)
    pki = cast("Pki", MemoryPki(hierarchy, clock))
    tokens, vault = MemoryTokens(), PinVault(state / "pins")
    habilitations = Habilitations(store, clock)
    sessions = CardSessions(
        SessionParts(
            store=store,
            clock=clock,
            settings=settings,
            tokens=tokens,
            pki=pki,
            habilitations=habilitations.of_card,
            vault=vault,
            inserted=inserted,
        )
    )
    virtual_cards = VirtualCards(store, pki, virtual, bus=bus, unavailable=None)
    cards = TestCards(
        CardParts(
            store=store,
            clock=clock,
            settings=settings,
            tokens=tokens,
            personaliser=Personaliser(tokens, vault, KeyMaker(tokens, CustodyLevel.SOFTWARE), pki),
            pki=pki,
            habilitations=habilitations,
            sessions=sessions,
            virtual=virtual_cards,
        )
    )
    readers = Readers(SystemPcsc())
    inserted.attach(readers)
    presence = Presence(store, inserted)
    try:
        async with readers:
            yield ReaderRoom(
                store, bus, virtual, virtual_cards, inserted, presence, sessions, cards, habilitations
            )
    finally:
        await sessions.stop()
        await inserted.close()
        await modules.close()
        await virtual.stop()
        await store.close()
