"""The daemon's parts, what each start does with them, and what changed settings do to them."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog

from cardd.alerts.alerts import Alerts
from cardd.alerts.watching import AlertWatch
from cardd.applications.consent import Consents
from cardd.applications.pairing import Pairings
from cardd.applications.registry import Applications
from cardd.backup.making import Backups
from cardd.backup.takeup import LEAP
from cardd.cardreaders import CardReaders
from cardd.cards.inserted import InsertedCards
from cardd.cards.namedlists import NamedLists
from cardd.cards.presence import Presence
from cardd.cards.sessions import CardSessions
from cardd.cards.testcards import TestCards
from cardd.cards.virtualcards import VirtualCards
from cardd.clock import Clock
from cardd.custody.chain import TokenChains
from cardd.custody.holding import Holding
from cardd.custody.pins import PinVault
from cardd.custody.sweep import Sweep
from cardd.custody.tokens import TokenKeeper
from cardd.demo import ensure_demonstration
from cardd.events import EventBus
from cardd.igc.listocsp import ListOcsp
from cardd.igc.names import CaName
from cardd.igc.pki import Pki
from cardd.logs import configure_logs
from cardd.machines.desk import SigningDesk
from cardd.machines.errors import (
    MachineNotEnrolledError,
    SigningMachineUnavailableError,
    SigningRefusedError,
)
from cardd.machines.identity import MachineIdentity
from cardd.machines.registry import Machines
from cardd.orders.certificates import Certificates
from cardd.orders.habilitations import Habilitations
from cardd.orders.keycustody import KeyCustody
from cardd.orders.mail import Mailer
from cardd.orders.notices import Notices
from cardd.orders.orders import Orders
from cardd.orders.readykeys import ReadyKeys
from cardd.outgoing.deliveries import Deliveries
from cardd.outgoing.routes import Routes
from cardd.outgoing.sending import Outgoing
from cardd.progress import Progress, ProgressStep
from cardd.reload import Reload
from cardd.retention import Retention
from cardd.revocation.applicationpolicies import FreshnessPolicies
from cardd.revocation.cache import RevocationCache
from cardd.revocation.configured import configured_sources
from cardd.revocation.latevalidation import LateValidation
from cardd.revocation.learning import Learner
from cardd.revocation.prepared import PreparedLists
from cardd.revocation.trust import TrustStore
from cardd.settings import Settings
from cardd.store import Store
from cardd.text import Text
from cardd_pkcs11.operations import TokenPool

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Everything that runs, whatever serves it."""

    settings: Settings
    clock: Clock
    bus: EventBus
    store: Store
    holdings: tuple[Holding, ...]
    pool: TokenPool
    keeper: TokenKeeper
    vault: PinVault
    pki: Pki
    readers: CardReaders
    inserted: InsertedCards
    presence: Presence
    virtual: VirtualCards
    cards: TestCards
    sessions: CardSessions
    habilitations: Habilitations
    orders: Orders
    certificates: Certificates
    notices: Notices
    ready_keys: ReadyKeys
    chains: TokenChains
    sweep: Sweep
    keys: KeyCustody
    revocation: RevocationCache
    list_ocsp: ListOcsp
    learner: Learner
    named_lists: NamedLists
    prepared: PreparedLists
    policies: FreshnessPolicies
    trust: TrustStore
    validation: LateValidation
    applications: Applications
    pairings: Pairings
    consents: Consents
    machines: Machines
    #: What this machine shows to the others, and signs for them; None where the state is not shared.
    identity: MachineIdentity | None
    desk: SigningDesk | None
    backups: Backups
    alerts: Alerts
    watch: AlertWatch
    outgoing: Outgoing
    deliveries: Deliveries
    retention: Retention


@dataclass(frozen=True)
class Ground:
    """What every part stands on."""

    settings: Settings
    clock: Clock
    store: Store
    bus: EventBus
    readers: CardReaders


async def start(parts: Parts, progress: Progress, *, restored: bool = False) -> None:
    """Bring the parts from whatever state the last run left to readiness, telling how far it is.

    `restored` says that the state comes from a backup, and that this is its first start.

    Raises `CarddError`; what was reached is kept, and the next start goes on from there.
    """
    keys = len(CaName)
    total = keys + 3
    progress(ProgressStep(0, total, Text("Opening the tokens", "Ouverture des jetons")))
    for holding in parts.holdings:
        await holding.open(leap=LEAP if restored else 0)
    making = Text("Making the keys of the test PKI", "Création des clés de l’IGC de test")
    progress(ProgressStep(1, total, making))
    await parts.pki.start(lambda made, _: progress(ProgressStep(1 + made, total, making)))
    preparing = Text("Preparing the demonstration", "Préparation de la démonstration")
    progress(ProgressStep(1 + keys, total, preparing))
    await parts.cards.recover()
    await parts.orders.recover()
    await parts.certificates.finish_token_writes()
    await parts.policies.load()
    await parts.revocation.start()
    await parts.list_ocsp.take_settings(parts.settings.revocation)
    await _announce(parts)
    await demonstrate(parts)
    progress(ProgressStep(total, total, Text("Ready", "Prêt")))


async def _announce(parts: Parts) -> None:
    """Tell the other machines of this one."""
    if parts.identity is not None:
        settings = parts.settings.machines
        await parts.machines.announce(
            name=settings.name or socket.gethostname(),
            address=settings.listen,
            certificate=parts.identity.der,
            holds_ca=not parts.pki.elsewhere,
        )


async def demonstrate(parts: Parts) -> None:
    """Make the demonstration; where its card's certificates cannot be signed yet, later."""
    try:
        await ensure_demonstration(parts.store, parts.habilitations, parts.cards)
    except (MachineNotEnrolledError, SigningMachineUnavailableError, SigningRefusedError) as error:
        _log.warning("the demonstration's card waits", why=error.detail.en)


@asynccontextmanager
async def watching(parts: Parts) -> AsyncIterator[None]:
    """Watch the readers for the length of the context, with the virtual cards in them that were there before."""
    async with parts.readers.watching():
        if parts.virtual.unavailable is None:
            await parts.virtual.reinsert()
        yield


def reload_of(parts: Parts) -> Reload:
    """Return who takes changed settings up while the daemon runs."""

    async def logs(settings: Settings) -> None:
        configure_logs(settings.log)

    async def routes(settings: Settings) -> None:
        found = await asyncio.to_thread(Routes.from_settings, settings)
        parts.deliveries.routes, parts.outgoing.secret = found, found.secret

    async def alerts(settings: Settings) -> None:
        await routes(settings)
        await parts.alerts.take_settings(settings)

    async def mail(settings: Settings) -> None:
        await routes(settings)
        await parts.notices.take_settings(settings)
        parts.outgoing.mailer = Mailer(settings.smtp)

    async def lists(settings: Settings) -> None:
        await parts.revocation.replace_fixed(configured_sources(settings.revocation))

    async def list_ocsp(settings: Settings) -> None:
        await parts.list_ocsp.take_settings(settings.revocation)

    return Reload(
        parts.settings,
        {
            "log": logs,
            "alerts": alerts,
            "webhooks": routes,
            "retention": parts.retention.take_settings,
            "smtp": mail,
            "backup": parts.backups.take_settings,
            "revocation.lists": lists,
            "revocation.igc_sante": lists,
            "revocation.ocsp": list_ocsp,
        },
    )
