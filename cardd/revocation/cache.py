"""The revocation cache: sources fetched in time, verified, indexed, and answered from.

A fetch that fails changes nothing but its own record: the list held stays, is answered from until its
nextUpdate, and is labelled with what is true of it.
"""

import asyncio
import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from random import Random, SystemRandom
from typing import NamedTuple, Protocol

import structlog
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from cardd.clock import Clock
from cardd.errors import CarddError, FieldProblem, InvalidFieldsError, NotFoundError
from cardd.events import EventBus, EventType
from cardd.revocation import archive, renewal, sources
from cardd.revocation.errors import FetchFailedError, ListRefusedError, ListUnavailableError
from cardd.revocation.fetching import Fetcher, Validators, unsupported
from cardd.revocation.flights import Flights
from cardd.revocation.index import HeldFacts, IndexReader
from cardd.revocation.indexer import IndexJob, RemoveJob, TidyJob, list_path
from cardd.revocation.indexing import Indexer
from cardd.revocation.lists import ListFacts, spki_sha256, urls_of
from cardd.revocation.policies import RenewalPolicy
from cardd.revocation.sources import Failure, NewSource, Source, Sources
from cardd.revocation.status import (
    Cover,
    Held,
    Target,
    answer,
    covers_of,
    end_of,
    freshness_of,
    target_of,
)
from cardd.revocation.types import (
    ArchivedList,
    CrlId,
    CrlRequest,
    CrlView,
    Freshness,
    FreshnessPolicy,
    Question,
    RevocationAnswer,
    SpkiHash,
    Status,
)
from cardd.store import Store
from cardd.text import Language, Text

_log = structlog.get_logger(__name__)

#: Answers of a batch that are made before other work gets its turn; about a millisecond.
_BATCH_PIECE = 200
#: Lists fetched at once.
_MOST_FLIGHTS = 4


class LocalList(NamedTuple):
    """A list that this daemon publishes itself."""

    id: CrlId
    signer: x509.Certificate
    der: bytes


class LocalLists(Protocol):
    """The local PKI, as the cache sees it."""

    def current(self) -> Sequence[LocalList]:
        """Return the complete lists as published last."""
        ...


class RawList(NamedTuple):
    """A list as held, for those who want the file."""

    path: Path
    etag: str
    this_update: datetime
    next_update: datetime | None


@dataclass(frozen=True, kw_only=True)
class CacheParts:
    """What the cache is made from."""

    store: Store
    clock: Clock
    bus: EventBus
    directory: Path
    fetcher: Fetcher
    policy: FreshnessPolicy
    """Of callers that name none."""
    local: LocalLists
    fixed: Sequence[NewSource] = ()
    """Lists of the settings."""
    renewal: RenewalPolicy = field(default_factory=RenewalPolicy)
    archive_for: timedelta = timedelta(days=90)
    random: Random = field(default_factory=SystemRandom)


