"""The daemon's parts, made in the order they need one another and closed in reverse."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from cardd.alerts.alerts import Alerts
from cardd.alerts.watching import AlertWatch, WatchParts
from cardd.applications.consent import Consents
from cardd.applications.pairing import Pairings
from cardd.applications.registry import Applications
from cardd.backup.making import BackupParts, Backups
from cardd.cards.inserted import InsertedCards
from cardd.cards.modules import CardModules, card_modules_named
from cardd.cards.namedlists import NamedLists
from cardd.cards.personalisation import Personaliser
from cardd.cards.presence import Presence
from cardd.cards.sessions import CardSessions, SessionParts
from cardd.cards.testcards import CardParts, TestCards
from cardd.cards.virtualcards import VirtualCards
from cardd.custody.evidence import Evidence, InstanceKey, open_instance_key
from cardd.custody.holding import Holding, make_holding
from cardd.custody.keys import KeyMaker
from cardd.custody.media import Media, open_media, open_software
from cardd.custody.seal import open_sealer, open_shared_sealer
from cardd.custody.stock import KeyStock
from cardd.custody.sweep import Sweep, SweepParts
from cardd.igc.lint import Linter
from cardd.igc.listocsp import ListOcsp
from cardd.igc.pki import Pki, PkiParts
from cardd.igc.policy import CaKeyAlgorithm, PkiPolicy
from cardd.igc.publishing import ListKind
from cardd.machines.asking import SigningMachines
from cardd.machines.desk import SigningDesk
from cardd.machines.identity import MachineIdentity, open_machine_identity
from cardd.machines.registry import Machines
from cardd.orders.certificates import Certificates
from cardd.orders.habilitations import Habilitations
from cardd.orders.keycustody import CustodyParts, KeyCustody
from cardd.orders.mail import Mailer
from cardd.orders.notices import Notices
from cardd.orders.orders import Orders
from cardd.orders.parts import OrderParts
from cardd.orders.readykeys import ReadyKeys
from cardd.outgoing.deliveries import Deliveries
from cardd.outgoing.routes import Routes
from cardd.outgoing.sending import Outgoing
from cardd.parts import Ground, Parts
from cardd.retention import Retention
from cardd.revocation import proxies
from cardd.revocation.applicationpolicies import FreshnessPolicies
from cardd.revocation.cache import RevocationCache
from cardd.revocation.cacheparts import CacheParts, LocalList
from cardd.revocation.configured import configured_sources, configured_tls
from cardd.revocation.fetching import Fetcher, FetchPolicy
from cardd.revocation.latevalidation import LateValidation
from cardd.revocation.learning import Learner
from cardd.revocation.policies import RenewalPolicy, built_in
from cardd.revocation.prepared import PreparedLists
from cardd.revocation.trust import TrustStore
from cardd.revocation.types import CrlId
from cardd.settings import PublicationSettings, Settings
from cardd.store import SEVERAL_MACHINES
from cardd_pkcs11.errors import TokenNotFoundError
from cardd_pkcs11.types import TokenSerial


@asynccontextmanager
async def assembled(ground: Ground, address: str) -> AsyncIterator[Parts]:
    """Make every part; `address` is where the web service will answer. See `start`."""
    settings = ground.settings
    sealer = await asyncio.to_thread(open_sealer, settings.state)
    instance = await asyncio.to_thread(open_instance_key, settings.state, sealer)
    media, linter = await open_media(settings, ground.store), Linter()
    ca_media = await _ca_media(settings, media)
    evidence = Evidence(ground.store, ground.clock, instance, sealer, _module_of(media, ca_media))
    await evidence.announce()
    own = make_holding(ground.store, media, settings.state, sealer, evidence)
    ca = own if ca_media is media else await _ca_holding(ground, ca_media, evidence)
    tools = _Tools(
        own, ca, linter, instance, evidence, pki_policy(settings, address), await _identity(ground)
    )
    modules = await asyncio.to_thread(_card_modules, ground)
    inserted = InsertedCards(ground.store, modules)
    parts = _connected(ground, tools, inserted)
    try:
        yield parts
    finally:
        await parts.outgoing.close()
        await parts.revocation.close()
        await inserted.close()
        await modules.close()
        await linter.close()
        for holding in parts.holdings:
            await holding.pool.close()


async def _ca_media(settings: Settings, own: Media) -> Media:
    """Return where the CA keys are: among this machine's own, or in a directory that several share."""
    return (
        await open_software(settings.tokens, Path(settings.pki.directory)) if settings.pki.directory else own
    )


