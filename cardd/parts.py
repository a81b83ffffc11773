"""The daemon's parts, made in the order they need one another and closed in reverse."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

from cardd.cardreaders import CardReaders
from cardd.cards.inserted import InsertedCards
from cardd.cards.modules import CardModules, card_modules_named
from cardd.cards.namedlists import NamedLists
from cardd.cards.personalisation import Personaliser
from cardd.cards.presence import Presence
from cardd.cards.sessions import CardSessions, SessionParts
from cardd.cards.testcards import CardParts, TestCards
from cardd.cards.virtualcards import VirtualCards
from cardd.clock import Clock
from cardd.custody.chain import TokenChains
from cardd.custody.errors import token_errors_translated
from cardd.custody.evidence import Evidence, open_instance_key
from cardd.custody.keys import KeyMaker
from cardd.custody.pins import PinVault
from cardd.custody.registry import KeyIntents
from cardd.custody.seal import Sealer, open_sealer
from cardd.custody.sweep import Sweep, SweepParts
from cardd.custody.tokens import TokenKeeper
from cardd.demo import ensure_demonstration
from cardd.events import EventBus
from cardd.igc.lint import Linter
from cardd.igc.names import CaName
from cardd.igc.pki import Pki, PkiParts
from cardd.igc.policy import CaKeyAlgorithm, PkiPolicy
from cardd.igc.publishing import ListKind
from cardd.orders.certificates import Certificates
from cardd.orders.habilitations import Habilitations
from cardd.orders.keycustody import CustodyParts, KeyCustody
from cardd.orders.notices import Notices
from cardd.orders.orders import Orders
from cardd.orders.parts import OrderParts
from cardd.progress import Progress, ProgressStep
from cardd.revocation import proxies
from cardd.revocation.applicationpolicies import FreshnessPolicies
from cardd.revocation.cache import RevocationCache
from cardd.revocation.cacheparts import CacheParts, LocalList
from cardd.revocation.configured import configured_sources, configured_tls
from cardd.revocation.fetching import Fetcher, FetchPolicy
from cardd.revocation.learning import Learner
from cardd.revocation.policies import RenewalPolicy, built_in
from cardd.revocation.prepared import PreparedLists
from cardd.revocation.trust import TrustStore
from cardd.revocation.types import CrlId
from cardd.revocation.validation import Validation
from cardd.settings import PublicationSettings, Settings
from cardd.store import Store
from cardd.text import Text
from cardd.upkeep import Duty
from cardd_pkcs11.pool import TokenHostPool
from cardd_pkcs11.profiles import load_profile
from cardd_pkcs11.softhsm import write_softhsm_config

_MOST_HOSTS_BY_DEFAULT = 4


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Everything that runs, whatever serves it."""

    settings: Settings
    clock: Clock
    bus: EventBus
    store: Store
    pool: TokenHostPool
    keeper: TokenKeeper
    vault: PinVault
    intents: KeyIntents
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
    chains: TokenChains
    sweep: Sweep
    keys: KeyCustody
    revocation: RevocationCache
    learner: Learner
    named_lists: NamedLists
    prepared: PreparedLists
    policies: FreshnessPolicies
    trust: TrustStore
    validation: Validation


@dataclass(frozen=True)
class Ground:
    """What every part stands on."""

    settings: Settings
    clock: Clock
    store: Store
    bus: EventBus
    readers: CardReaders


@asynccontextmanager
async def assembled(ground: Ground, address: str) -> AsyncIterator[Parts]:
    """Make every part; `address` is where the web service will answer. See `start`."""
    settings = ground.settings
    profile = load_profile(settings.tokens.module)
    environment = {"SOFTHSM2_CONF": str(await asyncio.to_thread(write_softhsm_config, settings.state))}
    hosts = settings.tokens.processes or min(os.cpu_count() or 1, _MOST_HOSTS_BY_DEFAULT)
    sealer = await asyncio.to_thread(open_sealer, settings.state)
    instance = await asyncio.to_thread(open_instance_key, settings.state, sealer)
    pool, linter = TokenHostPool(profile, hosts, environment), Linter()
    evidence = Evidence(ground.store, ground.clock, instance, sealer, profile.name)
    tools = _Tools(pool, linter, sealer, evidence, pki_policy(settings, address))
    modules = await asyncio.to_thread(_card_modules, ground)
    inserted = InsertedCards(ground.store, modules)
    parts = _connected(ground, tools, inserted)
    try:
        yield parts
    finally:
        await parts.revocation.close()
        await inserted.close()
        await modules.close()
        await linter.close()
        await pool.close()


def _card_modules(ground: Ground) -> CardModules:
    """Look for the modules of cards in readers."""
    settings = ground.settings
    names = card_modules_named(settings.cards.modules)
    return CardModules(names, settings.state / "card-modules", ground.readers.environment)


@dataclass(frozen=True)
class _Tools:
    """What is opened before the parts that use it are made."""

    pool: TokenHostPool
    linter: Linter
    sealer: Sealer
    evidence: Evidence
    policy: PkiPolicy


