"""The composition root: settings become parts, parts are started, served, and stopped in reverse.

This is the only module that imports the web service.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import structlog

from cardd.assembly import assembled
from cardd.backup.restoring import finish_restore
from cardd.backup.takeup import restore_taken_up, take_up_restore
from cardd.cardreaders import CardReaders, card_readers, no_card_readers
from cardd.clock import Clock, SystemClock
from cardd.duties import duties
from cardd.errors import CarddError
from cardd.events import EventBus
from cardd.following import following
from cardd.health import health_parts
from cardd.logs import configure_logs
from cardd.metrics import DaemonMetrics
from cardd.parts import Ground, Parts, reload_of, start, watching
from cardd.progress import Progress, ProgressStep
from cardd.reload import Reload
from cardd.servicemanager import ServiceManager, handed_sockets
from cardd.settings import Settings, SettingsError
from cardd.store import SharedDatabase, Store, tables
from cardd.store.lock import StateInUseError, state_of_ours
from cardd.text import Text
from cardd.upkeep import Duty, Upkeep
from cardd_pkcs11.hardening import forbid_core_dumps
from cardd_pkcs11.profiles import load_profile
from cardd_webservice.application import create_application
from cardd_webservice.errors import PortTakenError
from cardd_webservice.guard.tokens import ensure_owner_token, ensure_request_secret
from cardd_webservice.server import Reservation, TlsPort, adopted, reserve_port, serving, unix_of
from cardd_webservice.services import Services, TokenView
from cardd_webservice.signing import serving_machines
from cardd_webservice.tls import TlsKeeper

_log = structlog.get_logger(__name__)

#: The port that `http_port = 0` found at the first start, kept so that addresses in certificates stay good.
_PORT_FACT = "http_port"

#: How long the database may take to notice that the last run has ended, in seconds.
_LAST_RUN_SECONDS = 10.0

#: Finds the readers to watch.
ReadersMaker = Callable[[Settings, Clock], AbstractAsyncContextManager[CardReaders]]


async def prepare(settings: Settings, progress: Progress) -> None:
    """Make a state that `run` starts from: PKI, structure, authorised test card. What is there is kept.

    Raises `CarddError`.
    """
    configure_logs(settings.log)
    async with _ready_parts(settings, progress, _unwatched) as (_, reservation, _place):
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
        _ready_parts(settings, _told(progress, manager), card_readers) as (parts, reservation, place),
        watching(parts),
        following(parts),
    ):
        tls = TlsKeeper(settings.state, parts.store, parts.clock) if settings.web.tls else None
        upkeep = Upkeep(parts.clock, (*duties(parts), *_tls_duties(tls)))
        parts.watch.failing = lambda: upkeep.failing
        metrics = DaemonMetrics(parts, lambda: upkeep.failing)
        application = create_application(_services(parts, upkeep, metrics))
        tls_port = await _tls_port(settings, tls)
        async with (
            _signing_for_others(parts),
            serving(
                application, reservation, settings.runtime, settings.stop_seconds, tls=tls_port
            ) as address,
        ):
            await asyncio.to_thread(_write_atomically, settings.state / "address", address + "\n")
            reloading = _reloading(reload_of(parts), parts.store, manager, read_again)
            try:
                ready(address)
                manager.ready(address)
                _log.info("ready", address=address, state=str(settings.state))
                await _until(
                    stopping,
                    upkeep.run(),
                    manager.keep_watch(),
                    reloading,
                    metrics.follow(parts.bus),
                    _while_kept(place),
                )
                manager.stopping(settings.stop_seconds)
                _log.info("stopping")
            finally:
                (settings.state / "address").unlink(missing_ok=True)
        await parts.sessions.stop()


def _tls_duties(tls: TlsKeeper | None) -> tuple[Duty, ...]:
    return () if tls is None else (Duty("TLS certificate", timedelta(days=1), tls.renew_due),)


async def _tls_port(settings: Settings, tls: TlsKeeper | None) -> TlsPort | None:
    """Hold the port for TLS, with a certificate to present there; raises `PortTakenError`."""
    if tls is None:
        return None
    await tls.renew_due()
    return TlsPort(reserve_port(settings, port=settings.web.tls_port), tls.context)


@asynccontextmanager
async def _signing_for_others(parts: Parts) -> AsyncIterator[None]:
    """Sign for the other machines of the database, where the settings want it."""
    if parts.desk is None or not parts.settings.machines.listen:
        yield
        return
    context = await parts.desk.context()
    async with serving_machines(parts.desk, parts.settings.machines.listen, context):
        yield


@asynccontextmanager
async def _unwatched(settings: Settings, clock: Clock) -> AsyncIterator[CardReaders]:
    """Watch no reader, for a state that is only being prepared."""
    yield no_card_readers(settings, clock)


@asynccontextmanager
async def _ready_parts(
    settings: Settings, progress: Progress, readers: ReadersMaker
) -> AsyncIterator[tuple[Parts, Reservation, asyncio.Task[None]]]:
    """Open the state, hold the port, and start every part; the task holds this state's place."""
    forbid_core_dumps()
    with state_of_ours(settings.state):
        await asyncio.to_thread(finish_restore, settings.state)
        clock, bus = SystemClock(timedelta(days=settings.clock_offset_days)), EventBus()
        store = await Store.open(settings.state, clock, bus, _shared_database(settings))
        try:
            restored = await take_up_restore(store, settings.state)
            reservation = await _reserved_port(settings, store)
            try:
                async with (
                    _only_here(store) as place,
                    readers(settings, clock) as found,
                    assembled(Ground(settings, clock, store, bus, found), reservation.address) as parts,
                ):
                    await start(parts, progress, restored=restored is not None)
                    await restore_taken_up(settings.state)
                    yield parts, reservation, place
            finally:
                reservation.close()
        finally:
            await store.close()


