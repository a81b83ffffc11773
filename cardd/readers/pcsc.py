"""The few PC/SC calls that readers need, as a protocol that tests can play, and as pyscard makes them.

Only pyscard's lowest layer is used: its monitors poll, end for good when pcscd restarts, and tell cards
apart by reader and answer to reset, which all CPS3 share.
"""

import importlib
from collections.abc import Sequence
from enum import IntFlag
from types import ModuleType
from typing import Any, Final, NamedTuple, Protocol

from cardd.readers.errors import PcscCode, PcscError
from cardd.readers.handles import Turns
from cardd.readers.names import Context, ReaderName
from cardd.text import Text

PNP_NOTIFICATION: Final = ReaderName("\\\\?PnP?\\Notification")
"""The reader that is not one: its state changes when readers come or go."""


class StateFlag(IntFlag):
    """The low 16 bits of a reader's state (PC/SC part 5, SCardGetStatusChange)."""

    UNAWARE = 0x0000
    IGNORE = 0x0001
    CHANGED = 0x0002
    UNKNOWN = 0x0004
    """No reader of this name: it was unplugged."""
    UNAVAILABLE = 0x0008
    EMPTY = 0x0010
    PRESENT = 0x0020
    ATRMATCH = 0x0040
    EXCLUSIVE = 0x0080
    INUSE = 0x0100
    MUTE = 0x0200
    UNPOWERED = 0x0400


class ReaderStatus(NamedTuple):
    """One reader's state, as returned by a wait or as given to the next one."""

    reader: ReaderName
    flags: StateFlag = StateFlag.UNAWARE
    counter: int = 0
    """Insertions and removals that pcscd counted in this reader, modulo 2¹⁶ (the high 16 bits)."""
    atr: bytes = b""

    @property
    def acknowledged(self) -> "ReaderStatus":
        """The same state as the one to compare with in the next wait."""
        return self._replace(flags=self.flags & ~StateFlag.CHANGED)


class Connection(NamedTuple):
    """A shared connection to the card in a reader."""

    handle: int
    protocol: int


class PcscApi(Protocol):
    """PC/SC as far as it is used here; every call may block and raises `PcscError`."""

    def establish_context(self) -> Context:
        """SCardEstablishContext, for the system."""
        ...

    def release_context(self, context: Context) -> None:
        """SCardReleaseContext; never fails."""
        ...

    def list_readers(self, context: Context) -> list[ReaderName]:
        """SCardListReaders; an empty list where there is no reader."""
        ...

    def wait_for_change(
        self, context: Context, known: Sequence[ReaderStatus], timeout_seconds: float | None
    ) -> list[ReaderStatus]:
        """SCardGetStatusChange: return when a state differs from the `known` one; without a time-out, INFINITE."""
        ...

    def cancel(self, context: Context) -> None:
        """SCardCancel: end the wait that is under way on `context`; never fails, does nothing without one."""
        ...

    def connect(self, context: Context, reader: ReaderName) -> Connection:
        """SCardConnect, SHARED, T=0 or T=1."""
        ...

    def disconnect(self, connection: Connection) -> None:
        """SCardDisconnect, LEAVE; never fails."""
        ...

    def begin_transaction(self, connection: Connection) -> None:
        """SCardBeginTransaction: no other program speaks to the card until the end."""
        ...

    def end_transaction(self, connection: Connection) -> None:
        """SCardEndTransaction, LEAVE; never fails."""
        ...

    def transmit(self, connection: Connection, command: bytes) -> bytes:
        """SCardTransmit: send one command, return data and status word."""
        ...


class Availability(NamedTuple):
    """Whether PC/SC can be used on this machine, and a sentence about it."""

    usable: bool
    sentence: Text

    def __bool__(self) -> bool:
        return self.usable


