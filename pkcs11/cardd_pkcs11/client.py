"""A token host seen from asyncio: started when first needed, one call at a time, killed when it hangs.

Calls are carried out in the order in which they were made. Where a module bears several hosts, a use of a key is sent
to its host while the use before it is carried out, so that the host need not wait for the loop between two of them.

Nothing is repeated that was begun. What a lost host was sent ahead is sent to its successor. A caller that goes away
does not disturb the stream: a call that was sent runs to its end or its deadline, and its answer is dropped.
"""

import asyncio
import os
import socket
import sys
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import msgspec
import structlog

from cardd_pkcs11 import protocol
from cardd_pkcs11.errors import DeadlineExceededError, HostLostError, ProtocolError, TokenError
from cardd_pkcs11.operations import TokenOperations
from cardd_pkcs11.policy import Deadlines
from cardd_pkcs11.profiles import ModuleProfile
from cardd_pkcs11.resources import source_root
from cardd_pkcs11.types import ModuleInfo

T = TypeVar("T")

_log = structlog.get_logger("cardd_pkcs11.client")

#: What every host inherits of the daemon's environment; the rest comes from its profile and from the caller.
_INHERITED = ("PATH", "LANG")

#: Seconds that a host has to finalise its module and leave when it is closed.
_LEAVING = 5.0

#: What is sent ahead, and how many at once: uses of keys, which change nothing on a token.
_SENT_AHEAD = (protocol.Sign, protocol.Decrypt)
_AHEAD = 1


class HostCounters(msgspec.Struct, frozen=True):
    """What a host has done since it was made."""

    calls: int
    restarts: int
    #: Calls that wait or run now.
    busy: int


class _Turn:
    """One call, from when it is made until it is answered."""

    def __init__(self, number: int, call: protocol.Call[Any], limit: float) -> None:
        self.number = number
        self.call = call
        self.frame = protocol.encode_request(protocol.Request(number, call))  # type: ignore[arg-type]
        #: Seconds that the host may take.
        self.limit = limit
        self.answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def fail(self, error: Exception) -> None:
        """Tell the caller, if it still waits."""
        if not self.answer.done():
            self.answer.set_exception(error)


class _End(NamedTuple):
    """Why a stream is of no use any more, and the call that the host was at."""

    error: TokenError
    at: _Turn | None


class _Stream(asyncio.Protocol):
    """Our end of a host's stream: calls go out in order, and an answer belongs to the first that has none.

    That one is what the host is at, so that its deadline counts from when it became the first.
    """

    def __init__(self, answered: Callable[[], None]) -> None:
        """`answered` is told that the host got on."""
        self._loop = asyncio.get_running_loop()
        self._answered = answered
        self._frames = protocol.FrameBuffer()
        self._transport: asyncio.Transport | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._understood = True
        #: Calls without an answer, the one that the host is at first.
        self.sent: deque[_Turn] = deque()
        self.ended: asyncio.Future[_End] = self._loop.create_future()
        self.closed: asyncio.Future[None] = self._loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)

    def send(self, turn: _Turn) -> None:
        """Send a call."""
        self.sent.append(turn)
        if len(self.sent) == 1:
            self._count_deadline()
        if self._transport is not None:
            self._transport.write(turn.frame)

    def data_received(self, data: bytes) -> None:
        """Take what arrived, also from a host that was killed: what it answered, it did."""
        if not self._understood:
            return
        try:
            for payload in self._frames.feed(data):
                self._take(protocol.decode_answer(payload))
        except ProtocolError as error:
            self._understood = False
            self._end(error)
        self._answered()

    def connection_lost(self, _exc: Exception | None) -> None:
        """Tell that there will be no answer."""
        self._end(_died())
        if not self.closed.done():
            self.closed.set_result(None)

    def close(self) -> None:
        """End the stream."""
        if self._transport is not None:
            self._transport.close()

    def _take(self, answer: protocol.Answer) -> None:
        if not self.sent or answer.number != self.sent[0].number:
            raise ProtocolError("the token host answered another call")
        turn = self.sent[0]
        try:
            value, failure = protocol.outcome(answer, turn.call), None
        except ProtocolError:
            raise
        except TokenError as error:
            value, failure = None, error
        self.sent.popleft()
        self._count_deadline()
        if failure is not None:
            turn.fail(failure)
        elif not turn.answer.done():
            turn.answer.set_result(value)

    def _count_deadline(self) -> None:
        """Count the deadline of the call that the host is at from now."""
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if self.sent and not self.ended.done():
            self._deadline = self._loop.call_later(self.sent[0].limit, self._overdue, self.sent[0].limit)

    def _overdue(self, limit: float) -> None:
        self._end(DeadlineExceededError(f"the token host did not answer within {limit:g} s and was killed"))

    def _end(self, error: TokenError) -> None:
        if not self.ended.done():
            self.ended.set_result(_End(error, self.sent[0] if self.sent else None))
            self._count_deadline()