async def _ca_holding(ground: Ground, media: Media, evidence: Evidence) -> Holding:
    """Make what works on the tokens of a shared directory."""
    directory = Path(ground.settings.pki.directory)
    sealer = await asyncio.to_thread(open_shared_sealer, directory)
    return make_holding(ground.store, media, directory, sealer, evidence, owner=SEVERAL_MACHINES)


def _module_of(own: Media, ca: Media) -> Callable[[TokenSerial], str]:
    """Return what names the module that holds a token."""

    def module_of(serial: TokenSerial) -> str:
        try:
            return own.all.profile_of(serial).name
        except TokenNotFoundError:
            return ca.all.profile_of(serial).name

    return module_of


async def _identity(ground: Ground) -> MachineIdentity | None:
    """Return what this machine shows to those that share its database."""
    if not ground.store.shared:
        return None
    state, now = ground.settings.state, ground.clock.now()
    return await asyncio.to_thread(open_machine_identity, state, ground.store.machine, now)


def _card_modules(ground: Ground) -> CardModules:
    """Look for the modules of cards in readers."""
    settings = ground.settings
    names = card_modules_named(settings.cards.modules)
    return CardModules(names, settings.state / "card-modules", ground.readers.environment)


@dataclass(frozen=True)
class _Tools:
    """What is opened before the parts that use it are made."""

    own: Holding
    ca: Holding
    linter: Linter
    instance: InstanceKey
    evidence: Evidence
    policy: PkiPolicy
    identity: MachineIdentity | None


def _connected(ground: Ground, tools: _Tools, inserted: InsertedCards) -> Parts:
    settings, clock, store = ground.settings, ground.clock, ground.store
    own, ca, evidence = tools.own, tools.ca, tools.evidence
    pool, vault, keeper, intents, chains, maker = (
        own.pool, own.vault, own.keeper, own.intents, own.chains, own.maker
    )  # fmt: skip
    machines, identity = Machines(store, clock), tools.identity
    software = own.media.software
    # A card's PIN is its holder's, whatever was sealed for it while it was made.
    card_maker = KeyMaker(software, software.profile.custody, witness=evidence.witness)
    pki = Pki(
        PkiParts(
            store=store,
            clock=clock,
            policy=tools.policy,
            pool=ca.pool,
            keeper=ca.keeper,
            maker=ca.maker,
            intents=ca.intents,
            linter=tools.linter,
            base_every=timedelta(hours=settings.pki.crl_base_hours),
            distant=None if identity is None else SigningMachines(machines, identity),
            admit=ca.chains.admit,
        )
    )
    habilitations = Habilitations(store, clock)
    sessions = CardSessions(
        SessionParts(
            store=store,
            clock=clock,
            settings=settings,
            tokens=software,
            pki=pki,
            habilitations=habilitations.of_card,
            vault=vault,
            inserted=inserted,
        )
    )
    readers = ground.readers
    if readers.readers is not None:
        inserted.attach(readers.readers)
    virtual = VirtualCards(
        store, pki, readers.virtual, bus=ground.bus, unavailable=readers.virtual_unavailable
    )
    cards = TestCards(
        CardParts(
            store=store,
            clock=clock,
            settings=settings,
            tokens=software,
            personaliser=Personaliser(software, vault, card_maker, pki),
            pki=pki,
            habilitations=habilitations,
            sessions=sessions,
            virtual=virtual,
        )
    )
    stock = KeyStock(store, maker, intents)
    order_parts = OrderParts(
        store=store,
        clock=clock,
        settings=settings,
        pki=pki,
        pool=pool,
        keeper=keeper,
        maker=maker,
        intents=intents,
        stock=stock,
        vault=vault,
    )
    orders, certificates = Orders(order_parts), Certificates(order_parts)
    sweep = Sweep(
        SweepParts(store=store, clock=clock, pool=pool, keeper=keeper, chains=chains, evidence=evidence)
    )
    keys = KeyCustody(
        CustodyParts(
            store=store,
            clock=clock,
            pool=pool,
            keeper=keeper,
            chains=chains,
            evidence=evidence,
            sweep=sweep,
            maker=maker,
            orders=orders,
            certificates=certificates,
        )
    )
    alerts = Alerts(store, clock, settings)
    routes = Routes.from_settings(settings)
    outgoing = Outgoing(Mailer(settings.smtp), routes.secret)
    deliveries = Deliveries(store, clock, routes, outgoing.send)
    grace = timedelta(hours=settings.revocation.grace_hours)
    policies = FreshnessPolicies(store, built_in(grace), settings.revocation.policy)
    revocation = revocation_cache(ground, pki, policies)
    applications = Applications(store, clock)
    trust = TrustStore(
        lambda: [each.certificate for each in pki.authorities.values()], settings.state / "trust"
    )
    learner = Learner(trust, revocation)
    return Parts(
        settings=settings,
        clock=clock,
        bus=ground.bus,
        store=store,
        holdings=(own,) if ca is own else (own, ca),
        pool=pool,
        keeper=keeper,
        vault=vault,
        pki=pki,
        readers=readers,
        inserted=inserted,
        presence=Presence(store, inserted),
        virtual=virtual,
        cards=cards,
        sessions=sessions,
        habilitations=habilitations,
        orders=orders,
        certificates=certificates,
        notices=Notices(store, clock, settings),
        ready_keys=ReadyKeys(order_parts, lambda: pool.counters.busy == 0),
        chains=chains,
        sweep=sweep,
        keys=keys,
        revocation=revocation,
        list_ocsp=ListOcsp(pki, revocation),
        learner=learner,
        named_lists=NamedLists(ground.bus, inserted, learner),
        prepared=PreparedLists(trust, revocation),
        policies=policies,
        trust=trust,
        validation=LateValidation(trust, revocation, clock, policies),
        applications=applications,
        pairings=Pairings(store, clock, applications),
        consents=Consents(store, clock),
        machines=machines,
        identity=identity,
        desk=None if identity is None else SigningDesk(store, clock, pki, machines, identity),
        backups=Backups(
            BackupParts(
                settings=settings,
                store=store,
                clock=clock,
                pool=pool,
                keeper=keeper,
                vault=vault,
                instance=tools.instance,
                revocation=revocation,
            )
        ),
        alerts=alerts,
        watch=AlertWatch(
            WatchParts(store=store, clock=clock, pool=pool, pki=pki, chains=chains, revocation=revocation),
            alerts,
        ),
        outgoing=outgoing,
        deliveries=deliveries,
        retention=Retention(store, clock, settings, deliveries),
    )


