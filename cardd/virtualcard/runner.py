"""A virtual card that can be put in a virtual reader, taken out and swapped: content, state and connection."""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Iterable
from datetime import timedelta
from enum import Enum
from typing import NoReturn

from cardd.clock import Clock, SystemClock
from cardd.virtualcard.card import Card
from cardd.virtualcard.codes import DEFAULT_COST
from cardd.virtualcard.content import CardContent
from cardd.virtualcard.errors import VirtualReaderUnavailableError
from cardd.virtualcard.faults import ConnectionLost, Fault, FaultPlan, MuteAtPowerOn, Silent, Slow
from cardd.virtualcard.state import StateStore
from cardd.virtualcard.traffic import TrafficLog
from cardd.virtualcard.vpcd import Connector, Control, ReaderClosedError, VpcdLink, tcp_connector

_log = logging.getLogger("cardd.virtualcard")
_traffic = logging.getLogger("cardd.virtualcard.traffic")

_LONGEST_ATR = 33
_FIRST_WAIT = timedelta(seconds=0.1)
_LONGEST_WAIT = timedelta(seconds=2)


class CardEvent(Enum):
    """What befell the card, for whoever compares it with what a reader saw."""

    INSERTED = "inserted"
    REMOVED = "removed"
    """Taken out, or its connection lost by a fault."""
    READER_GONE = "reader_gone"
    """pcscd stopped; the card enters again by itself when it is back."""


class VirtualCard:
    """One card and the reader it goes into.

    Insertion and removal are told to `observer` in their order. Commands run in a thread, one at a
    time: keys and the state's storage may block.
    """

    def __init__(
        self,
        content: CardContent,
        store: StateStore,
        *,
        connector: Connector | None = None,
        faults: Iterable[Fault] = (),
        clock: Clock | None = None,
        code_cost: int = DEFAULT_COST,
        observer: Callable[[CardEvent], None] = lambda _: None,
    ) -> None:
        """Prepare the card; nothing is read or connected before `insert`.

        `connector` reaches the reader (by default the first one of this machine).
        """
        self.content = content
        self._store = store
        self._connect = connector or tcp_connector()
        self._faults = tuple(faults)
        self._clock = clock or SystemClock()
        self._code_cost = code_cost
        self._observer = observer
        self._busy = threading.Lock()
        self._moving = asyncio.Lock()
        self._link: VpcdLink | None = None
        self._felt = asyncio.Event()
        self._serving: asyncio.Task[None] | None = None

    @property
    def is_inserted(self) -> bool:
        """Whether the card is in the reader, or waits there for a reader that is gone to come back."""
        return self._serving is not None and not self._serving.done()

    @property
    def is_connected(self) -> bool:
        """Whether the reader holds the card now."""
        return self._link is not None

    async def wait_until_felt(self) -> None:
        """Wait until the reader has noticed the card; a card removed before leaves no trace at pcscd."""
        await self._felt.wait()

    def set_faults(self, faults: Iterable[Fault]) -> None:
        """Replace the faults; they are in force from the next insertion."""
        self._faults = tuple(faults)

    async def insert(self) -> None:
        """Put the card in its reader; it stays until removed, also across restarts of pcscd.

        Raises:
            VirtualReaderUnavailableError: no reader listens.
            CardStateError: the card's state cannot be read.
        """
        async with self._moving:
            if self.is_inserted:
                return
            card = await asyncio.to_thread(self._make_card)
            link = VpcdLink(await self._connect())
            self._enter(link)
            self._serving = asyncio.create_task(self._serve(card, link), name="virtual card")

    async def remove(self) -> None:
        """Take the card out, whatever it is doing; nothing happens when it is not in."""
        async with self._moving:
            serving, self._serving = self._serving, None
            if serving is not None:
                serving.cancel()
                await asyncio.wait([serving])
            self._leave(CardEvent.REMOVED)

    async def swap(self, other: "VirtualCard") -> None:
        """Take this card out and put `other` into its reader, at once.

        Raises:
            VirtualReaderUnavailableError: no reader listens any more.
        """
        await self.remove()
        await other.insert()

    async def __aenter__(self) -> "VirtualCard":
        await self.insert()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.remove()

    def _enter(self, link: VpcdLink) -> None:
        self._link = link
        self._felt.clear()
        self._observer(CardEvent.INSERTED)

    def _leave(self, why: CardEvent) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.close()
            self._observer(why)

    def _make_card(self) -> Card:
        """Make the card from its state, once the last command of its former stay is over."""
        with self._busy:
            return Card(self.content, self._store, faults=FaultPlan(self._faults), code_cost=self._code_cost)

    async def _serve(self, card: Card, link: VpcdLink) -> None:
        """Answer the reader until removed; look for it again when it is gone."""
        try:
            while True:
                with contextlib.suppress(ReaderClosedError):
                    await _Session(card, link, self._clock, self._busy, self._felt).run()
                _log.info("the virtual reader is gone, card %s waits", self.content.profile.serial)
                self._leave(CardEvent.READER_GONE)
                link = await self._find_reader()
                self._enter(link)
        except _PulledError:
            _log.info("a fault takes card %s out", self.content.profile.serial)
        finally:
            self._leave(CardEvent.REMOVED)

    async def _find_reader(self) -> VpcdLink:
        wait = _FIRST_WAIT
        while True:
            await self._clock.pause(wait)
            with contextlib.suppress(VirtualReaderUnavailableError):
                return VpcdLink(await self._connect())
            wait = min(wait * 2, _LONGEST_WAIT)


