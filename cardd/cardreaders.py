"""Which pcscd the daemon watches: a private one with virtual readers, or the machine's own.

libpcsclite reads the address of its pcscd once in a process, so one process watches one pcscd. A private
pcscd leaves USB readers to the machine's own. The choice is therefore made once, at the start, and told in
one sentence: virtual readers, unless real ones are plugged in or the settings say otherwise.
"""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum, unique
from pathlib import Path
from typing import Final

import msgspec
import structlog

from cardd.clock import Clock
from cardd.readers import Readers, ServiceDown, SystemPcsc, available
from cardd.readers.types import ReadersEvent
from cardd.settings import ReaderSettings, Settings
from cardd.text import Text
from cardd.virtualcard import CardEvent, VirtualReaders
from cardd.virtualcard.errors import ConfinementUnavailableError
from cardd.virtualcard.slots import READERS

#: Names another pcscd than the machine's (pcsc-lite, PCSCLITE_CSOCK_NAME).
SOCKET_VARIABLE: Final = "PCSCLITE_CSOCK_NAME"
#: In the runtime directory: what other programs need in their environment to reach the readers, a line each.
ENVIRONMENT_FILE: Final = "pcsc.env"
_MACHINE_SOCKET: Final = Path("/run/pcscd/pcscd.comm")
_LISTED_WITHIN_SECONDS: Final = 5.0
_VIRTUAL_PREFIX: Final = "Virtual PCD"

_log = structlog.get_logger(__name__)


@unique
class Watched(StrEnum):
    """Whose readers are watched."""

    VIRTUAL = "virtual"
    MACHINE = "machine"
    NONE = "none"


