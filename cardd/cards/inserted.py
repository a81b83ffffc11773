"""The cards in PC/SC readers: told by the readers' watch, read through the modules that drive them.

A card is its serial, read anew at each insertion. When it leaves, it is gone from here before anything else is
done, what waits on it is interrupted, and its module is made to forget it: some answer from their caches.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final

import structlog

from cardd.cards.access import CardAccess, pin_of
from cardd.cards.modules import CardModule, CardModules
from cardd.cards.pin import pin_view
from cardd.cards.recognition import CardFindings, recognise
from cardd.cards.types import Capability, CardSerial, PinView, ReaderView
from cardd.errors import CarddError
from cardd.events import EventType
from cardd.readers import (
    CardGeneration,
    CardIdentified,
    CardInserted,
    CardRemoved,
    ReaderAdded,
    ReaderChanged,
    ReaderName,
    ReaderRemoved,
    Readers,
    ReadersEvent,
    ReaderState,
    ServiceDown,
    ServiceUp,
)
from cardd.store import Store
from cardd.text import Text
from cardd_pkcs11.errors import TokenError
from cardd_pkcs11.types import Secret, TokenInfo, TokenSerial

#: A module sees a card a little after pcscd tells of it.
READ_ATTEMPTS: Final = 6
_PAUSE_SECONDS: Final = 0.25
#: How long a question about a card waits for the card to be read.
READ_WITHIN_SECONDS: Final = 5.0

#: Cuts short, at once and without waiting, what is being done with a card.
Interrupt = Callable[[CardSerial], None]
#: Records that a card left.
Departure = Callable[[CardSerial], Awaitable[None]]

_log = structlog.get_logger(__name__)


@dataclass(eq=False)
class InsertedCard:
    """One stay of a card in a reader, and what was read of it so far."""

    reader: ReaderName
    serial: CardSerial
    generation: CardGeneration
    module: CardModule | None = None
    token: TokenSerial | None = None
    findings: CardFindings = field(default_factory=CardFindings)
    pin: PinView | None = None
    capabilities: tuple[Capability, ...] = ()
    #: Why it could not be read.
    problem: Text | None = None
    reading: asyncio.Task[None] | None = None

    @property
    def access(self) -> CardAccess | None:
        """The way to the card, None while no module has been seen to drive it."""
        if self.module is None or self.token is None:
            return None
        module, token = self.module, self.token

        async def unblock(puk: Secret, new: Secret) -> None:
            await module.unblock(token, puk, new)

        return CardAccess(
            tokens=module.pool,
            token_serial=token,
            module=module.name,
            tries=module.profile.max_pin_tries,
            counts_tries=True,
            unblock=unblock,
        )


class InsertedCards:
    """The readers and the cards in them. Give its `hear` to `Readers.on_change`, or call `attach`."""

    def __init__(self, store: Store, modules: CardModules) -> None:
        self._store = store
        self.modules = modules
        self._readers: Readers | None = None
        self._stays: dict[ReaderName, InsertedCard] = {}
        self._interrupts: list[Interrupt] = []
        self._departures: list[Departure] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def attach(self, readers: Readers) -> None:
        """Listen to the readers' watch, before it starts."""
        self._readers = readers
        readers.on_change(self.hear)

    def when_removed(self, interrupt: Interrupt, departure: Departure) -> None:
        """Call these for each card that leaves, the first at once."""
        self._interrupts.append(interrupt)
        self._departures.append(departure)

    async def close(self) -> None:
        """Read no card any more."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def service_is_up(self) -> bool | None:
        """Whether pcscd answers, None where no reader is watched."""
        return None if self._readers is None else self._readers.service_is_up

    def readers(self) -> list[ReaderView]:
        """Return every reader, by name."""
        return [] if self._readers is None else [_reader_view(state) for state in self._readers.states()]

    def find(self, serial: str) -> InsertedCard | None:
        """Return a card that is in a reader now."""
        return next((stay for stay in self._stays.values() if stay.serial == serial), None)

    def cards(self) -> tuple[InsertedCard, ...]:
        """Return the cards that are in readers now and have told their serial."""
        return tuple(self._stays.values())

    async def read(self, *serials: str) -> None:
        """Wait until these cards, or all where none is named, were read as far as they can be."""
        pending = [
            stay.reading
            for stay in self._stays.values()
            if stay.reading is not None and (not serials or stay.serial in serials)
        ]
        if pending:
            await asyncio.wait(pending, timeout=READ_WITHIN_SECONDS)

    async def refresh(self, serial: CardSerial) -> None:
        """Read a card's objects again, which show more after a login.

        Raises:
            TokenError
        """
        stay = self.find(serial)
        if stay is None or stay.module is None or stay.token is None:
            return
        findings = recognise(await stay.module.pool.list_objects(stay.token))
        if findings.credentials:
            stay.findings = findings

    def learn_tries(self, serial: CardSerial, left: int) -> None:
        """Keep what a card has answered about its PIN."""
        stay = self.find(serial)
        if stay is not None and stay.module is not None:
            stay.pin = pin_view(left, stay.module.profile.max_pin_tries)

    def learn_capabilities(self, serial: CardSerial, able: tuple[Capability, ...]) -> None:
        """Keep what a card's keys can do, for as long as it stays."""
        stay = self.find(serial)
        if stay is not None:
            stay.capabilities = able

    async def hear(self, event: ReadersEvent) -> None:
        """Take what the readers' watch tells."""
        match event:
            case CardInserted():
                if event.serial is not None:
                    await self._arrived(event.reader, event.serial, event.generation)
            case CardIdentified():
                state = None if self._readers is None else self._readers.state(event.reader)
                generation = CardGeneration.UNKNOWN if state is None else state.generation
                await self._arrived(event.reader, event.serial, generation)
            case CardRemoved():
                await self._left(event.reader)
            case ReaderAdded(reader):
                await self._publish(EventType.READER_ADDED, reader)
            case ReaderRemoved(reader):
                await self._left(reader)
                await self._publish(EventType.READER_REMOVED, reader)
            case ReaderChanged(reader, state):
                view = _reader_view(state)
                await self._publish(
                    EventType.READER_CHANGED,
                    reader,
                    state=view.state,
                    card=view.card,
                    generation=view.generation,
                    atr=view.atr,
                )
            case ServiceDown(reason):
                await self._publish(
                    EventType.READER_SERVICE_DOWN, None, reason={"en": reason.en, "fr": reason.fr}
                )
            case ServiceUp():
                await self._publish(EventType.READER_SERVICE_UP, None)

    async def _arrived(self, reader: ReaderName, serial: str, generation: CardGeneration) -> None:
        stay = self._stays[reader] = InsertedCard(reader, CardSerial(serial), generation)
        stay.reading = self._begin(self._read(stay), "card reading")
        async with self._store.transaction() as tx:
            tx.journal("card.inserted", f"card:{serial}", reader=reader)
            tx.publish(EventType.CARD_INSERTED, f"card:{serial}", reader=reader, generation=generation.value)

    async def _left(self, reader: ReaderName) -> None:
        stay = self._stays.pop(reader, None)
        if stay is None:
            return
        if stay.reading is not None:
            stay.reading.cancel()
        for interrupt in self._interrupts:
            interrupt(stay.serial)
        if stay.module is not None and stay.token is not None:
            self._begin(_forget(stay.module, stay.token), "card forgetting")
        async with self._store.transaction() as tx:
            tx.journal("card.removed", f"card:{stay.serial}", reader=reader)
            tx.publish(EventType.CARD_REMOVED, f"card:{stay.serial}", reader=reader)
        for departure in self._departures:
            await departure(stay.serial)

    async def _read(self, stay: InsertedCard) -> None:
        """Find the first module that sees the card, and read what it shows without a PIN."""
        modules = self.modules.driving(stay.generation)
        if not modules:
            stay.problem = _no_module(self.modules)
        for attempt in range(READ_ATTEMPTS if modules else 0):
            if attempt:
                await asyncio.sleep(_PAUSE_SECONDS)
            for module in modules:
                try:
                    if await _read_through(module, stay, refresh=attempt > 0):
                        await self._tell_read(stay)
                        return
                except TokenError as error:
                    stay.problem = _unreadable(module, error)
                    _log.info("cards.not_read", reader=stay.reader, module=module.name, why=str(error))
        stay.problem = stay.problem or _not_seen(modules)
        await self._tell_read(stay)

    async def _tell_read(self, stay: InsertedCard) -> None:
        if self._stays.get(stay.reader) is not stay:
            return
        findings = stay.findings
        async with self._store.transaction() as tx:
            tx.publish(
                EventType.CARD_READ,
                f"card:{stay.serial}",
                reader=stay.reader,
                module=None if stay.module is None else stay.module.name,
                environment=findings.environment.value,
                certificates=len(findings.credentials),
            )

    async def _publish(self, event: EventType, reader: ReaderName | None, **data: Any) -> None:
        subject = "readers" if reader is None else f"reader:{reader}"
        named = {} if reader is None else {"reader": reader}
        async with self._store.transaction() as tx:
            tx.publish(event, subject, **named, **data)

    def _begin(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            shown = error.code if isinstance(error, CarddError) else type(error).__name__
            _log.warning("cards.background_work_failed", work=task.get_name(), why=shown)


async def _read_through(module: CardModule, stay: InsertedCard, *, refresh: bool) -> bool:
    """Read a card through one module; False where the module does not see it."""
    token = await _find(module, stay.serial, refresh=refresh)
    if token is None:
        return False
    await module.pool.forget(token.serial)
    findings = recognise(await module.pool.list_objects(token.serial))
    stay.module, stay.token, stay.findings, stay.problem = module, token.serial, findings, None
    stay.pin = pin_of(token.user_pin, module.profile.max_pin_tries)
    return True


async def _find(module: CardModule, serial: CardSerial, *, refresh: bool) -> TokenInfo | None:
    for token in await module.pool.list_tokens(refresh=refresh):
        if module.card_serial(token.serial) == serial:
            return token
    return None


async def _forget(module: CardModule, token: TokenSerial) -> None:
    """Drop sessions and caches of a card that left."""
    try:
        await module.pool.forget(token)
    except TokenError as error:
        _log.info("cards.not_forgotten", module=module.name, why=error.code)


def _reader_view(state: ReaderState) -> ReaderView:
    is_known = state.generation is not CardGeneration.UNKNOWN
    return ReaderView(
        name=state.name,
        state=state.state.value,
        card=None if state.serial is None else CardSerial(state.serial),
        generation=state.generation.value if is_known else None,
        atr=state.atr.hex() or None,
    )


def _no_module(modules: CardModules) -> Text:
    missing = ", ".join(each.name for each in modules.missing)
    hint = Text(f" Missing: {missing}." if missing else "", f" Absents : {missing}." if missing else "")
    return Text(
        f"No PKCS#11 module here drives this card.{hint.en}",
        f"Aucun module PKCS#11 présent ne pilote cette carte.{hint.fr}",
    )


def _not_seen(modules: tuple[CardModule, ...]) -> Text:
    names = ", ".join(module.name for module in modules)
    return Text(f"{names} does not see the card.", f"{names} ne voit pas la carte.")


def _unreadable(module: CardModule, error: TokenError) -> Text:
    return Text(
        f"{module.name} could not read the card: {error}.",
        f"{module.name} n’a pas pu lire la carte : {error}.",
    )