@asynccontextmanager
async def _only_here(store: Store) -> AsyncIterator[asyncio.Task[None]]:
    """Refuse to run where a copy of this state runs on another machine of the same database.

    The task keeps the place, and fails once a copy has taken it while the database was away.
    """
    taken = asyncio.Event()
    place = asyncio.create_task(_keep_place(store, taken), name="this state's place")
    waiting = asyncio.create_task(taken.wait())
    try:
        await asyncio.wait({place, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if not taken.is_set():
            place.result()
        yield place
    finally:
        for task in (place, waiting):
            task.cancel()
        await asyncio.gather(place, waiting, return_exceptions=True)


async def _keep_place(store: Store, taken: asyncio.Event) -> None:
    await store.keep(f"machine {store.machine}", wait=_LAST_RUN_SECONDS, taken=taken.set)
    raise StateInUseError(
        Text(
            "A daemon with a copy of this state works on the shared database.",
            "Un démon travaille sur la base partagée avec une copie de cet état.",
        ),
        advice=Text(
            "Stop it; on a machine of its own, begin with an empty state directory.",
            "Arrêtez-le ; sur une autre machine, commencez par un répertoire d’état vide.",
        ),
    )


async def _while_kept(place: asyncio.Task[None]) -> None:
    """Watch the place; who stops watching leaves it held."""
    await asyncio.wait({place})
    place.result()


def _shared_database(settings: Settings) -> SharedDatabase | None:
    """Return the database that machines share; their certificates then need addresses that all can reach."""
    shared = SharedDatabase.of(settings.store)
    if shared is None and settings.machines.listen:
        raise SettingsError(
            Text(
                "machines.listen is for machines that share a database: set store.url too.",
                "machines.listen concerne des machines partageant une base : renseignez aussi store.url.",
            )
        )
    if shared is not None and not settings.publication.url:
        raise SettingsError(
            Text(
                "With store.url, publication.url must say where the lists of the shared PKI are published.",
                "Avec store.url, publication.url doit dire où sont publiées les listes de l’IGC partagée.",
            )
        )
    return shared


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
    table, fact = tables.instance, store.own_name(_PORT_FACT)
    async with store.read() as connection:
        known = (await connection.execute(sa.select(table.c.value).where(table.c.name == fact))).scalar()
    if settings.http_port != 0:
        return reserve_port(settings)
    if known is not None:
        try:
            return reserve_port(settings, port=known)
        except PortTakenError:
            _log.warning("the port of the last start is taken; certificates will name another", port=known)
    reservation = reserve_port(settings)
    async with store.transaction() as tx:
        await tx.execute(sa.delete(table).where(table.c.name == fact))
        await tx.execute(sa.insert(table).values(name=fact, value=reservation.port))
    return reservation


def _services(parts: Parts, upkeep: Upkeep, metrics: DaemonMetrics) -> Services:
    async def tokens() -> list[TokenView]:
        quarantines = {each.token_serial: each for each in await parts.keys.quarantines()}
        return [
            TokenView(
                label=record.label,
                serial=record.serial,
                module=record.module,
                level=record.level,
                purpose=record.purpose,
                structure=record.structure_id,
                module_path=str(load_profile(record.module).locate()),
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
        request_secret=ensure_request_secret(parts.settings.state),
        presence=parts.presence,
        cards=parts.cards,
        sessions=parts.sessions,
        habilitations=parts.habilitations,
        orders=parts.orders,
        certificates=parts.certificates,
        keys=parts.keys,
        pki=parts.pki,
        list_ocsp=parts.list_ocsp,
        revocation=parts.revocation,
        learner=parts.learner,
        prepared=parts.prepared,
        policies=parts.policies,
        trust=parts.trust,
        validation=parts.validation,
        applications=parts.applications,
        pairings=parts.pairings,
        consents=parts.consents,
        machines=parts.machines,
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
    """Keep everything up until it is time to stop, or until one of it fails: what it raises is raised."""
    ending = asyncio.create_task(stopping.wait())
    running = {ending, *(asyncio.create_task(each) for each in kept)}
    try:
        while not ending.done():
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            running -= done
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


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
