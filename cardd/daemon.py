"""The composition root: settings become parts, parts are started, served, and stopped in reverse.

This is the only module that imports the web service.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from pathlib import Path

import sqlalchemy as sa
import structlog

from cardd.cardreaders import CardReaders, Watched, card_readers, no_card_readers
from cardd.cards.modules import CardModules
from cardd.clock import Clock, SystemClock
from cardd.custody.types import SweepReport
from cardd.duties import duties
from cardd.events import EventBus
from cardd.following import following
from cardd.logs import configure_logs
from cardd.parts import Ground, Parts, assembled, start, watching
from cardd.progress import Progress
from cardd.settings import Settings, SettingsError
from cardd.store import SharedDatabase, Store, tables
from cardd.store.lock import StateInUseError, locked
from cardd.text import Text
from cardd.upkeep import Upkeep
from cardd_pkcs11.hardening import forbid_core_dumps
from cardd_webservice.application import create_application
from cardd_webservice.errors import PortTakenError
from cardd_webservice.guard.tokens import ensure_owner_token
from cardd_webservice.server import Reservation, reserve_port, serving
from cardd_webservice.services import HealthPart, Services, TokenView
from cardd_webservice.signing import serving_machines

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
    async with _ready_parts(settings, progress, _unwatched) as (_, reservation):
        reservation.close()


async def run(settings: Settings, progress: Progress, ready: Callable[[str], None]) -> None:
    """Run the daemon until SIGINT or SIGTERM; `ready` is given the address once it answers.

    Raises `CarddError` when it cannot start.
    """
    configure_logs(settings.log)
    stopping = _stop_signals()
    async with (
        _ready_parts(settings, progress, card_readers) as (parts, reservation),
        watching(parts),
        following(parts),
    ):
        upkeep = Upkeep(parts.clock, duties(parts))
        application = create_application(_services(parts, upkeep))
        async with (
            _signing_for_others(parts),
            serving(application, reservation, settings.runtime) as address,
        ):
            await asyncio.to_thread(_write_atomically, settings.state / "address", address + "\n")
            try:
                ready(address)
                _log.info("ready", address=address, state=str(settings.state))
                await _until(stopping, upkeep)
                _log.info("stopping")
            finally:
                (settings.state / "address").unlink(missing_ok=True)
        await parts.sessions.stop()


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
) -> AsyncIterator[tuple[Parts, Reservation]]:
    """Open the state, hold the port, and start every part."""
    forbid_core_dumps()
    settings.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    settings.state.chmod(0o700)
    with locked(settings.state):
        clock, bus = SystemClock(timedelta(days=settings.clock_offset_days)), EventBus()
        store = await Store.open(settings.state, clock, bus, _shared_database(settings))
        try:
            reservation = await _reserved_port(settings, store)
            try:
                async with (
                    _only_here(store),
                    readers(settings, clock) as found,
                    assembled(Ground(settings, clock, store, bus, found), reservation.address) as parts,
                ):
                    await start(parts, progress)
                    yield parts, reservation
            finally:
                reservation.close()
        finally:
            await store.close()


@asynccontextmanager
async def _only_here(store: Store) -> AsyncIterator[None]:
    """Refuse to run where a copy of this state runs on another machine of the same database."""
    async with store.exclusively(f"machine {store.machine}", wait=_LAST_RUN_SECONDS) as alone:
        if not alone:
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
        yield


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
    """Hold the port of the settings; where any free one will do, the one of the last start if it still is."""
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


def _services(parts: Parts, upkeep: Upkeep) -> Services:
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

    async def health() -> list[HealthPart]:
        counters = parts.pool.counters
        hosts = HealthPart(
            name="token_hosts",
            ok=counters.running > 0,
            detail=Text(
                f"{counters.running} of {counters.hosts} run, {counters.restarts} restarts",
                f"{counters.running} sur {counters.hosts} actifs, {counters.restarts} redémarrages",
            ),
        )
        failing = ", ".join(f"{name} ({code})" for name, code in sorted(upkeep.failing.items()))
        kept_up = HealthPart(
            name="upkeep", ok=not failing, detail=Text(failing, failing) if failing else None
        )
        return [
            hosts,
            _readers_health(parts.readers),
            _modules_health(parts.inserted.modules),
            _keys(parts.sweep.report),
            *await _machines_health(parts),
            kept_up,
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
        machines=parts.machines,
        tokens=tokens,
        health=health,
    )


def _readers_health(readers: CardReaders) -> HealthPart:
    """Say what is watched; only a confined pcscd that is gone is a failure, for nobody else restarts it."""
    up = readers.readers is not None and readers.readers.service_is_up
    if readers.readers is None or up:
        return HealthPart(name="readers", ok=True, detail=readers.sentence)
    gone = Text("pcscd does not answer", "pcscd ne répond pas")
    detail = Text(f"{readers.sentence.en} ({gone.en})", f"{readers.sentence.fr} ({gone.fr})")
    return HealthPart(name="readers", ok=readers.watched is not Watched.VIRTUAL, detail=detail)


def _modules_health(modules: CardModules) -> HealthPart:
    """Say which modules drive cards in readers, and which of those named are missing; nothing fails by that."""
    here = ", ".join(module.name for module in modules.available)
    found = Text(
        f"Cards in readers are driven by: {here or 'none'}.",
        f"Les cartes dans les lecteurs sont pilotées par : {here or 'aucun module'}.",
    )
    sentences = [found, *(each.reason for each in modules.missing)]
    detail = Text(" ".join(each.en for each in sentences), " ".join(each.fr for each in sentences))
    return HealthPart(name="card_modules", ok=True, detail=detail)


async def _machines_health(parts: Parts) -> list[HealthPart]:
    """Say where the CA keys are, where several machines share the state; a way to them is needed."""
    if not parts.store.shared:
        return []
    machines = await parts.machines.list()
    here = next((each for each in machines if each.here), None)
    signing = ", ".join(each.name for each in machines if each.holds_ca)
    enrolled = here is not None and here.enrolled
    detail = Text(
        f"{len(machines)} share this state; CA keys: {signing}; this one is {'' if enrolled else 'not '}enrolled",
        f"{len(machines)} partagent cet état ; clés d’AC : {signing} ; celle-ci {'est' if enrolled else 'n’est pas'} "
        "inscrite",
    )
    return [HealthPart(name="machines", ok=enrolled, detail=detail)]


def _shown(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _keys(report: SweepReport | None) -> HealthPart:
    """Say what the last check of every key found."""
    if report is None:
        return HealthPart(name="keys", ok=True, detail=Text("not checked yet", "pas encore vérifiées"))
    foreign = ", ".join(report.foreign_tokens) or "0"
    return HealthPart(
        name="keys",
        ok=report.findings == 0,
        detail=Text(
            f"{report.keys} checked at {report.swept_at:%Y-%m-%d %H:%M}, {report.findings} findings "
            f"(`cardd key list`), foreign tokens: {foreign}",
            f"{report.keys} vérifiées le {report.swept_at:%d/%m/%Y %H:%M}, {report.findings} constats "
            f"(« cardd key list »), jetons étrangers : {foreign}",
        ),
    )


def _stop_signals() -> asyncio.Event:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    return stopping


async def _until(stopping: asyncio.Event, upkeep: Upkeep) -> None:
    """Keep everything up until it is time to stop."""
    keeping = asyncio.create_task(upkeep.run())
    try:
        await stopping.wait()
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)


def _write_atomically(path: Path, text: str) -> None:
    unfinished = path.with_name(f".{path.name}.new")
    with unfinished.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