def _connected(ground: Ground, tools: _Tools, inserted: InsertedCards) -> Parts:
    settings, clock, store = ground.settings, ground.clock, ground.store
    pool, linter, evidence, policy = tools.pool, tools.linter, tools.evidence, tools.policy
    vault = PinVault(settings.state / "pins", tools.sealer)
    keeper, intents = TokenKeeper(store, pool, vault), KeyIntents(store, pool)
    chains = TokenChains(store, pool)
    custody = pool.profile.custody
    maker = KeyMaker(pool, custody, binds=vault.binds, witness=evidence.witness)
    # A card's PIN is its holder's, whatever was sealed for it while it was made.
    card_maker = KeyMaker(pool, custody, witness=evidence.witness)
    pki = Pki(
        PkiParts(
            store=store,
            clock=clock,
            policy=policy,
            pool=pool,
            keeper=keeper,
            maker=maker,
            intents=intents,
            linter=linter,
            base_every=timedelta(hours=settings.pki.crl_base_hours),
            admit=chains.admit,
        )
    )
    habilitations = Habilitations(store, clock)
    sessions = CardSessions(
        SessionParts(
            store=store,
            clock=clock,
            settings=settings,
            tokens=pool,
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
            tokens=pool,
            personaliser=Personaliser(pool, vault, card_maker, pki),
            pki=pki,
            habilitations=habilitations,
            sessions=sessions,
            virtual=virtual,
        )
    )
    order_parts = OrderParts(
        store=store,
        clock=clock,
        settings=settings,
        pki=pki,
        pool=pool,
        keeper=keeper,
        maker=maker,
        intents=intents,
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
    grace = timedelta(hours=settings.revocation.grace_hours)
    policies = FreshnessPolicies(store, built_in(grace), settings.revocation.policy)
    revocation = revocation_cache(ground, pki, policies)
    trust = TrustStore(
        lambda: [each.certificate for each in pki.authorities.values()], settings.state / "trust"
    )
    learner = Learner(trust, revocation)
    return Parts(
        settings=settings,
        clock=clock,
        bus=ground.bus,
        store=store,
        pool=pool,
        keeper=keeper,
        vault=vault,
        intents=intents,
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
        chains=chains,
        sweep=sweep,
        keys=keys,
        revocation=revocation,
        learner=learner,
        named_lists=NamedLists(ground.bus, inserted, learner),
        prepared=PreparedLists(trust, revocation),
        policies=policies,
        trust=trust,
        validation=Validation(trust, revocation, clock, policies),
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


async def start(parts: Parts, progress: Progress) -> None:
    """Bring the parts from whatever state the last run left to readiness, telling how far it is.

    Raises `CarddError`; what was reached is kept, and the next start goes on from there.
    """
    keys = len(CaName)
    total = keys + 3
    progress(ProgressStep(0, total, Text("Opening the tokens", "Ouverture des jetons")))
    with token_errors_translated():
        await parts.pool.start()
    await parts.keeper.reopen()
    await parts.chains.start(await parts.keeper.list())
    await parts.intents.recover()
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
    await ensure_demonstration(parts.store, parts.habilitations, parts.cards)
    progress(ProgressStep(total, total, Text("Ready", "Prêt")))


@asynccontextmanager
async def watching(parts: Parts) -> AsyncIterator[None]:
    """Watch the readers for the length of the context, with the virtual cards in them that were there before."""
    async with parts.readers.watching():
        if parts.virtual.unavailable is None:
            await parts.virtual.reinsert()
        yield


def duties(parts: Parts) -> tuple[Duty, ...]:
    """Return what has to be done in time while the daemon runs."""
    minute, hour = timedelta(minutes=1), timedelta(hours=1)
    return (
        Duty("revocation lists", minute, parts.pki.lists.refresh),
        Duty("revocation lists of others", timedelta(seconds=15), parts.revocation.renew_due),
        Duty("ages of revocation lists", timedelta(seconds=15), parts.revocation.tell_ages),
        Duty("own revocation lists in the cache", timedelta(seconds=1), parts.revocation.follow_local),
        Duty("lists that inserted cards name", timedelta(seconds=1), parts.named_lists.follow),
        Duty("archive of revocation lists", 24 * hour, parts.revocation.tidy),
        Duty("OCSP responders", hour, parts.pki.renew_responders),
        Duty("terms of cards", minute, parts.cards.oppose_due),
        Duty("card sessions", minute, parts.sessions.expire_due),
        Duty("terms of orders", minute, parts.orders.expire_due),
        Duty("certificates to write on tokens", minute, parts.certificates.finish_token_writes),
        Duty("token chains", minute, parts.keys.advance_chains),
        Duty("check of every key", timedelta(days=1), parts.sweep.perform),
        Duty("notices due", hour, parts.notices.queue_due),
        Duty("notices to send", minute, parts.notices.send_pending),
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
