"""The daemon's end of the indexer: one process at a time, started when there is work, ended when it is idle."""

import asyncio
import os
import sys
from contextlib import suppress
from pathlib import Path

import msgspec
import structlog

from cardd.revocation.errors import IndexerLostError, ListRefusedError
from cardd.revocation.jobs import LENGTH, Job, Outcome
from cardd.text import Text

#: A process that has had nothing to do for so long ends, in seconds; its memory goes with it.
_IDLE_SECONDS = 30.0
#: A job that takes longer is given up, in seconds; ten million entries take about thirty.
_JOB_SECONDS = 300.0

_log = structlog.get_logger(__name__)


class Indexer:
    """Gives jobs to the process, one after another."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._turn = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None
        self._idle: asyncio.TimerHandle | None = None

    @property
    def pid(self) -> int | None:
        """The process, while there is one."""
        return None if self._process is None else self._process.pid

    async def perform(self, job: Job) -> Outcome:
        """Have a job done; raises `ListRefusedError` with its rule, `IndexerLostError` when the process ends."""
        async with self._turn:
            if self._idle is not None:
                self._idle.cancel()
            try:
                async with asyncio.timeout(_JOB_SECONDS):
                    outcome = await self._exchange(job)
            except BaseException as error:
                self._kill()
                if isinstance(error, asyncio.IncompleteReadError | ConnectionError | TimeoutError | OSError):
                    _log.warning("indexer lost", job=type(job).__name__, error=repr(error))
                    raise IndexerLostError(
                        Text("The indexer ended before it was done.", "L’indexeur s’est arrêté avant la fin.")
                    ) from None
                raise
            self._idle = asyncio.get_running_loop().call_later(_IDLE_SECONDS, self._kill)
        if outcome.rule is not None:
            raise ListRefusedError.of(outcome.rule, outcome.en, outcome.fr)
        return outcome

    async def close(self) -> None:
        """End the process."""
        if self._idle is not None:
            self._idle.cancel()
        process, self._process = self._process, None
        if process is not None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            _close_pipes(process)

    async def _exchange(self, job: Job) -> Outcome:
        process = self._process
        if process is None or process.returncode is not None:
            process = self._process = await self._start()
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("the indexer has no pipes")
        encoded = msgspec.msgpack.encode(job)
        process.stdin.write(LENGTH.pack(len(encoded)) + encoded)
        await process.stdin.drain()
        (length,) = LENGTH.unpack(await process.stdout.readexactly(LENGTH.size))
        return msgspec.msgpack.decode(await process.stdout.readexactly(length), type=Outcome)

    async def _start(self) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "cardd.revocation.indexer",
            str(self._directory),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={
                "PATH": os.defpath,
                "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
                "LANG": "C.UTF-8",
            },
            start_new_session=True,
        )

    def _kill(self) -> None:
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            _close_pipes(process)


def _close_pipes(process: asyncio.subprocess.Process) -> None:
    transport = getattr(process, "_transport", None)
    if transport is not None:
        transport.close()
