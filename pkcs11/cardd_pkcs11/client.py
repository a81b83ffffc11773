"""A token host seen from asyncio: started when first needed, one call at a time, killed when it hangs.

Nothing is repeated. A caller that goes away does not disturb the stream: the call it began runs to its end or its
deadline, its answer is dropped, and the next caller waits for that.
"""

import asyncio
import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar, cast

import msgspec
import structlog

from cardd_pkcs11 import protocol
from cardd_pkcs11.errors import DeadlineExceededError, HostLostError, ProtocolError
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


class HostCounters(msgspec.Struct, frozen=True):
    """What a host has done since it was made."""

    calls: int
    restarts: int
    #: Calls that wait or run now.
    busy: int


class _Stream(asyncio.Protocol):
    """Our end of a host's stream; a whole answer wakes the one exchange that waits."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self._frames = protocol.FrameBuffer()
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[bytes] = loop.create_future()
        self._answer.cancel()
        self.closed: asyncio.Future[None] = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Take what arrived; an answer that nobody waits for is dropped."""
        try:
            for payload in self._frames.feed(data):
                if not self._answer.done():
                    self._answer.set_result(payload)
        except ProtocolError as error:
            self._fail(error)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell who waits that there will be no answer."""
        self._fail(exc or EOFError())
        if not self.closed.done():
            self.closed.set_result(None)

    async def exchange(self, frame: bytes) -> bytes:
        """Send a frame and return the payload of the next one; raises `OSError` and `EOFError` where there is none."""
        if self._transport is None or self.closed.done():
            raise EOFError
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(frame)
        return await self._answer

    def close(self) -> None:
        """End the stream."""
        if self._transport is not None:
            self._transport.close()

    def _fail(self, error: Exception) -> None:
        if not self._answer.done():
            self._answer.set_exception(error)


class _Process:
    """A running host process and its end of the stream."""

    def __init__(self, process: asyncio.subprocess.Process, stream: _Stream) -> None:
        self._process = process
        self._stream = stream
        self._number = 0

    @property
    def pid(self) -> int:
        """Process identifier of the host."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """False once the process is known to have ended."""
        return self._process.returncode is None and not self._stream.closed.done()

    async def exchange(self, call: protocol.Call[T]) -> T:
        """Send one call and return its value; only one exchange may run at a time."""
        self._number += 1
        request = protocol.encode_request(protocol.Request(self._number, call))  # type: ignore[arg-type]
        try:
            answer = protocol.decode_answer(await self._stream.exchange(request))
        except (OSError, EOFError) as error:
            raise HostLostError("the token host died in the middle of the call") from error
        if answer.number != self._number:
            raise ProtocolError("the token host answered another call")
        return protocol.outcome(answer, call)

    async def kill(self) -> None:
        """Kill the process, wait for it, and close the stream."""
        if self._process.returncode is None:
            self._process.kill()
        await self.leave()

    async def leave(self) -> None:
        """Close the stream, on which the host leaves by itself, and wait for it."""
        self._stream.close()
        try:
            async with asyncio.timeout(_LEAVING):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        await self._stream.closed


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
        self._turn = asyncio.Lock()
        self._process: _Process | None = None
        self._module_info: ModuleInfo | None = None
        self._exchanges: set[asyncio.Task[object]] = set()
        self._calls = 0
        self._starts = 0
        self._busy = 0
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
        limit = self._deadlines.of(call) if deadline is None else deadline
        self._busy += 1
        try:
            await self._wait_for_turn()
        except BaseException:
            self._busy -= 1
            raise
        exchange = asyncio.create_task(self._exchange(call, limit))
        self._exchanges.add(exchange)
        exchange.add_done_callback(self._end_turn)
        return await asyncio.shield(exchange)

    async def close(self) -> None:
        """Let the call in progress end, then let the host leave."""
        self._closed = True
        async with self._turn:
            process, self._process = self._process, None
            if process is not None:
                await process.leave()

    async def _wait_for_turn(self) -> None:
        try:
            async with asyncio.timeout(self._deadlines.queue):
                await self._turn.acquire()
        except TimeoutError:
            raise DeadlineExceededError("the token host was busy with other calls for too long") from None

    def _end_turn(self, exchange: asyncio.Task[object]) -> None:
        self._exchanges.discard(exchange)
        self._busy -= 1
        self._turn.release()
        if not exchange.cancelled():
            exchange.exception()  # an answer nobody waits for any more is not worth a warning

    async def _exchange(self, call: protocol.Call[T], limit: float) -> T:
        self._calls += 1
        process = await self._running_process()
        try:
            return await self._within(process, call, limit)
        except (HostLostError, DeadlineExceededError, ProtocolError) as error:
            _log.warning(
                "token_host.lost",
                module=self._profile.name,
                pid=process.pid,
                call=type(call).__name__,
                why=error.code,
            )
            await self._drop(process)
            raise
        except asyncio.CancelledError:
            await self._drop(process)
            raise

    async def _within(self, process: _Process, call: protocol.Call[T], limit: float) -> T:
        try:
            async with asyncio.timeout(limit):
                return await process.exchange(call)
        except TimeoutError:
            raise DeadlineExceededError(
                f"the token host did not answer within {limit:g} s and was killed"
            ) from None

    async def _drop(self, process: _Process) -> None:
        self._process = None
        await process.kill()

    async def _running_process(self) -> _Process:
        if self._process is not None and self._process.alive:
            return self._process
        if self._process is not None:
            await self._drop(self._process)
        if self._closed:
            raise HostLostError("the token host has been closed")
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
            self._module_info = await self._within(process, start, self._deadlines.start)
        except BaseException:
            await process.kill()
            raise
        self._process = process
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
            _, stream = await asyncio.get_running_loop().create_connection(_Stream, sock=ours)
        except BaseException:
            ours.close()
            raise
        return _Process(process, stream)

    def _host_environment(self) -> dict[str, str]:
        names = (*_INHERITED, *self._profile.inherits)
        inherited = {name: os.environ[name] for name in names if name in os.environ}
        return {**inherited, "PYTHONPATH": str(source_root()), **self._environment}
