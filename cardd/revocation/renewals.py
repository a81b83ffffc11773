"""Renewing the lists of others in time: fetches, one flight a list, and the record of how each went.

A fetch that fails changes nothing but its own record: the list held stays, is answered from until its
nextUpdate, and is labelled with what is true of it.
"""

import asyncio
from collections.abc import Sequence

import structlog

from cardd.errors import CarddError
from cardd.events import EventType
from cardd.revocation import renewal
from cardd.revocation.cacheparts import CacheParts
from cardd.revocation.errors import FetchFailedError, ListRefusedError
from cardd.revocation.fetching import Validators, unsupported
from cardd.revocation.flights import Flights
from cardd.revocation.holdings import Change, Holdings
from cardd.revocation.lists import ListFacts
from cardd.revocation.sources import Failure, Source
from cardd.revocation.status import end_of, freshness_of
from cardd.revocation.types import CrlId
from cardd.text import Text

_log = structlog.get_logger(__name__)

#: Lists fetched at once.
_MOST_FLIGHTS = 4


class Renewals:
    """Fetches lists and records what came of it."""

    def __init__(self, parts: CacheParts, holdings: Holdings) -> None:
        self._parts = parts
        self._holdings = holdings
        self._flights: Flights[Source] = Flights()
        self._room = asyncio.Semaphore(_MOST_FLIGHTS)
        self._received: dict[CrlId, tuple[int, int | None]] = {}

    async def close(self) -> None:
        """End the fetches under way."""
        await self._flights.close()

    def is_fetching(self, source: CrlId) -> bool:
        """Tell whether a fetch of a list is under way."""
        return source in self._flights

    def received(self, source: CrlId) -> tuple[int | None, int | None]:
        """Return the bytes that a fetch under way has received, and those that its server announced."""
        return self._received.get(source, (None, None))

    def start_due(self) -> list[asyncio.Task[Source]]:
        """Begin the fetches that are due."""
        now = self._parts.clock.now()
        return [
            self.start(source.id)
            for source in self._holdings.sources.all()
            if source.urls
            and source.next_fetch_at is not None
            and renewal.is_due(source.next_fetch_at, now, self._parts.renewal)
        ]

    def start(self, source: CrlId) -> asyncio.Task[Source]:
        """Begin the fetch of a list, or return the one under way."""
        return self._flights.start(source, lambda: self._fetch(source))

    async def _fetch(self, source_id: CrlId) -> Source:
        """Fetch a list and its delta, and record what came of it."""
        async with self._room:
            source, before = self._holdings.known(source_id), self._holdings.of(source_id)
            try:
                facts, source = await self._fetch_first(source, source.urls, delta=False)
            except (CarddError, OSError) as error:
                await self._record_failure(source_id, error)
                raise
            finally:
                self._received.pop(source_id, None)
            problem, source = await self._fetch_delta(source, facts)
            changed = self._holdings.of(source_id) != before
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
        held = self._holdings.of(source.id)
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
            progress=lambda *received: self._received.__setitem__(source.id, received),
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
            facts = await self._holdings.take_file(source, fetched.path, delta=delta)
        self._check_in_force(facts)
        noted = {
            "etag": fetched.validators.etag,
            "last_modified": fetched.validators.last_modified,
            "sha256": facts.sha256,
        }
        return facts, source._replace(validators={**source.validators, url: noted})

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
    ) -> Source:
        """Record a fetch whose complete list is current; `problem` is the delta's."""
        now, held, policy = self._parts.clock.now(), self._holdings.of(source.id), self._parts.renewal
        end = end_of(facts, policy.assumed)
        if held is not None and held.delta is not None and end_of(held.delta, policy.assumed) > now:
            end = min(end, end_of(held.delta, policy.assumed))
        plan = renewal.after_success(now, end, policy, self._parts.random)
        state = freshness_of(held, plan.stale_at, now, policy.assumed)

        def recorded(before: Source) -> Change:
            after = before._replace(
                validators=source.validators,
                confirmed_at=now,
                next_fetch_at=plan.next_fetch_at,
                stale_at=plan.stale_at,
                failures=0,
                last_error=None if problem is None else Failure(code=_code(problem), text=problem.detail),
                told_state=state,
            )
            event = EventType.CRL_UPDATED if changed or state is not before.told_state else None
            return Change(after, event, {"number": facts.number, "state": state})

        return await self._holdings.change(source.id, recorded) or self._holdings.known(source.id)

    async def _record_failure(self, source_id: CrlId, error: Exception) -> None:
        now, held = self._parts.clock.now(), self._holdings.of(source_id)
        detail = error.detail if isinstance(error, CarddError) else Text(str(error), str(error))
        end = None if held is None else end_of(held.full, self._parts.renewal.assumed)
        wish = error.retry_after if isinstance(error, FetchFailedError) else None

        def recorded(before: Source) -> Change:
            failures = before.failures + 1
            next_fetch_at = renewal.after_failure(
                now, failures, end, policy=self._parts.renewal, random=self._parts.random, wish=wish
            )
            after = before._replace(
                failures=failures,
                last_error=Failure(code=_code(error), text=detail),
                next_fetch_at=next_fetch_at,
            )
            return Change(after, EventType.CRL_FETCH_FAILED, {"code": _code(error), "failures": failures})

        await self._holdings.change(source_id, recorded)


def _code(error: Exception) -> str:
    if isinstance(error, FetchFailedError | ListRefusedError):
        return error.rule
    return error.code if isinstance(error, CarddError) else "internal_error"
