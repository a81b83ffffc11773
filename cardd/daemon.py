"""The composition root: settings become parts, parts are started, served, and stopped in reverse.

This is the only module that imports the web service.
"""

import asyncio
import fcntl
import os
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import structlog

from cardd.backup.restoring import finish_restore
from cardd.backup.takeup import restore_taken_up, take_up_restore
from cardd.cardreaders import CardReaders, card_readers, no_card_readers
from cardd.clock import Clock, SystemClock
from cardd.errors import CarddError, ConflictError, UnavailableError
from cardd.events import EventBus
from cardd.health import health_parts
from cardd.logs import configure_logs
from cardd.metrics import DaemonMetrics
from cardd.parts import Ground, Parts, assembled, duties, reload_of, start, watching
from cardd.progress import Progress, ProgressStep
from cardd.reload import Reload
from cardd.servicemanager import ServiceManager, handed_sockets
from cardd.settings import Settings
from cardd.store import Store, tables
from cardd.text import Text
from cardd.upkeep import Upkeep
from cardd_pkcs11.hardening import forbid_core_dumps
from cardd_webservice.application import create_application
from cardd_webservice.errors import PortTakenError
from cardd_webservice.guard.tokens import ensure_owner_token
from cardd_webservice.server import Reservation, adopted, reserve_port, serving, unix_of
from cardd_webservice.services import Services, TokenView

_log = structlog.get_logger(__name__)

#: The port that `http_port = 0` found at the first start, kept so that addresses in certificates stay good.
_PORT_FACT = "http_port"

#: Finds the readers to watch.
ReadersMaker = Callable[[Settings, Clock], AbstractAsyncContextManager[CardReaders]]


class StateInUseError(ConflictError):
    """Another daemon works on this state."""

    code = "state_in_use"
    title = Text("This state is in use", "Cet état est en cours d’utilisation")
    default_advice = Text(
        "Stop the other daemon, or choose another state directory.",
        "Arrêtez l’autre démon, ou choisissez un autre répertoire d’état.",
    )


class StateNotWritableError(UnavailableError):
    """The state directory cannot be used."""

    code = "state_not_writable"
    title = Text("The state directory cannot be written", "Le répertoire d’état n’est pas inscriptible")
    default_advice = Text(
        "Check the rights of the directory, and that its disk is neither full nor read-only.",
        "Vérifiez les droits du répertoire, et que son disque n’est ni plein ni en lecture seule.",
    )


async def prepare(settings: Settings, progress: Progress) -> None:
    """Make a state that `run` starts from: PKI, structure, authorised test card. What is there is kept.

    Raises `CarddError`.
    """
    configure_logs(settings.log)
    async with _ready_parts(settings, progress, _unwatched) as (_, reservation):
        reservation.close()


async def run(
    settings: Settings,
    progress: Progress,
    ready: Callable[[str], None],
    read_again: Callable[[], Settings] | None = None,
) -> None:
    """Run the daemon until SIGINT or SIGTERM; `ready` is given the address once it answers.

    SIGHUP has the settings read again with `read_again`. Raises `CarddError` when it cannot start.
    """
    configure_logs(settings.log)
    stopping, manager = _stop_signals(), ServiceManager.from_environment(os.environ)
    async with (
        _ready_parts(settings, _told(progress, manager), card_readers) as (parts, reservation),
        watching(parts),
    ):
        upkeep = Upkeep(parts.clock, duties(parts))
        parts.watch.failing = lambda: upkeep.failing
        metrics = DaemonMetrics(parts, lambda: upkeep.failing)
        application = create_application(_services(parts, upkeep, metrics))
        async with serving(application, reservation, settings.runtime, settings.stop_seconds) as address:
            await asyncio.to_thread(_write_atomically, settings.state / "address", address + "\n")
            reloading = _reloading(reload_of(parts), parts.store, manager, read_again)
            try:
                ready(address)
                manager.ready(address)
                _log.info("ready", address=address, state=str(settings.state))
                await _until(
                    stopping, upkeep.run(), manager.keep_watch(), reloading, metrics.follow(parts.bus)
                )
                manager.stopping(settings.stop_seconds)
                _log.info("stopping")
            finally:
                (settings.state / "address").unlink(missing_ok=True)
        await parts.sessions.stop()


@asynccontextmanager
async def _unwatched(settings: Settings, clock: Clock) -> AsyncIterator[CardReaders]:
    """Watch no reader, for a state that is only being prepared."""
    yield no_card_readers(settings, clock)


@asynccontextmanager
async def _ready_parts(
    settings: Settings, progress: Progress, readers: ReadersMaker
) -> AsyncIterator[tuple[Parts, Reservation]]:
    """Open the state, hold the port, and start every part."""
    forbid_core_dumps()
    with _state_of_ours(settings.state):
        await asyncio.to_thread(finish_restore, settings.state)
        clock, bus = SystemClock(timedelta(days=settings.clock_offset_days)), EventBus()
        store = await Store.open(settings.state, clock, bus)
        try:
            restored = await take_up_restore(store, settings.state)
            reservation = await _reserved_port(settings, store)
            try:
                async with (
                    readers(settings, clock) as found,
                    assembled(Ground(settings, clock, store, bus, found), reservation.address) as parts,
                ):
                    await start(parts, progress, restored=restored is not None)
                    await restore_taken_up(settings.state)
                    yield parts, reservation
            finally:
                reservation.close()
        finally:
            await store.close()


