"""The readers of this machine and the cards in them, kept up to date in the event loop."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

import structlog

from cardd.readers.atr import identify
from cardd.readers.lanes import Lanes, Listener
from cardd.readers.names import ReaderName
from cardd.readers.pcsc import PcscApi
from cardd.readers.serial import CardSerial, Reading, ReadingOutcome, read_card_number
from cardd.readers.states import (
    AvailabilityChanged,
    CardArrived,
    CardFreed,
    CardLeft,
    ReaderAppeared,
    ReaderVanished,
)
from cardd.readers.threads import in_own_thread
from cardd.readers.types import (
    CardIdentified,
    CardInserted,
    CardRemoved,
    ReaderAdded,
    ReaderChanged,
    ReaderCondition,
    ReaderRemoved,
    ReaderState,
    ServiceDown,
    ServiceUp,
)
from cardd.readers.watch import ReaderWatch, ServiceFound, ServiceLost, StopSignal, WatchEvent

_log = structlog.get_logger(__name__)

SERIAL_DEADLINE_SECONDS: Final = 3.0
"""A card that has not told its serial by then is told inserted without one."""


@dataclass(eq=False)
class _Stay:
    """One card in one reader, from its arrival to its leaving."""

    counter: int
    is_announced: bool = False
    reading: asyncio.Task[None] | None = None


@dataclass
class _Slot:
    """A reader, and the stay of the card in it."""

    state: ReaderState
    stay: _Stay | None = field(default=None)


class Readers:
    """Every reader and what is in it, from `start` to `stop`.

    States change and removals are told as soon as pcscd says so; an insertion is told once the card's
    serial is read, at the latest after `serial_deadline_seconds`.
    """

    def __init__(
        self,
        api: PcscApi,
        *,
        serial_deadline_seconds: float = SERIAL_DEADLINE_SECONDS,
        stop_signal: StopSignal | None = None,
    ) -> None:
        self._api = api
        self._serial_deadline_seconds = serial_deadline_seconds
        self._watch = ReaderWatch(api, self._receive, stop_signal=stop_signal)
        self._slots: dict[ReaderName, _Slot] = {}
        self._lanes = Lanes()
        self._readings: set[asyncio.Task[None]] = set()
        self._service_is_up = False
        self._is_stopped = False

    async def start(self) -> None:
        """Begin to watch; what is there already is told as if it came now."""
        self._watch.start()

    async def stop(self) -> None:
        """End the watch and everything that was started; nothing is told any more."""
        self._is_stopped = True
        await self._watch.stop()
        for reading in set(self._readings):
            reading.cancel()
        await asyncio.gather(*self._readings, return_exceptions=True)
        await self._lanes.close()

    async def __aenter__(self) -> "Readers":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def service_is_up(self) -> bool:
        """Whether pcscd answers."""
        return self._service_is_up

    def states(self) -> tuple[ReaderState, ...]:
        """Return every reader's state, by name."""
        return tuple(self._slots[name].state for name in sorted(self._slots))

    def state(self, reader: ReaderName) -> ReaderState | None:
        """Return one reader's state, None when there is no such reader."""
        slot = self._slots.get(reader)
        return slot.state if slot is not None else None

    def reader_of(self, serial: CardSerial) -> ReaderName | None:
        """Return the reader that holds the card of this serial."""
        return next((each.name for each in self.states() if each.serial == serial), None)

    def on_change(self, callback: Listener) -> Callable[[], None]:
        """Call `callback` with every event from now on; return what ends that.

        It is called with the events of one reader in their order, one at a time; what it raises is logged.
        """
        return self._lanes.add(callback)

    async def settled(self) -> None:
        """Wait until no card's serial is being read and every listener has heard everything."""
        while self._readings:
            await asyncio.wait(set(self._readings))
        await self._lanes.settled()

    def _receive(self, events: list[WatchEvent]) -> None:
        if self._is_stopped:
            return
        for event in events:
            self._handle(event)

    def _handle(self, event: WatchEvent) -> None:
        match event:
            case ReaderAppeared(reader):
                self._slots[reader] = _Slot(ReaderState(reader))
                self._lanes.tell(ReaderAdded(reader))
            case ReaderVanished(reader):
                del self._slots[reader]
                self._lanes.tell(ReaderRemoved(reader))
            case CardArrived():
                self._card_arrived(self._slots[event.reader], event)
            case CardLeft(reader):
                self._card_left(self._slots[reader])
            case AvailabilityChanged(reader, is_available):
                condition = ReaderCondition.EMPTY if is_available else ReaderCondition.UNAVAILABLE
                self._show(self._slots[reader], ReaderState(reader, condition))
            case CardFreed(reader):
                self._card_freed(self._slots[reader])
            case ServiceLost(reason):
                self._service_is_up = False
                self._lanes.tell(ServiceDown(reason))
            case ServiceFound():
                self._service_is_up = True
                self._lanes.tell(ServiceUp())

    def _card_arrived(self, slot: _Slot, event: CardArrived) -> None:
        generation = identify(event.atr)
        condition = ReaderCondition.MUTE if event.is_mute else ReaderCondition.PRESENT
        stay = slot.stay = _Stay(event.counter)
        self._show(slot, ReaderState(event.reader, condition, event.atr, generation))
        if generation.has_readable_serial:
            self._read_serial(slot, stay)
        else:
            self._announce(slot, stay)

    def _card_left(self, slot: _Slot) -> None:
        stay, slot.stay = slot.stay, None
        if stay is not None:
            self._announce(slot, stay)
            if stay.reading is not None:
                stay.reading.cancel()
        self._lanes.tell(CardRemoved(slot.state.name, slot.state.serial))
        self._show(slot, ReaderState(slot.state.name))

    def _card_freed(self, slot: _Slot) -> None:
        """Read the serial that could not be read while another program had the card for itself."""
        stay = slot.stay
        is_due = slot.state.generation.has_readable_serial and slot.state.serial is None
        if stay is not None and is_due and (stay.reading is None or stay.reading.done()):
            self._read_serial(slot, stay)

    def _read_serial(self, slot: _Slot, stay: _Stay) -> None:
        stay.reading = asyncio.create_task(self._identify(slot, stay), name="card serial")
        self._readings.add(stay.reading)
        stay.reading.add_done_callback(self._readings.discard)

    async def _identify(self, slot: _Slot, stay: _Stay) -> None:
        """Read the serial and tell of the card; at the deadline tell of it without, and wait on."""
        reader = slot.state.name
        reading = asyncio.ensure_future(
            in_own_thread(lambda: read_card_number(self._api, reader, stay.counter), "card serial")
        )
        try:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(reading), self._serial_deadline_seconds)
            if not reading.done():
                self._announce(slot, stay)
            self._conclude(slot, stay, await reading)
        except Exception:  # noqa: BLE001 - whatever failed, the card is there and must be told
            _log.exception("card_serial_failed", reader=reader)
            self._announce(slot, stay)
        finally:
            reading.cancel()

    def _conclude(self, slot: _Slot, stay: _Stay, reading: Reading) -> None:
        if reading.number is None:
            if reading.outcome is not ReadingOutcome.REMOVED:
                _log.warning("card_serial_unread", reader=slot.state.name, reason=reading.reason)
            self._announce(slot, stay)
            return
        serial = reading.number.serial
        slot.state = replace(slot.state, serial=serial)
        # The card first: who waits for it need not wait until others have heard of the reader.
        if stay.is_announced:
            self._lanes.tell(CardIdentified(slot.state.name, serial))
        else:
            self._announce(slot, stay)
        self._lanes.tell(ReaderChanged(slot.state.name, slot.state))

    def _announce(self, slot: _Slot, stay: _Stay) -> None:
        """Tell of an insertion, once."""
        if stay.is_announced:
            return
        stay.is_announced = True
        state = slot.state
        is_mute = state.state is ReaderCondition.MUTE
        self._lanes.tell(CardInserted(state.name, state.atr, state.generation, state.serial, is_mute))

    def _show(self, slot: _Slot, state: ReaderState) -> None:
        if slot.state != state:
            slot.state = state
            self._lanes.tell(ReaderChanged(state.name, state))