class _Process:
    """A running host process and its end of the stream."""

    def __init__(self, process: asyncio.subprocess.Process, stream: _Stream) -> None:
        self._process = process
        self.stream = stream

    @property
    def pid(self) -> int:
        """Process identifier of the host."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """False once the process is known to have ended, or has to."""
        return self._process.returncode is None and not self.stream.ended.done()

    async def kill(self) -> None:
        """Kill the process, wait for it, and take what it had still answered."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        await asyncio.wait({self.stream.closed}, timeout=_LEAVING)
        self.stream.close()
        await self.stream.closed

    async def leave(self) -> None:
        """Close the stream, on which the host leaves by itself, and wait for it."""
        self.stream.close()
        try:
            async with asyncio.timeout(_LEAVING):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        await self.stream.closed


class TokenHost(TokenOperations):
    """One host of one module. Close it when done; it is started again by the next call after a loss."""

    def __init__(
        self,
        profile: ModuleProfile,
        environment: Mapping[str, str],
        *,
        module_path: Path | None = None,
        deadlines: Deadlines | None = None,
        serial_seed: str | None = None,
    ) -> None:
        """Make a host; `serial_seed` is what serials are made from where the module gives none of its own."""
        self._profile = profile
        self._environment = dict(environment)
        self._serial_seed = serial_seed
        self._module_path = module_path
        self._deadlines = deadlines or Deadlines()
        # A card is slow and one person's: what its caller may still withdraw is not sent to it.
        self._ahead = _AHEAD if profile.max_processes > 1 else 0
        self._waiting: deque[_Turn] = deque()
        self._process: _Process | None = None
        self._renewal: asyncio.Task[None] | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        self._module_info: ModuleInfo | None = None
        self._number = 0
        self._calls = 0
        self._starts = 0
        self._closed = False

    @property
    def generation(self) -> int:
        """How often the host was started: logins of an earlier generation are lost."""
        return self._starts

    @property
    def running(self) -> bool:
        """Whether the process is there, as far as is known."""
        return self._process is not None and self._process.alive

    @property
    def pid(self) -> int | None:
        """The process, for diagnosis."""
        return None if self._process is None else self._process.pid

    @property
    def counters(self) -> HostCounters:
        """What the host has done so far."""
        return HostCounters(calls=self._calls, restarts=max(0, self._starts - 1), busy=self._busy)

    @property
    def _busy(self) -> int:
        return len(self._waiting) + (0 if self._process is None else len(self._process.stream.sent))

    async def start(self) -> ModuleInfo:
        """Start the host if it does not run, and describe its module.

        Raises:
            ModuleMissingError: the module is not there or cannot be loaded.
        """
        await self.ping()
        if self._module_info is None:
            raise HostLostError("the token host did not start")
        return self._module_info

    async def call(self, call: protocol.Call[T], *, deadline: float | None = None) -> T:
        """Carry out one call, in turn.

        Raises:
            HostLostError: the host died during the call.
            DeadlineExceededError: the host was killed because it took too long, or was busy for too long.
        """
        if self._closed:
            raise HostLostError("the token host has been closed")
        self._number += 1
        turn = _Turn(self._number, call, self._deadlines.of(call) if deadline is None else deadline)
        self._waiting.append(turn)
        self._go_on()
        patience = asyncio.get_running_loop().call_later(self._deadlines.queue, self._give_up, turn)
        try:
            return cast("T", await turn.answer)
        except asyncio.CancelledError:
            self._withdraw(turn)
            raise
        finally:
            patience.cancel()

    async def close(self) -> None:
        """Let the calls made so far end, then let the host leave."""
        self._closed = True
        await self._idle.wait()
        process, self._process = self._process, None
        if process is not None:
            await process.leave()

    def _go_on(self) -> None:
        """Send what may be sent now; where there is no process for it, or one of no use, have it replaced."""
        process = self._process
        if process is not None and process.alive:
            sent = process.stream.sent
            while self._waiting and self._may_follow(sent, self._waiting[0]):
                self._calls += 1
                process.stream.send(self._waiting.popleft())
        elif self._renewal is None and (process is not None or self._waiting):
            self._renewal = asyncio.create_task(self._renew())
        if self._renewal is not None or self._busy:
            self._idle.clear()
        else:
            self._idle.set()

    def _may_follow(self, sent: deque[_Turn], turn: _Turn) -> bool:
        return not sent or (
            len(sent) <= self._ahead
            and isinstance(sent[0].call, _SENT_AHEAD)
            and isinstance(turn.call, _SENT_AHEAD)
        )

    def _give_up(self, turn: _Turn) -> None:
        """Refuse a call that waited too long, unless a process is being started for it."""
        if turn not in self._waiting or (self._renewal is not None and turn is self._waiting[0]):
            return
        self._waiting.remove(turn)
        turn.fail(DeadlineExceededError("the token host was busy with other calls for too long"))

    def _withdraw(self, turn: _Turn) -> None:
        if turn in self._waiting:
            self._waiting.remove(turn)
        if not turn.answer.cancelled():
            turn.answer.exception()  # an answer nobody waits for any more is not worth a warning

    async def _renew(self) -> None:
        """Put a process away that is of no use any more, and start another for the calls that wait."""
        if self._process is not None:
            await self._put_away(self._process)
        if self._waiting:
            try:
                self._process = await self._started()
            except Exception as error:  # noqa: BLE001 - whatever it was is the caller's to know
                if self._waiting:
                    self._waiting.popleft().fail(error)
        self._renewal = None
        self._go_on()

    async def _put_away(self, process: _Process) -> None:
        """Kill a process; the call that it was at is lost, and those behind it, which it had not begun, wait again.

        Where it was the writing that failed, answers may have gone unread, and one of those behind may have been begun:
        another reason to send nothing ahead but what changes nothing.
        """
        await process.kill()
        self._process = None
        end, sent = process.stream.ended.result(), process.stream.sent
        if not sent:
            return
        lost = sent.popleft()
        error = end.error if lost is end.at else _died()
        _log.warning(
            "token_host.lost",
            module=self._profile.name,
            pid=process.pid,
            call=type(lost.call).__name__,
            why=error.code,
        )
        lost.fail(error)
        self._calls -= len(sent)
        self._waiting.extendleft(turn for turn in reversed(sent) if not turn.answer.done())

    async def _started(self) -> _Process:
        path = self._module_path or self._profile.locate()
        process = await self._spawn()
        quirks = self._profile.quirks
        start = protocol.Start(
            module_path=str(path),
            pin_rules=self._profile.pin,
            unavailable=quirks.unavailable_mechanisms,
            probe_mechanisms=quirks.probes_mechanisms,
            login_before_pin_change=quirks.changes_pin_after_login,
            public_use_follows=quirks.public_use_follows,
            signing_needs_decrypt=quirks.signing_needs_decrypt,
            bound_to_device=quirks.bound_to_device,
            serial_seed=self._serial_seed if quirks.shares_serial else None,
            store=self._store_directory(),
        )
        try:
            self._module_info = await _first_answer(process.stream, _Turn(0, start, self._deadlines.start))
        except BaseException:
            await process.kill()
            raise
        process.stream.ended.add_done_callback(lambda _end: self._go_on())
        self._starts += 1
        _log.debug("token_host.started", module=self._profile.name, pid=process.pid)
        return process

    def _store_directory(self) -> str | None:
        beside = self._environment.get(self._profile.quirks.turns_beside or "")
        return None if beside is None else str(Path(beside).parent)

    async def _spawn(self) -> _Process:
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    *("-m", "cardd_pkcs11.host", str(theirs.fileno()), str(os.getpid())),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.DEVNULL,
                    stderr=asyncio.subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(),),
                    env=self._host_environment(),
                )
            ours.settimeout(0)
            _, stream = await asyncio.get_running_loop().create_connection(
                lambda: _Stream(self._go_on), sock=ours
            )
        except BaseException:
            ours.close()
            raise
        return _Process(process, stream)

    def _host_environment(self) -> dict[str, str]:
        names = (*_INHERITED, *self._profile.inherits)
        inherited = {name: os.environ[name] for name in names if name in os.environ}
        return {**inherited, "PYTHONPATH": str(source_root()), **self._environment}


async def _first_answer(stream: _Stream, turn: _Turn) -> ModuleInfo:
    """Return the answer to the first call of a stream.

    Raises:
        TokenError: what the host says, or why there is no answer.
    """
    stream.send(turn)
    await asyncio.wait((turn.answer, stream.ended), return_when=asyncio.FIRST_COMPLETED)
    if not turn.answer.done():
        raise stream.ended.result().error
    return cast("ModuleInfo", turn.answer.result())


def _died() -> HostLostError:
    return HostLostError("the token host died in the middle of the call")