class RevocationCache:
    """Keeps lists and answers from them; see `types.Revocation`."""

    def __init__(self, parts: CacheParts) -> None:
        self._parts = parts
        self._sources = Sources(parts.store)
        self._indexer = Indexer(parts.directory)
        self._reader: IndexReader | None = None
        self._flights: Flights[CrlView] = Flights()
        self._room = asyncio.Semaphore(_MOST_FLIGHTS)
        self._local_turn = asyncio.Lock()
        self._received: dict[CrlId, int] = {}
        self._covers: dict[SpkiHash, tuple[Cover, ...]] = {}
        self._held = Held({}, self._no_entry, {}, parts.renewal.assumed)

    async def start(self) -> None:
        """Open the index as the last run left it, and take the settings' and the local PKI's lists in."""
        for leftover in await asyncio.to_thread(lambda: list(self._incoming.glob("*"))):
            leftover.unlink(missing_ok=True)
        self._reader = await asyncio.to_thread(IndexReader, self._parts.directory / "index")
        await self._sources.load()
        await self._take_fixed(self._parts.fixed)
        self._see()
        await self.take_local()

    async def replace_fixed(self, fixed: Sequence[NewSource]) -> None:
        """Keep these lists as those of the settings from now on."""
        await self._take_fixed(fixed)
        self._see()

    async def copy_index(self, directory: Path) -> None:
        """Copy the index into an empty directory; the files of its lists are beside the index and never change."""
        if self._reader is not None:
            await asyncio.to_thread(self._reader.copy_to, directory)

    async def close(self) -> None:
        """End fetches and the indexer, and let go of the index."""
        await self._flights.close()
        await self._indexer.close()
        if self._reader is not None:
            self._held = Held({}, self._no_entry, {}, self._parts.renewal.assumed)
            self._reader.close()
            self._reader = None

    @property
    def indexer_pid(self) -> int | None:
        """The process that indexes, while there is one."""
        return self._indexer.pid

    # Answers

    async def status(
        self, issuer: SpkiHash, serial: int, policy: FreshnessPolicy | None = None
    ) -> RevocationAnswer:
        """Answer for a serial of the CA whose key has this hash."""
        return self.answer(issuer, serial, policy)

    def answer(
        self, issuer: SpkiHash, serial: int, policy: FreshnessPolicy | None = None
    ) -> RevocationAnswer:
        """Answer at once: a look-up in mapped memory, some microseconds."""
        covers = self._covers.get(issuer, ())
        return answer(
            covers, serial, self._held, self._parts.clock.now(), policy=policy or self._parts.policy
        )

    async def batch(
        self, questions: Sequence[Question], policy: FreshnessPolicy | None = None
    ) -> list[RevocationAnswer]:
        """Answer many, giving way to other work in between."""
        answers: list[RevocationAnswer] = []
        for start in range(0, len(questions), _BATCH_PIECE):
            answers += [
                self.answer(each.issuer, each.serial, policy)
                for each in questions[start : start + _BATCH_PIECE]
            ]
            await asyncio.sleep(0)
        return answers

    async def status_of(
        self,
        certificate: x509.Certificate,
        at: datetime | None = None,
        policy: FreshnessPolicy | None = None,
    ) -> RevocationAnswer:
        """Answer for a certificate; at a past time, from the lists in force then."""
        target, now = target_of(certificate), self._parts.clock.now()
        covers = self._covers_of_issuer(certificate)
        serial, chosen = certificate.serial_number, policy or self._parts.policy
        present = answer(covers, serial, self._held, now, policy=chosen, target=target)
        if at is None or at >= now:
            return present
        if present.status is Status.REVOKED and present.revoked_at is not None and present.revoked_at <= at:
            return present
        return await self._past_answer(covers, certificate, target, at, chosen)

    async def archived(self, issuer: SpkiHash, at: datetime) -> list[ArchivedList]:
        """Return the lists of a CA that were in force at a past time: complete ones, and deltas that fit."""
        found = []
        for cover in self._covers.get(issuer, ()):
            held = archive.in_force(self._index.archived(cover.source), at, self._parts.renewal.assumed)
            for facts in (held.full, held.delta) if held is not None else ():
                if facts is not None:
                    path = list_path(self._parts.directory, facts.sha256)
                    der = await asyncio.to_thread(path.read_bytes)
                    found.append(
                        ArchivedList(
                            cover.source,
                            facts.number,
                            facts.base_number,
                            facts.this_update,
                            facts.next_update,
                            der,
                        )
                    )
        return found

    # Lists

    def lists(self, language: Language = "en") -> list[CrlView]:
        """Return every list; the last error of each is told in `language`."""
        return [self._view(source, language) for source in self._sources.all()]

    def get(self, source: str, language: Language = "en") -> CrlView:
        """Return one list; raises `NotFoundError`."""
        return self._view(self._known(source), language)

    def raw(self, source: str) -> RawList:
        """Return the file of a list; raises `NotFoundError` or `ListUnavailableError`."""
        known = self._known(source)
        held = self._held.lists.get(known.id)
        if held is None:
            raise ListUnavailableError(
                Text(
                    f"No list of {known.id} is held yet.", f"Aucune liste de {known.id} n’est encore détenue."
                )
            )
        facts = held.full
        return RawList(
            list_path(self._parts.directory, facts.sha256),
            facts.sha256[:32],
            facts.this_update,
            facts.next_update,
        )

    async def add(self, request: CrlRequest) -> CrlView:
        """Keep a list from now on; its first fetch begins at once and is not waited for."""
        signer = sources.read_certificate(request.issuer_certificate, "issuer_certificate")
        others = tuple(
            sources.read_certificate(each, f"certificate_issuers.{number}")
            for number, each in enumerate(request.certificate_issuers)
        )
        urls = (*(() if request.url is None else (request.url,)), *request.urls)
        _check_urls(urls, "url", required=True)
        _check_urls(request.delta_urls, "delta_urls", required=False)
        new = NewSource(sources.derived_id(signer, urls), "added", signer, others, urls, request.delta_urls)
        source = await self._add(new, answering=True)
        self._fly(source.id)
        return self._view(source)

    async def learn(self, certificate: x509.Certificate) -> list[CrlId]:
        """Keep the lists that a certificate names, where its issuer is known here already.

        Their addresses have to be public ones. Addresses of lists that are kept are passed over; so is a
        certificate whose issuer is unknown, since nothing could verify its list.
        """
        issuer = next((c for c in self._authorities() if _issued(certificate, c)), None)
        if issuer is None:
            return []
        try:
            points = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
        except x509.ExtensionNotFound:
            return []
        kept = {url for source in self._sources.all() for url in source.urls}
        urls = tuple(url for url in urls_of(points) if unsupported(url) is None)
        if not urls or not kept.isdisjoint(urls) or self._is_local(issuer):
            return []
        new = NewSource(sources.derived_id(issuer, urls), "certificate", issuer, urls=urls)
        return [(await self._add(new)).id]

    async def remove(self, source: str) -> None:
        """Forget a list and its archive; raises `NotFoundError` or `SourceFixedError`."""
        known = self._known(source)
        async with self._parts.store.transaction() as tx:
            await self._sources.remove(tx, known)
            tx.journal("crl.remove", f"crl:{known.id}")
            tx.publish(EventType.CRL_REMOVED, f"crl:{known.id}")
        self._sources.drop(known)
        self._see()
        await self._indexer.perform(RemoveJob(source=known.id))
        self._see()

    async def refresh(self, source: str) -> CrlView:
        """Fetch a list now and wait for it; raises `FetchFailedError` or `ListRefusedError`."""
        known = self._known(source)
        if not known.urls:
            await self.take_local()
            return self._view(self._known(source))
        return await asyncio.shield(self._fly(known.id))

    # Duties

    def start_due(self) -> list[asyncio.Task[CrlView]]:
        """Begin the fetches that are due."""
        now = self._parts.clock.now()
        return [
            self._fly(source.id)
            for source in self._sources.all()
            if source.urls and source.next_fetch_at is not None and source.next_fetch_at <= now
        ]

    async def renew_due(self) -> None:
        """Begin the fetches that are due."""
        self.start_due()

    async def tell_ages(self) -> None:
        """Publish an event for every list whose freshness has changed since the last one."""
        now = self._parts.clock.now()
        for source in self._sources.all():
            state = self._freshness(source, now)
            if state is not source.told_state:
                await self._change(source, source._replace(told_state=state), EventType.CRL_AGED, state=state)

    async def follow_local(self) -> None:
        """Take every list in that the local PKI publishes, until cancelled."""
        with self._parts.bus.subscribe() as events:
            await self.take_local()
            while True:
                event = await events.next()
                if event.type is EventType.CRL_PUBLISHED or events.overflowed:
                    events.overflowed = False
                    await self.take_local()

    async def take_local(self) -> None:
        """Take the lists in that the local PKI has published since."""
        async with self._local_turn:
            for local in self._parts.local.current():
                sha256 = await asyncio.to_thread(_hash, local.der)
                held, source = self._held.lists.get(local.id), self._sources.get(local.id)
                known = source is not None and source.signer == local.signer
                if held is None or held.full.sha256 != sha256 or not known:
                    await self._take_local(local)

    async def tidy(self) -> None:
        """Drop what the archive need not keep longer."""
        await self._indexer.perform(TidyJob(before=self._parts.clock.now() - self._parts.archive_for))
        self._see()

    # Inside

    @property
    def _incoming(self) -> Path:
        return self._parts.directory / "incoming"

    @property
    def _index(self) -> IndexReader:
        if self._reader is None:
            raise RuntimeError("the revocation cache is not started")
        return self._reader

    def _see(self) -> None:
        """Answer from the newest committed state of index and sources."""
        snapshot, known = self._index.renew(), self._sources.all()

        def lookup(source: CrlId, key: bytes) -> tuple[bytes | None, bytes | None]:
            return snapshot.entry(source, key), snapshot.delta_entry(source, key)

        stale_at = {source.id: source.stale_at for source in known}
        lists = {source.id: snapshot.lists[source.id] for source in known if source.id in snapshot.lists}
        self._held = Held(lists, lookup, stale_at, self._parts.renewal.assumed)
        self._covers = covers_of(known)

    @staticmethod
    def _no_entry(_: CrlId, __: bytes) -> tuple[bytes | None, bytes | None]:
        return None, None

    def _known(self, source: str) -> Source:
        found = self._sources.get(source)
        if found is None:
            raise NotFoundError.of(Text("revocation list", "liste de révocation"), source)
        return found

    def _authorities(self) -> list[x509.Certificate]:
        return [c for source in self._sources.all() for c in (source.signer, *source.others)]

    def _is_local(self, issuer: x509.Certificate) -> bool:
        return any(source.origin == "local" and source.signer == issuer for source in self._sources.all())

    def _covers_of_issuer(self, certificate: x509.Certificate) -> tuple[Cover, ...]:
        """Return the sources for the CA whose key signed a certificate; a name in common is not enough."""
        for authority in self._authorities():
            if _issued(certificate, authority):
                return self._covers.get(spki_sha256(authority), ())
        return ()

    def _freshness(self, source: Source, now: datetime) -> Freshness:
        return freshness_of(
            self._held.lists.get(source.id), source.stale_at, now, self._parts.renewal.assumed
        )

    def _view(self, source: Source, language: Language = "en") -> CrlView:
        held, error = self._held.lists.get(source.id), source.last_error
        more = {} if held is None else _shown(held)
        return sources.view_of(
            source,
            state=self._freshness(source, self._parts.clock.now()),
            last_error=None if error is None else error.text.in_language(language),
            last_error_code=None if error is None else error.code,
            fetching=source.id in self._flights,
            progress=self._received.get(source.id),
            **more,
        )

    async def _take_fixed(self, fixed: Sequence[NewSource]) -> None:
        """Bring the sources of the settings up to date; those no longer there are forgotten."""
        wanted = {new.id: new for new in fixed}
        for source in self._sources.all():
            if source.origin in ("settings", "igc-sante") and source.id not in wanted:
                async with self._parts.store.transaction() as tx:
                    await self._sources.forget(tx, source)
                self._sources.drop(source)
        for new in wanted.values():
            if self._sources.get(new.id) is None:
                await self._add(new)

    async def _add(self, new: NewSource, *, answering: bool = False) -> Source:
        async with self._parts.store.transaction() as tx:
            source = await self._sources.add(tx, new)
            tx.journal("crl.add", f"crl:{new.id}", origin=new.origin, urls=list(new.urls))
            tx.publish(EventType.CRL_ADDED, f"crl:{new.id}", origin=new.origin)
            if answering:
                await tx.answer("crl", new.id)
        self._sources.remember(source)
        self._see()
        return source

    def _fly(self, source: CrlId) -> "asyncio.Task[CrlView]":
        return self._flights.start(source, lambda: self._fetch(source))

    async def _fetch(self, source_id: CrlId) -> CrlView:
        """Fetch a list and its delta, and record what came of it."""
        async with self._room:
            source, before = self._known(source_id), self._held.lists.get(source_id)
            try:
                facts, source = await self._fetch_first(source, source.urls, delta=False)
            except (CarddError, OSError) as error:
                await self._record_failure(source_id, error)
                raise
            finally:
                self._received.pop(source_id, None)
            problem, source = await self._fetch_delta(source, facts)
            changed = self._held.lists.get(source_id) != before
            return await self._record_success(source, facts, problem, changed=changed)

    async def _fetch_first(
        self, source: Source, urls: Sequence[str], *, delta: bool
    ) -> tuple[ListFacts, Source]:
        """Ask the addresses in turn until one gives a list that may be relied on."""
        failure: CarddError | None = None
        for url in urls:
            try:
                return await self._fetch_one(source, url, delta=delta)
            except (FetchFailedError, ListRefusedError) as error:
                _log.info("crl not taken", crl=source.id, url=url, rule=error.rule, detail=error.detail.en)
                failure = error if failure is None else failure
        raise failure or FetchFailedError.of(
            "no_url", "The list has no address.", "La liste n’a pas d’adresse."
        )

    async def _fetch_one(self, source: Source, url: str, *, delta: bool) -> tuple[ListFacts, Source]:
        held = self._held.lists.get(source.id)
        current = None if held is None else held.delta if delta else held.full
        given = source.validators.get(url, {})
        known = current is not None and given.get("sha256") == current.sha256
        validators = (
            Validators(etag=given["etag"], last_modified=given["last_modified"]) if known else Validators()
        )
        fetched = await self._parts.fetcher.fetch(
            url,
            validators,
            may_be_private=source.may_be_private,
            progress=lambda received: self._received.__setitem__(source.id, received),
        )
        if fetched.path is None:
            if current is None:
                raise FetchFailedError.of(
                    "not_modified",
                    "The server says that nothing changed, and nothing is held.",
                    "Le serveur dit que rien n’a changé, alors que rien n’est détenu.",
                )
            facts = current
        else:
            facts = await self._index_file(source, fetched.path, delta=delta)
        self._check_in_force(facts)
        noted = {
            "etag": fetched.validators.etag,
            "last_modified": fetched.validators.last_modified,
            "sha256": facts.sha256,
        }
        return facts, source._replace(validators={**source.validators, url: noted})

    async def _index_file(self, source: Source, path: Path, *, delta: bool) -> ListFacts:
        try:
            outcome = await self._indexer.perform(
                IndexJob(
                    source=source.id,
                    path=str(path),
                    signer=source.signer.public_bytes(Encoding.DER),
                    now=self._parts.clock.now(),
                    delta=delta,
                )
            )
        finally:
            with suppress(FileNotFoundError):
                await asyncio.to_thread(path.unlink)
        if outcome.facts is None:
            raise RuntimeError("the indexer gave no facts")
        if self._sources.get(source.id) is None:
            await self._indexer.perform(RemoveJob(source=source.id))
        self._see()
        return outcome.facts

    def _check_in_force(self, facts: ListFacts) -> None:
        if self._parts.clock.now() >= end_of(facts, self._parts.renewal.assumed):
            raise ListRefusedError.of(
                "expired",
                "What is published is over: its nextUpdate is past.",
                "Ce qui est publié n’est plus en vigueur : son nextUpdate est passé.",
            )

    async def _fetch_delta(self, source: Source, facts: ListFacts) -> tuple[CarddError | None, Source]:
        urls = tuple(url for url in (*source.delta_urls, *facts.freshest_urls) if unsupported(url) is None)
        if not urls or not source.urls:
            return None, source
        try:
            _, source = await self._fetch_first(source, urls, delta=True)
        except CarddError as error:
            return error, source
        return None, source

    async def _record_success(
        self, source: Source, facts: ListFacts, problem: CarddError | None, *, changed: bool
    ) -> CrlView:
        """Record a fetch whose complete list is current; `problem` is the delta's."""
        now, held, policy = self._parts.clock.now(), self._held.lists.get(source.id), self._parts.renewal
        end = end_of(facts, policy.assumed)
        if held is not None and held.delta is not None and end_of(held.delta, policy.assumed) > now:
            end = min(end, end_of(held.delta, policy.assumed))
        plan = renewal.after_success(now, end, policy, self._parts.random)
        state = freshness_of(held, plan.stale_at, now, policy.assumed)
        before = self._known(source.id)
        recorded = before._replace(
            validators=source.validators,
            confirmed_at=now,
            next_fetch_at=plan.next_fetch_at,
            stale_at=plan.stale_at,
            failures=0,
            last_error=None if problem is None else Failure(code=_code(problem), text=problem.detail),
            told_state=state,
        )
        event = EventType.CRL_UPDATED if changed or state is not before.told_state else None
        await self._change(before, recorded, event, number=facts.number, state=state)
        return self._view(recorded)

    async def _record_failure(self, source_id: CrlId, error: Exception) -> None:
        before = self._sources.get(source_id)
        if before is None:
            return
        now, held = self._parts.clock.now(), self._held.lists.get(source_id)
        detail = error.detail if isinstance(error, CarddError) else Text(str(error), str(error))
        failures = before.failures + 1
        end = None if held is None else end_of(held.full, self._parts.renewal.assumed)
        wish = error.retry_after if isinstance(error, FetchFailedError) else None
        changed = before._replace(
            failures=failures,
            last_error=Failure(code=_code(error), text=detail),
            next_fetch_at=renewal.after_failure(
                now, failures, end, policy=self._parts.renewal, random=self._parts.random, wish=wish
            ),
        )
        await self._change(before, changed, EventType.CRL_FETCH_FAILED, code=_code(error), failures=failures)

    async def _change(self, before: Source, changed: Source, event: EventType | None, **data: object) -> None:
        async with self._parts.store.transaction() as tx:
            await self._sources.update(tx, changed)
            if event is not None:
                tx.publish(event, f"crl:{before.id}", **data)
        if self._sources.get(before.id) is not None:
            self._sources.remember(changed)
        self._see()

    async def _take_local(self, local: LocalList) -> None:
        source = self._sources.get(local.id)
        if source is None:
            source = await self._add(NewSource(local.id, "local", local.signer))
        source = source._replace(signer=local.signer)
        path = self._incoming / f"{os.urandom(16).hex()}.part"
        await asyncio.to_thread(_write, path, local.der)
        facts = await self._index_file(source, path, delta=False)
        now = self._parts.clock.now()
        left = end_of(facts, self._parts.renewal.assumed) - now
        changed = source._replace(
            confirmed_at=now,
            stale_at=now + left * self._parts.renewal.stale_after,
            told_state=Freshness.FRESH,
        )
        await self._change(source, changed, EventType.CRL_UPDATED, number=facts.number, state=Freshness.FRESH)

    async def _past_answer(
        self,
        covers: Sequence[Cover],
        certificate: x509.Certificate,
        target: Target,
        at: datetime,
        policy: FreshnessPolicy,
    ) -> RevocationAnswer:
        then: dict[CrlId, HeldFacts] = {}
        for cover in covers:
            held = archive.in_force(self._index.archived(cover.source), at, self._parts.renewal.assumed)
            if held is not None:
                then[cover.source] = held
        return await archive.past_answer(
            self._indexer,
            covers=covers,
            then=then,
            certificate=certificate,
            target=target,
            at=at,
            policy=policy,
        )