@dataclass(frozen=True)
class OwnLists:
    """The test PKI's complete lists, for the revocation cache."""

    pki: Pki

    def current(self) -> list[LocalList]:
        """Return the lists as published last."""
        return [
            LocalList(
                CrlId(found.issuer.value),
                self.pki.authorities[found.issuer].certificate,
                found.der,
                found.sha256,
            )
            for found in self.pki.lists.all()
            if found.kind is ListKind.FULL
        ]


def revocation_cache(ground: Ground, pki: Pki, policies: FreshnessPolicies) -> RevocationCache:
    """Make the cache of revocation lists as the settings want it."""
    settings = ground.settings.revocation
    directory = ground.settings.state / "revocation"
    fetching = FetchPolicy(
        connect_seconds=settings.connect_seconds,
        total_seconds=settings.total_seconds,
        size_limit=settings.size_limit_mib * 1024 * 1024,
        private_redirects=settings.private_redirects,
    )
    return RevocationCache(
        CacheParts(
            store=ground.store,
            clock=ground.clock,
            bus=ground.bus,
            directory=directory,
            fetcher=Fetcher(
                fetching,
                directory / "incoming",
                proxies=proxies.chosen(settings.proxy, settings.no_proxy),
                tls=configured_tls(settings),
            ),
            policy=policies.of(),
            local=OwnLists(pki),
            fixed=configured_sources(settings),
            renewal=RenewalPolicy(longest=timedelta(hours=settings.refresh_hours)),
            archive_for=timedelta(days=settings.archive_days),
        )
    )


def pki_policy(settings: Settings, address: str) -> PkiPolicy:
    """Return the PKI's policy: the settings, with the daemon's own address where no other is set."""
    pki = settings.pki
    crl, delta = timedelta(hours=pki.crl_validity_hours), timedelta(hours=pki.delta_validity_hours)
    return PkiPolicy(
        base_urls=_base_urls(settings.publication, address),
        organisation=pki.organisation,
        organisational_units=(pki.organisation_unit, pki.pki_unit),
        policy_oid=pki.policy_oid,
        ca_algorithm=CaKeyAlgorithm(pki.ca_algorithm),
        validity_years=pki.validity_years,
        crl_validity=crl,
        crl_refresh_before=crl / 2,
        delta_validity=delta,
        delta_refresh_before=delta / 2,
        ocsp_validity=timedelta(minutes=pki.ocsp_validity_minutes),
    )


def _base_urls(publication: PublicationSettings, address: str) -> tuple[str, ...]:
    first = publication.url.rstrip("/") or address
    second = publication.mirror_url.rstrip("/") or (
        "" if publication.url else address.replace("127.0.0.1", "localhost")
    )
    return (first, second) if second else (first,)
