"""The thread that waits for readers and cards, and hands what happens to the event loop.

One thread, one context of its own, one blocking SCardGetStatusChange over every reader and the PnP
notification. Nothing is polled. When pcscd goes, every reader goes with it and a new context is tried,
first after 0.25 s, later every 5 s.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from cardd.readers.errors import PcscCode, PcscError
from cardd.readers.names import Context, ReaderName
from cardd.readers.pcsc import PNP_NOTIFICATION, PcscApi, ReaderStatus, StateFlag
from cardd.readers.states import ReaderEvent, after_listing, after_wait
from cardd.readers.threads import in_own_thread
from cardd.text import Text

_log = structlog.get_logger(__name__)

FIRST_PAUSE_SECONDS: Final = 0.25
LONGEST_PAUSE_SECONDS: Final = 5.0
#: pcsc-lite before 2.3 counts readers only from the start of a wait: one that was plugged in just before
#: it is missed. So after a change of readers the first wait is this short and the list is read once more.
SETTLING_SECONDS: Final = 2.0
_UNKNOWN_READER_PAUSE_SECONDS: Final = 0.05
_CANCEL_AGAIN_SECONDS: Final = 0.02


@dataclass(frozen=True)
class ServiceLost:
    """pcscd does not answer; told once, after all its readers are gone."""

    reason: Text


@dataclass(frozen=True)
class ServiceFound:
    """pcscd answers; its readers follow."""


WatchEvent = ReaderEvent | ServiceLost | ServiceFound
Receiver = Callable[[list[WatchEvent]], None]


class StopSignal(Protocol):
    """What `threading.Event` does: the pause of the back-off, which `set` ends."""

    def set(self) -> None:
        """Ask for the end."""
        ...

    def is_set(self) -> bool:
        """Whether the end was asked for."""
        ...

    def wait(self, timeout: float | None = None) -> bool:
        """Wait `timeout` seconds, less when the end is asked for; return whether it was."""
        ...


class ReaderWatch:
    """Watches until stopped; `receive` is called in the loop that started it, in the order of events."""

    def __init__(self, api: PcscApi, receive: Receiver, *, stop_signal: StopSignal | None = None) -> None:
        self._api = api
        self._receive = receive
        self._stop_signal = stop_signal or threading.Event()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._context: Context | None = None
        self._context_lock = threading.Lock()
        self._states: dict[ReaderName, ReaderStatus] = {}
        self._service_is_up: bool | None = None

    def start(self) -> None:
        """Start the thread; to be called once, from the loop."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="reader watch", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """End the thread, whatever it waits for."""
        self._stop_signal.set()
        thread = self._thread
        if thread is not None:
            await in_own_thread(lambda: self._cancel_until_ended(thread), "reader watch stop")

    def _cancel_until_ended(self, thread: threading.Thread) -> None:
        """Cancel as often as needed: a cancellation just before a wait begins is lost."""
        while thread.is_alive():
            with self._context_lock:
                if self._context is not None:
                    self._api.cancel(self._context)
            thread.join(_CANCEL_AGAIN_SECONDS)

    def _run(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        while not self._stop_signal.is_set():
            reached = False
            try:
                with self._open_context() as context:
                    self._list_readers(context)
                    reached = True
                    self._watch(context)
            except PcscError as error:
                self._lose_service(error.detail)
            except Exception as error:  # noqa: BLE001 - a thread that ends would blind the daemon without a word
                _log.exception("reader_watch_failed")
                self._lose_service(
                    Text(
                        f"The reader watch failed: {error}.",
                        f"La surveillance des lecteurs a échoué : {error}.",
                    )
                )
            if self._stop_signal.is_set():
                return
            pause = FIRST_PAUSE_SECONDS if reached else pause
            self._stop_signal.wait(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    @contextmanager
    def _open_context(self) -> Iterator[Context]:
        context = self._api.establish_context()
        with self._context_lock:
            self._context = context
        try:
            yield context
        finally:
            with self._context_lock:
                self._context = None
            self._api.release_context(context)

    def _watch(self, context: Context) -> None:
        """Wait and tell, until stopped or until a call fails for good."""
        has_settled = False
        pnp = ReaderStatus(PNP_NOTIFICATION)
        while not self._stop_signal.is_set():
            timeout = None if has_settled else SETTLING_SECONDS
            try:
                returned = self._api.wait_for_change(context, [*self._states.values(), pnp], timeout)
            except PcscError as error:
                has_settled = self._excuse(context, error, has_settled=has_settled)
                continue
            pnp = next((each for each in returned if each.reader == PNP_NOTIFICATION), pnp)
            events, self._states = after_wait(self._states, returned)
            self._tell(*events)
            if StateFlag.CHANGED in pnp.flags or any(StateFlag.UNKNOWN in each.flags for each in returned):
                self._list_readers(context)
                has_settled = False
            pnp = pnp.acknowledged

    def _excuse(self, context: Context, error: PcscError, *, has_settled: bool) -> bool:
        """Deal with a wait that ended without news; return whether the list of readers has settled.

        Raises:
            PcscError: `error`, when the context is of no more use.
        """
        match error.result:
            case PcscCode.TIMEOUT:
                return not self._list_readers(context)
            case PcscCode.UNKNOWN_READER:
                self._stop_signal.wait(_UNKNOWN_READER_PAUSE_SECONDS)
                self._list_readers(context)
                return False
            case PcscCode.CANCELLED:
                return has_settled
        raise error

    def _list_readers(self, context: Context) -> bool:
        """Read the list of readers; return whether it changed."""
        names = self._api.list_readers(context)
        events, self._states = after_listing(self._states, names)
        if self._service_is_up is not True:
            self._service_is_up = True
            self._tell(ServiceFound())
        self._tell(*events)
        return bool(events)

    def _lose_service(self, reason: Text) -> None:
        events, self._states = after_listing(self._states, ())
        self._tell(*events)
        if self._service_is_up is not False:
            self._service_is_up = False
            self._tell(ServiceLost(reason))

    def _tell(self, *events: WatchEvent) -> None:
        if not events or self._loop is None:
            return
        with contextlib.suppress(RuntimeError):  # the loop was closed without stopping the watch
            self._loop.call_soon_threadsafe(self._receive, list(events))
