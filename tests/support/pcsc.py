"""PC/SC in memory: readers, cards and a service that dies, behaving as pcsc-lite was seen to."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count

from cardd.readers.errors import PcscCode, PcscError
from cardd.readers.names import Context, ReaderName
from cardd.readers.pcsc import PNP_NOTIFICATION, Connection, ReaderStatus, StateFlag

CPS3 = bytes.fromhex("3BAC00402A001225006480000310009000")
CPS3_CONTACTLESS = bytes.fromhex("3B8F80010031B86404B0ECC1739401808290000E")
CPS4 = bytes.fromhex("3B9B188001001225006480040100009044")
CPS2TER = bytes.fromhex("3BAC00402A001225006480820212009000")
BANK_CARD = bytes.fromhex("3B6500002063CB6800")

SELECT_ROOT = bytes.fromhex("00A4040C088025000001FF0100")
READ_EF_SN = bytes.fromhex("00B09C000C")


def ef_sn(serial: str) -> bytes:
    """Return EF.SN of a card; its check digit is not computed."""
    return bytes.fromhex(f"5A0A8025000001{serial}0F")


@dataclass
class FakeCard:
    """A card that answers its ATR and, as a CPS3 does, the two commands that read its number."""

    serial: str = "12345678"
    atr: bytes = CPS3
    is_mute: bool = False
    answers: dict[bytes, bytes] = field(default_factory=dict)
    before_answering: Callable[[bytes], None] = lambda _: None
    commands: list[bytes] = field(default_factory=list)

    def transmit(self, command: bytes) -> bytes:
        self.commands.append(command)
        self.before_answering(command)
        usual = {SELECT_ROOT: b"\x90\x00", READ_EF_SN: ef_sn(self.serial) + b"\x90\x00"}
        return (usual | self.answers).get(command, b"\x6d\x00")


@dataclass
class _Reader:
    counter: int = 0
    card: FakeCard | None = None
    is_exclusive: bool = False
    is_unavailable: bool = False

    def status(self, name: ReaderName) -> ReaderStatus:
        if self.is_unavailable:
            return ReaderStatus(name, StateFlag.UNAVAILABLE)
        if self.card is None:
            return ReaderStatus(name, StateFlag.EMPTY, self.counter)
        flags = StateFlag.PRESENT
        flags |= StateFlag.EXCLUSIVE if self.is_exclusive else StateFlag.UNAWARE
        if self.card.is_mute:
            return ReaderStatus(name, flags | StateFlag.MUTE, self.counter)
        return ReaderStatus(name, flags, self.counter, self.card.atr)


class FakePcsc:
    """One machine's PC/SC. Moves made inside `unseen()` become visible all at once."""

    def __init__(self, *readers: str, is_running: bool = True) -> None:
        self._changed = threading.Condition(threading.RLock())
        self._readers = {ReaderName(name): _Reader() for name in readers}
        self._is_running = is_running
        self._handles = count(1)
        self._contexts: dict[Context, bool] = {}
        self._lost_contexts: set[Context] = set()
        self._connections: dict[int, tuple[ReaderName, FakeCard]] = {}
        self._timed_out = False
        self._waiting = 0
        self._failures: list[BaseException] = []
        self.lost_cancellations = 0
        self.waits: list[float | None] = []
        self.transactions = 0

    @property
    def open_contexts(self) -> int:
        return len(self._contexts)

    @property
    def open_connections(self) -> int:
        return len(self._connections)

    @contextmanager
    def unseen(self) -> Iterator[None]:
        with self._changed:
            yield

    def plug(self, name: str, *, quietly: bool = False) -> None:
        """Add a reader; `quietly` as when it came just before the wait began."""
        with self._changed:
            self._readers[ReaderName(name)] = _Reader()
            if not quietly:
                self._changed.notify_all()

    def unplug(self, name: str) -> None:
        with self._moved():
            del self._readers[ReaderName(name)]

    def insert(self, name: str, card: FakeCard | None = None) -> FakeCard:
        with self._moved():
            reader = self._readers[ReaderName(name)]
            reader.card = card or FakeCard()
            reader.counter += 1
            return reader.card

    def remove(self, name: str) -> None:
        with self._moved():
            reader = self._readers[ReaderName(name)]
            reader.card = None
            reader.counter += 1

    def set_exclusive(self, name: str, *, to: bool) -> None:
        with self._moved():
            self._readers[ReaderName(name)].is_exclusive = to

    def set_unavailable(self, name: str, *, to: bool) -> None:
        with self._moved():
            self._readers[ReaderName(name)].is_unavailable = to

    def revive(self, name: str) -> None:
        """A mute card answers after all, without being moved."""
        with self._moved():
            card = self._readers[ReaderName(name)].card
            assert card is not None
            card.is_mute = False

    def kill(self) -> None:
        with self._moved():
            self._is_running = False
            self._lost_contexts |= set(self._contexts)

    def start_service(self) -> None:
        with self._moved():
            self._is_running = True
            for reader in self._readers.values():
                reader.counter = 1 if reader.card else 0

    def time_out(self) -> None:
        """End the wait under way as if its time were over."""
        with self._moved():
            self._timed_out = True

    def until_waiting(self) -> None:
        """Block until somebody waits for a change."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._waiting > 0, 10)

    def fail_next_wait(self, error: BaseException) -> None:
        with self._moved():
            self._failures.append(error)

    @contextmanager
    def _moved(self) -> Iterator[None]:
        with self._changed:
            yield
            self._changed.notify_all()

    def establish_context(self) -> Context:
        with self._changed:
            if not self._is_running:
                raise PcscError(PcscCode.NO_SERVICE, "SCardEstablishContext")
            context = Context(next(self._handles))
            self._contexts[context] = False
            return context

    def release_context(self, context: Context) -> None:
        with self._changed:
            del self._contexts[context]

    def list_readers(self, context: Context) -> list[ReaderName]:
        with self._changed:
            self._check(context)
            return list(self._readers)

    def wait_for_change(
        self, context: Context, known: Sequence[ReaderStatus], timeout_seconds: float | None
    ) -> list[ReaderStatus]:
        with self._changed:
            self.waits.append(timeout_seconds)
            self._check(context)
            if any(each.reader not in {*self._readers, PNP_NOTIFICATION} for each in known):
                raise PcscError(PcscCode.UNKNOWN_READER, "SCardGetStatusChange")
            number = len(self._readers)
            while True:
                returned = [self._compared(each, number) for each in known]
                if any(StateFlag.CHANGED in each.flags for each in returned):
                    return returned
                self._waiting += 1
                self._changed.notify_all()
                in_time = self._changed.wait(timeout_seconds)
                self._waiting -= 1
                if self._failures:
                    raise self._failures.pop(0)
                if context in self._lost_contexts:
                    raise PcscError(PcscCode.COMM_ERROR, "SCardGetStatusChange")
                if self._contexts[context]:
                    self._contexts[context] = False
                    raise PcscError(PcscCode.CANCELLED, "SCardGetStatusChange")
                if self._timed_out or not in_time:
                    self._timed_out = False
                    raise PcscError(PcscCode.TIMEOUT, "SCardGetStatusChange")

    def cancel(self, context: Context) -> None:
        with self._moved():
            if self.lost_cancellations:
                self.lost_cancellations -= 1
            elif context in self._contexts:
                self._contexts[context] = True

    def connect(self, context: Context, reader: ReaderName) -> Connection:
        with self._changed:
            self._check(context)
            found = self._readers.get(reader)
            if found is None:
                raise PcscError(PcscCode.UNKNOWN_READER, "SCardConnect")
            if found.card is None:
                raise PcscError(PcscCode.NO_SMARTCARD, "SCardConnect")
            if found.is_exclusive:
                raise PcscError(PcscCode.SHARING_VIOLATION, "SCardConnect")
            handle = next(self._handles)
            self._connections[handle] = (reader, found.card)
            return Connection(handle, 1)

    def disconnect(self, connection: Connection) -> None:
        with self._changed:
            del self._connections[connection.handle]

    def begin_transaction(self, connection: Connection) -> None:
        assert connection.handle in self._connections
        self.transactions += 1

    def end_transaction(self, connection: Connection) -> None:
        assert connection.handle in self._connections
        self.transactions -= 1

    def transmit(self, connection: Connection, command: bytes) -> bytes:
        reader, card = self._connections[connection.handle]
        answer = card.transmit(command)
        with self._changed:
            if not self._is_running:
                raise PcscError(PcscCode.COMM_ERROR, "SCardTransmit")
            if reader not in self._readers or self._readers[reader].card is not card:
                raise PcscError(PcscCode.REMOVED_CARD, "SCardTransmit")
        return answer

    def _check(self, context: Context) -> None:
        if not self._is_running or context in self._lost_contexts:
            raise PcscError(PcscCode.NO_SERVICE, "any call")

    def _compared(self, known: ReaderStatus, number: int) -> ReaderStatus:
        if known.reader == PNP_NOTIFICATION:
            changed = StateFlag.CHANGED if len(self._readers) != number else StateFlag.UNAWARE
            return ReaderStatus(PNP_NOTIFICATION, changed)
        reader = self._readers.get(known.reader)
        if reader is None:
            gone = StateFlag.UNKNOWN | StateFlag.UNAVAILABLE | StateFlag.CHANGED
            return ReaderStatus(known.reader, gone)
        status = reader.status(known.reader)
        is_same = status.flags == known.flags and status.counter == known.counter
        return status if is_same else status._replace(flags=status.flags | StateFlag.CHANGED)