def _check_urls(urls: Sequence[str], name: str, *, required: bool) -> None:
    if required and not urls:
        raise InvalidFieldsError(
            [FieldProblem(name, Text("must be given, or `urls`", "doit être donné, ou « urls »"))]
        )
    problems = [problem for url in urls if (problem := unsupported(url)) is not None]
    if problems:
        raise InvalidFieldsError([FieldProblem(name, problem.detail) for problem in problems])


def _code(error: Exception) -> str:
    if isinstance(error, FetchFailedError | ListRefusedError):
        return error.rule
    return error.code if isinstance(error, CarddError) else "internal_error"


def _issued(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, x509.InvalidVersion) as _:
        return False
    except Exception as error:  # noqa: BLE001 (InvalidSignature and UnsupportedAlgorithm have no common base)
        _log.debug("not its issuer", reason=type(error).__name__)
        return False
    return True


def _shown(held: HeldFacts) -> dict[str, object]:
    full, delta = held.full, held.delta
    return {
        "number": full.number,
        "delta_number": None if delta is None else delta.number,
        "this_update": full.this_update,
        "next_update": full.next_update,
        "entries": full.entries,
        "size": full.size,
        "sha256": full.sha256,
        "partial": full.scope.limits,
        "notes": full.notes,
    }


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_bytes(content)