def available() -> Availability:
    """Tell whether pyscard and the PC/SC library are installed; whether pcscd runs is another matter."""
    try:
        _load()
    except ImportError as error:
        return Availability(
            usable=False,
            sentence=Text(
                f"Card readers cannot be used: pyscard or the PC/SC library is missing ({error}). "
                "Install libpcsclite1 and pyscard.",
                f"Les lecteurs de cartes sont inutilisables : pyscard ou la bibliothèque PC/SC manque ({error}). "
                "Installez libpcsclite1 et pyscard.",
            ),
        )
    return Availability(
        usable=True, sentence=Text("Card readers can be used.", "Les lecteurs de cartes sont utilisables.")
    )


class SystemPcsc:
    """PC/SC of this machine, through pyscard's `smartcard.scard`, which lets other threads run in its calls."""

    def __init__(self) -> None:
        """Load the library.

        Raises:
            ImportError: see `available`.
        """
        self._scard: Any = _load()

    def establish_context(self) -> Context:
        """See `PcscApi.establish_context`."""
        result, context = self._scard.SCardEstablishContext(self._scard.SCARD_SCOPE_SYSTEM)
        _check(result, "SCardEstablishContext")
        return Context(context)

    def release_context(self, context: Context) -> None:
        """See `PcscApi.release_context`."""
        _turns.release(context, self._scard.SCardReleaseContext)

    def list_readers(self, context: Context) -> list[ReaderName]:
        """See `PcscApi.list_readers`."""
        result, names = self._scard.SCardListReaders(context, [])
        if result & 0xFFFFFFFF == PcscCode.NO_READERS_AVAILABLE:
            return []
        _check(result, "SCardListReaders")
        return [ReaderName(name) for name in names]

    def wait_for_change(
        self, context: Context, known: Sequence[ReaderStatus], timeout_seconds: float | None
    ) -> list[ReaderStatus]:
        """See `PcscApi.wait_for_change`."""
        timeout = self._scard.INFINITE if timeout_seconds is None else int(timeout_seconds * 1000)
        states = [(each.reader, each.flags | each.counter << 16) for each in known]
        result, returned = self._scard.SCardGetStatusChange(context, timeout, states)
        _check(result, "SCardGetStatusChange")
        return [_status(name, state, atr) for name, state, atr in returned]

    def cancel(self, context: Context) -> None:
        """See `PcscApi.cancel`."""
        self._scard.SCardCancel(context)

    def connect(self, context: Context, reader: ReaderName) -> Connection:
        """See `PcscApi.connect`."""
        protocols = self._scard.SCARD_PROTOCOL_T0 | self._scard.SCARD_PROTOCOL_T1
        with _turns.taken():
            result, handle, protocol = self._scard.SCardConnect(
                context, reader, self._scard.SCARD_SHARE_SHARED, protocols
            )
        _check(result, "SCardConnect")
        return Connection(handle, protocol)

    def disconnect(self, connection: Connection) -> None:
        """See `PcscApi.disconnect`."""
        with _turns.taken():
            self._scard.SCardDisconnect(connection.handle, self._scard.SCARD_LEAVE_CARD)

    def begin_transaction(self, connection: Connection) -> None:
        """See `PcscApi.begin_transaction`."""
        with _turns.taken():
            result = self._scard.SCardBeginTransaction(connection.handle)
        _check(result, "SCardBeginTransaction")

    def end_transaction(self, connection: Connection) -> None:
        """See `PcscApi.end_transaction`."""
        with _turns.taken():
            self._scard.SCardEndTransaction(connection.handle, self._scard.SCARD_LEAVE_CARD)

    def transmit(self, connection: Connection, command: bytes) -> bytes:
        """See `PcscApi.transmit`."""
        with _turns.taken():
            result, answer = self._scard.SCardTransmit(connection.handle, connection.protocol, list(command))
        _check(result, "SCardTransmit")
        return bytes(answer)


_turns: Final = Turns()
"""Of this process, like the library's own lists."""


def _load() -> ModuleType:
    return importlib.import_module("smartcard.scard")


def _check(result: int, call: str) -> None:
    if result != 0:
        raise PcscError(result, call)


def _status(name: str, state: int, atr: Sequence[int]) -> ReaderStatus:
    return ReaderStatus(ReaderName(name), StateFlag(state & 0xFFFF), state >> 16 & 0xFFFF, bytes(atr))