class _PulledError(Exception):
    """A fault takes the card out of the reader."""


class _Session:
    """One stay in the reader."""

    def __init__(
        self, card: Card, link: VpcdLink, clock: Clock, busy: threading.Lock, felt: asyncio.Event
    ) -> None:
        self._card = card
        self._link = link
        self._clock = clock
        self._busy = busy
        self._felt = felt
        self._traffic = TrafficLog(_traffic)
        self._atr_is_due = False

    async def run(self) -> None:
        """Answer until the link breaks."""
        await asyncio.to_thread(self._reset)
        while True:
            payload = await self._link.receive()
            self._felt.set()
            if len(payload) == 1:
                await self._control(payload[0])
            elif payload:
                await self._exchange(payload)

    async def _control(self, control: int) -> None:
        match control:
            case Control.POWER_OFF | Control.POWER_ON | Control.RESET:
                await asyncio.to_thread(self._reset)
                self._atr_is_due = control != Control.POWER_OFF
            case Control.GET_ATR:
                await self._link.send(self._atr())
                self._atr_is_due = False

    def _atr(self) -> bytes:
        """A mute card answers polls, so that it is felt, but its answer to power is too long for pcscd to take.

        No answer at all, or an empty one, would be a removal to vpcd.
        """
        if self._atr_is_due and self._card.faults.standing(MuteAtPowerOn):
            return bytes(_LONGEST_ATR + 1)
        return self._card.atr

    async def _exchange(self, command: bytes) -> None:
        faults = self._card.faults
        lost = faults.strike(ConnectionLost, command)
        slow = faults.strike(Slow, command)
        if lost is not None and not lost.after_execution:
            raise _PulledError
        if faults.strike(Silent, command) is not None:
            await self._stay_silent()
        answer = await asyncio.to_thread(self._transmit, command)
        if slow is not None:
            await self._clock.pause(timedelta(seconds=slow.seconds))
        if lost is not None:
            raise _PulledError
        await self._link.send(answer)

    async def _stay_silent(self) -> NoReturn:
        """Answer nothing more until the reader or the card goes."""
        while True:
            await self._link.receive()

    def _transmit(self, command: bytes) -> bytes:
        with self._busy:
            answer = self._card.transmit(command)
            self._traffic.log(command, answer)
            return answer

    def _reset(self) -> None:
        with self._busy:
            self._card.reset()