@dataclass(frozen=True)
class CardReaders:
    """The readers of this daemon."""

    watched: Watched
    #: Why it is so, in one sentence.
    sentence: Text
    virtual: VirtualReaders
    #: What processes that use cards need in their environment.
    environment: Mapping[str, str]
    #: The watch, where there is one; it is not started yet.
    readers: Readers | None

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Watch the readers, where there is a watch; a confined pcscd that ends is started again."""
        if self.readers is None:
            yield
            return
        with contextlib.ExitStack() as listening:
            if self.watched is Watched.VIRTUAL:
                listening.callback(self.readers.on_change(self._revive))
            async with self.readers:
                yield

    async def _revive(self, event: ReadersEvent) -> None:
        if isinstance(event, ServiceDown):
            self.virtual.revive()

    @property
    def virtual_unavailable(self) -> Text | None:
        """Why virtual cards cannot be inserted, None where they can."""
        return None if self.watched is Watched.VIRTUAL else self.sentence


@asynccontextmanager
async def card_readers(settings: Settings, clock: Clock) -> AsyncIterator[CardReaders]:
    """Choose what is watched and, where that is virtual readers, run them for the length of the context.

    It changes this process's environment, for libpcsclite reads it; nothing may have called libpcsclite before.
    """
    virtual = VirtualReaders(
        settings.runtime / "pcsc", settings.state / "virtual-cards", clock, observer=_log_movement
    )
    try:
        found = await _choose(settings, virtual)
        os.environ.update(found.environment)
        named = settings.runtime / ENVIRONMENT_FILE
        await asyncio.to_thread(_write_environment, named, found.environment)
        _log.info(found.sentence.en, readers=found.watched.value)
        yield found
    finally:
        await virtual.stop()


def no_card_readers(settings: Settings, clock: Clock) -> CardReaders:
    """Return that no reader is watched, for a state that is only being prepared."""
    virtual = VirtualReaders(settings.runtime / "pcsc", settings.state / "virtual-cards", clock)
    return CardReaders(Watched.NONE, _PREPARING, virtual, {}, None)


async def machine_readers() -> tuple[str, ...]:
    """List the readers of the machine's own pcscd, empty where none answers.

    A process of its own asks, so that this one stays free to watch another pcscd.
    """
    if not _MACHINE_SOCKET.exists():
        return ()
    environment = {name: value for name, value in os.environ.items() if name != SOCKET_VARIABLE}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        _LIST_READERS,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=environment,
    )
    try:
        async with asyncio.timeout(_LISTED_WITHIN_SECONDS):
            output, _ = await process.communicate()
        return msgspec.json.decode(output, type=tuple[str, ...])
    except (TimeoutError, msgspec.MsgspecError):
        return ()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _choose(settings: Settings, virtual: VirtualReaders) -> CardReaders:
    usable = available()
    if settings.readers.pcsc == "off" or not usable:
        why = _OFF if settings.readers.pcsc == "off" else usable.sentence
        return CardReaders(Watched.NONE, why, virtual, {}, None)
    if (sentence := await _why_the_machine(settings.readers)) is not None:
        return _machine(virtual, sentence)
    try:
        environment = await virtual.start()
    except ConfinementUnavailableError as error:
        return _machine(virtual, _fallen_back(error.detail))
    return CardReaders(Watched.VIRTUAL, _RUNNING, virtual, environment, Readers(SystemPcsc()))


async def _why_the_machine(wanted: ReaderSettings) -> Text | None:
    """Return why no virtual readers are wanted, None where they are."""
    if wanted.virtual == "off":
        return _VIRTUAL_OFF
    if wanted.virtual == "on":
        return None
    if SOCKET_VARIABLE in os.environ:
        return _NAMED
    real = [name for name in await machine_readers() if not name.startswith(_VIRTUAL_PREFIX)]
    return _REAL_READERS if real else None


def _log_movement(card: str, reader: str, event: CardEvent) -> None:
    _log.debug("virtual_card", card=card, reader=reader, befell=event.value)


def _write_environment(path: Path, environment: Mapping[str, str]) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_text("".join(f"{name}={value}\n" for name, value in environment.items()))


def _machine(virtual: VirtualReaders, sentence: Text) -> CardReaders:
    return CardReaders(Watched.MACHINE, sentence, virtual, _inherited(), Readers(SystemPcsc()))


def _inherited() -> dict[str, str]:
    named = os.environ.get(SOCKET_VARIABLE)
    return {} if named is None else {SOCKET_VARIABLE: named}


def _fallen_back(reason: Text) -> Text:
    return Text(
        f"{reason.en} Test cards are SoftHSM's, and the machine's own readers are watched.",
        f"{reason.fr} Les cartes de test sont celles de SoftHSM, et les lecteurs de la machine sont surveillés.",
    )


_LIST_READERS = """
import json
from smartcard.scard import SCARD_SCOPE_SYSTEM, SCardEstablishContext, SCardListReaders
result, context = SCardEstablishContext(SCARD_SCOPE_SYSTEM)
print(json.dumps(SCardListReaders(context, [])[1] if result == 0 else []))
"""
_PREPARING = Text(
    "Readers are watched while the daemon runs.", "Les lecteurs sont surveillés quand le démon fonctionne."
)
_OFF = Text(
    "Readers are switched off by the setting readers.pcsc.",
    "Les lecteurs sont désactivés par le paramètre readers.pcsc.",
)
_VIRTUAL_OFF = Text(
    "The machine's own readers are watched, as the setting readers.virtual asks.",
    "Les lecteurs de la machine sont surveillés, comme le demande le paramètre readers.virtual.",
)
_NAMED = Text(
    "The readers of the pcscd that PCSCLITE_CSOCK_NAME names are watched.",
    "Les lecteurs du pcscd que nomme PCSCLITE_CSOCK_NAME sont surveillés.",
)
_REAL_READERS = Text(
    "Real readers are plugged in and watched; set readers.virtual to on for virtual ones instead.",
    "Des lecteurs réels sont branchés et surveillés ; mettez readers.virtual à on pour des lecteurs virtuels.",
)
_RUNNING = Text(
    f"Two virtual readers run, confined to this daemon: {', '.join(READERS)}.",
    f"Deux lecteurs virtuels fonctionnent, réservés à ce démon : {', '.join(READERS)}.",
)
