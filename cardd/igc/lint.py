"""pkilint before the real key signs: what lints badly is never signed.

The linter is pure Python over pyasn1 and takes tens of milliseconds a certificate, so that it runs in a
process of its own, started once and kept warm, and never on the loop.
"""

import asyncio
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import NamedTuple

from cardd.errors import UnavailableError
from cardd.igc.errors import LintRefusedError
from cardd.text import Text

#: How long one check may take, in seconds, with the start of the process; many times what is measured.
_DEADLINE = 30.0
#: How long the process stays after its last check, in seconds; it takes some 40 MiB, and half a second to start.
_STAYS = 600.0


class Finding(NamedTuple):
    """One finding of the linter that refuses."""

    severity: str
    code: str
    """The rule's name in pkilint, such as `pkix.invalid_domain_name_syntax`."""
    path: str
    """Where in the structure, such as `certificate.tbsCertificate.subject`."""
    message: str


class Linter:
    """The linter's process. `start` warms it; a check starts it when needed, and again when it died or left.

    It leaves when nothing was to be checked for `stays` seconds.
    """

    def __init__(self, stays: float = _STAYS) -> None:
        self._executor: ProcessPoolExecutor | None = None
        self._stays = stays
        self._running = 0
        self._leaving: asyncio.TimerHandle | None = None

    @property
    def present(self) -> bool:
        """Whether the process is there."""
        return self._executor is not None

    async def start(self) -> None:
        """Start the process and load the rules, ahead of the first check."""
        await self._run(_warm, b"")

    async def close(self) -> None:
        """Stop the process; checks that wait are cancelled."""
        if self._leaving is not None:
            self._leaving.cancel()
        executor, self._executor = self._executor, None
        if executor is not None:
            await asyncio.to_thread(executor.shutdown, cancel_futures=True)

    async def check_certificate(self, der: bytes) -> None:
        """Raise `LintRefusedError` when the certificate `der` breaks a rule of RFC 5280.

        `UnavailableError` when the linter does not answer: then nothing is to be signed either.
        """
        _refuse_on(await self._run(_lint_certificate, der))

    async def check_crl(self, der: bytes) -> None:
        """Raise `LintRefusedError` when the revocation list `der` breaks a rule of RFC 5280; else as above."""
        _refuse_on(await self._run(_lint_crl, der))

    async def _run(self, task: Callable[[bytes], list[Finding]], der: bytes) -> list[Finding]:
        self._running += 1
        try:
            return await self._checked(task, der)
        finally:
            self._running -= 1
            if self._leaving is not None:
                self._leaving.cancel()
            self._leaving = asyncio.get_running_loop().call_later(self._stays, self._leave)

    def _leave(self) -> None:
        """Let the process go, unless it has something to do."""
        if self._executor is not None and not self._running:
            self._executor.shutdown(wait=False)
            self._executor = None

    async def _checked(self, task: Callable[[bytes], list[Finding]], der: bytes) -> list[Finding]:
        executor = self._started()
        try:
            return await _submit(executor, task, der)
        except BrokenProcessPool:
            # A check has no effect, so that it may be repeated in a new process, once.
            if self._executor is executor:
                self._executor = None
        try:
            return await _submit(self._started(), task, der)
        except BrokenProcessPool as error:
            raise _unavailable() from error

    def _started(self) -> ProcessPoolExecutor:
        if self._executor is None:
            self._executor = ProcessPoolExecutor(
                max_workers=1, mp_context=multiprocessing.get_context("spawn"), initializer=_settle_in
            )
        return self._executor


async def _submit(
    executor: ProcessPoolExecutor, task: Callable[[bytes], list[Finding]], der: bytes
) -> list[Finding]:
    try:
        async with asyncio.timeout(_DEADLINE):
            return await asyncio.get_running_loop().run_in_executor(executor, task, der)
    except TimeoutError as error:
        raise _unavailable() from error


def _unavailable() -> UnavailableError:
    return UnavailableError(
        Text("The certificate linter does not answer.", "Le contrôle de conformité ne répond pas.")
    )


def _refuse_on(findings: list[Finding]) -> None:
    if not findings:
        return
    listed = "; ".join(f"{finding.code} ({finding.path})" for finding in findings)
    raise LintRefusedError(
        Text(f"Refused before signing: {listed}.", f"Refus avant signature : {listed}."),
        findings=[finding._asdict() for finding in findings],
    )


def _settle_in() -> None:
    """Leave Ctrl-C to the daemon, and leave with the daemon, however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(0)


# The rules take a quarter of a second to load, which only the linter's process is to spend.
# ruff: noqa: PLC0415


def _warm(_: bytes) -> list[Finding]:
    from cardd.igc import lintrules

    lintrules.load()
    return []


def _lint_certificate(der: bytes) -> list[Finding]:
    from cardd.igc import lintrules

    return [Finding(*finding) for finding in lintrules.certificate_errors(der)]


def _lint_crl(der: bytes) -> list[Finding]:
    from cardd.igc import lintrules

    return [Finding(*finding) for finding in lintrules.crl_errors(der)]