@contextmanager
def _state_of_ours(state: Path) -> Iterator[None]:
    """Make the directory where there is none, and hold it for this process; the lock goes with it, however it ends."""
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        state.chmod(0o700)
        lock = (state / "lock").open("w")
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise StateNotWritableError(Text(f"{state}: {reason}.", f"{state} : {reason}.")) from None
    with lock as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StateInUseError(
                Text(f"A daemon already works on {state}.", f"Un démon travaille déjà sur {state}.")
            ) from None
        yield


async def _reserved_port(settings: Settings, store: Store) -> Reservation:
    """Hold the port of the settings; where any free one will do, the one of the last start if it still is.

    Sockets that the service manager holds for the daemon come before the settings.
    """
    handed = handed_sockets(os.environ)
    given = adopted(handed)
    if given is not None:
        return given
    reservation = await _own_port(settings, store)
    return replace(reservation, unix=unix_of(handed))


async def _own_port(settings: Settings, store: Store) -> Reservation:
    table = tables.instance
    async with store.read() as connection:
        known = (
            await connection.execute(sa.select(table.c.value).where(table.c.name == _PORT_FACT))
        ).scalar()
    if settings.http_port != 0:
        return reserve_port(settings)
    if known is not None:
        try:
            return reserve_port(settings, port=known)
        except PortTakenError:
            _log.warning("the port of the last start is taken; certificates will name another", port=known)
    reservation = reserve_port(settings)
    async with store.transaction() as tx:
        await tx.execute(sa.delete(table).where(table.c.name == _PORT_FACT))
        await tx.execute(sa.insert(table).values(name=_PORT_FACT, value=reservation.port))
    return reservation


def _services(parts: Parts, upkeep: Upkeep, metrics: DaemonMetrics) -> Services:
    async def tokens() -> list[TokenView]:
        module_path = str(parts.pool.profile.locate())
        quarantines = {each.token_serial: each for each in await parts.keys.quarantines()}
        return [
            TokenView(
                label=record.label,
                serial=record.serial,
                module=record.module,
                level=record.level,
                purpose=record.purpose,
                structure=record.structure_id,
                module_path=module_path,
                pin_file=_shown(parts.vault.pin_file(record.serial)),
                quarantine=quarantines.get(record.serial),
            )
            for record in await parts.keeper.list()
        ]

    return Services(
        settings=parts.settings,
        clock=parts.clock,
        store=parts.store,
        bus=parts.bus,
        token=ensure_owner_token(parts.settings.state),
        presence=parts.presence,
        cards=parts.cards,
        sessions=parts.sessions,
        habilitations=parts.habilitations,
        orders=parts.orders,
        certificates=parts.certificates,
        keys=parts.keys,
        pki=parts.pki,
        revocation=parts.revocation,
        trust=parts.trust,
        validation=parts.validation,
        backups=parts.backups,
        alerts=parts.alerts,
        metrics=metrics.registry,
        refresh_metrics=metrics.refresh,
        tokens=tokens,
        health=partial(health_parts, parts, upkeep),
    )


def _shown(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _stop_signals() -> asyncio.Event:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    return stopping


async def _until(stopping: asyncio.Event, *kept: Coroutine[Any, Any, None]) -> None:
    """Keep everything up until it is time to stop."""
    keeping = [asyncio.create_task(each) for each in kept]
    try:
        await stopping.wait()
    finally:
        for task in keeping:
            task.cancel()
        await asyncio.gather(*keeping, return_exceptions=True)


async def _reloading(
    reload: Reload, store: Store, manager: ServiceManager, read_again: Callable[[], Settings] | None
) -> None:
    """At each SIGHUP take new settings up; those that cannot be read leave the ones in force."""
    if read_again is None or not hasattr(signal, "SIGHUP"):
        return
    asked = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, asked.set)
    while True:
        await asked.wait()
        asked.clear()
        manager.reloading()
        try:
            changes = await reload.take(await asyncio.to_thread(read_again))
            async with store.transaction() as tx:
                tx.journal(
                    "settings.reloaded", "settings", taken=list(changes.taken), waiting=list(changes.waiting)
                )
            _log.info("settings reloaded", taken=changes.taken, waiting_for_a_restart=changes.waiting)
            manager.ready("settings reloaded")
        except CarddError as error:
            _log.error("settings not reloaded", code=error.code, detail=error.detail.en)
            manager.ready(f"settings not reloaded: {error.detail.en}")


def _told(progress: Progress, manager: ServiceManager) -> Progress:
    """Show progress, and tell it to the service manager too."""

    def show(step: ProgressStep) -> None:
        progress(step)
        manager.starting(step.text.en)

    return show


def _write_atomically(path: Path, text: str) -> None:
    unfinished = path.with_name(f".{path.name}.new")
    with unfinished.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
