"""The revocation cache: sources fetched in time, verified, indexed, and answered from.

Its rooms: `holdings` (what is held now), `answering`, `renewals` (lists of others), `ownlists` (our own).
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from pathlib import Path

from cryptography import x509

from cardd.errors import FieldProblem, InvalidFieldsError
from cardd.events import EventType
from cardd.revocation import sources
from cardd.revocation.answering import Answers
from cardd.revocation.cacheparts import CacheParts
from cardd.revocation.errors import ListUnavailableError
from cardd.revocation.fetching import unsupported
from cardd.revocation.holdings import Change, Holdings
from cardd.revocation.index import HeldFacts
from cardd.revocation.jobs import TidyJob, list_path
from cardd.revocation.ownlists import OwnLists
from cardd.revocation.renewals import Renewals
from cardd.revocation.sources import NewSource, Source
from cardd.revocation.statements import ListStatement
from cardd.revocation.types import (
    ArchivedList,
    CrlId,
    CrlRequest,
    CrlView,
    FreshnessPolicy,
    Question,
    RevocationAnswer,
    SpkiHash,
)
from cardd.text import Language, Text


class RevocationCache:
    """Keeps lists and answers from them; see `types.Revocation`."""

    def __init__(self, parts: CacheParts) -> None:
        self._parts = parts
        self._holdings = Holdings(parts)
        self._answers = Answers(parts, self._holdings)
        self._renewals = Renewals(parts, self._holdings)
        self._own = OwnLists(parts, self._holdings)

    async def start(self) -> None:
        """Open the index as the last run left it, and take the settings' and the local PKI's lists in."""
        incoming = self._parts.directory / "incoming"
        for leftover in await asyncio.to_thread(lambda: list(incoming.glob("*"))):
            leftover.unlink(missing_ok=True)
        await self._holdings.open()
        await self._take_fixed(self._parts.fixed)
        self._holdings.see()
        await self.take_local()

    async def replace_fixed(self, fixed: Sequence[NewSource]) -> None:
        """Keep these lists as those of the settings from now on."""
        await self._take_fixed(fixed)
        self._holdings.see()

    async def copy_index(self, directory: Path) -> None:
        """Copy the index into an empty directory; the files of its lists are beside the index and never change."""
        await self._holdings.copy_index(directory)

    async def close(self) -> None:
        """End fetches and the indexer, and let go of the index."""
        await self._renewals.close()
        await self._holdings.close()

    @property
    def indexer_pid(self) -> int | None:
        """The process that indexes, while there is one."""
        return self._holdings.indexer.pid

    # Answers

    def answer(
        self, issuer: SpkiHash, serial: int, policy: FreshnessPolicy | None = None
    ) -> RevocationAnswer:
        """Answer for a serial of the CA whose key has this hash; at once: a look-up in mapped memory."""
        return self._answers.answer(issuer, serial, policy)

    async def batch(
        self, questions: Sequence[Question], policy: FreshnessPolicy | None = None
    ) -> list[RevocationAnswer]:
        """Answer many, giving way to other work in between."""
        return await self._answers.batch(questions, policy)

    async def status_of(
        self,
        certificate: x509.Certificate,
        at: datetime | None = None,
        policy: FreshnessPolicy | None = None,
    ) -> RevocationAnswer:
        """Answer for a certificate; at a past time, from the lists in force then."""
        return await self._answers.status_of(certificate, at, policy)

    def signer(self, source: CrlId) -> x509.Certificate | None:
        """Return the certificate whose key signs a list; None where the list is not kept any more."""
        known = self._holdings.sources.get(source)
        return None if known is None else known.signer

    def statement(self, issuer: SpkiHash, serial: int) -> ListStatement | None:
        """Say what the lists in force make of a serial, for those who cannot be told how fresh it is; at once."""
        return self._answers.statement(issuer, serial)

    async def archived(self, issuer: SpkiHash, at: datetime) -> list[ArchivedList]:
        """Return the lists of a CA that were in force at a past time: complete ones, and deltas that fit."""
        return await self._answers.archived(issuer, at)

    # Lists

    def lists(self, language: Language = "en") -> list[CrlView]:
        """Return every list; the last error of each is told in `language`."""
        return [self._view(source, language) for source in self._holdings.sources.all()]

    def get(self, source: str, language: Language = "en") -> CrlView:
        """Return one list; raises `NotFoundError`."""
        return self._view(self._holdings.known(source), language)

    def file(self, source: str) -> Path:
        """Return the file of a list; raises `NotFoundError` or `ListUnavailableError`."""
        known = self._holdings.known(source)
        held = self._holdings.of(known.id)
        if held is None:
            raise ListUnavailableError(
                Text(
                    f"No list of {known.id} is held yet.", f"Aucune liste de {known.id} n’est encore détenue."
                )
            )
        return list_path(self._parts.directory, held.full.sha256)

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
        source = await self._holdings.add(new, answering=True)
        self._renewals.start(source.id)
        return self._view(source)

    async def keep(self, new: NewSource) -> CrlView:
        """Keep a list from now on, as it is where it is kept already; its first fetch begins at once."""
        source = self._holdings.sources.get(new.id)
        if source is None:
            source = await self._holdings.add(new)
            self._renewals.start(source.id)
        return self._view(source)

    def lacks(self, new: NewSource) -> bool:
        """Tell whether nothing kept is fetched from the addresses of a list, nor is the list the local PKI's own."""
        known = self._holdings.sources.all()
        kept = {url for source in known for url in source.urls}
        is_local = any(source.origin == "local" and source.signer == new.signer for source in known)
        return not is_local and kept.isdisjoint(new.urls) and self._holdings.sources.get(new.id) is None

    def authorities(self) -> list[x509.Certificate]:
        """Return the certificates of the CAs that the lists kept speak for."""
        return self._holdings.authorities()

    @property
    def revision(self) -> int:
        """A number that grows with each change of the lists kept, or of what is known of them."""
        return self._holdings.revision

    async def remove(self, source: str) -> None:
        """Forget a list and its archive; raises `NotFoundError` or `SourceFixedError`."""
        await self._holdings.remove(self._holdings.known(source))

    async def refresh(self, source: str) -> CrlView:
        """Fetch a list now and wait for it; raises `FetchFailedError` or `ListRefusedError`."""
        known = self._holdings.known(source)
        if not known.urls:
            await self.take_local()
            return self.get(source)
        return self._view(await asyncio.shield(self._renewals.start(known.id)))

    # Duties

    def start_due(self) -> list[asyncio.Task[Source]]:
        """Begin the fetches that are due."""
        return self._renewals.start_due()

    async def renew_due(self) -> None:
        """Begin the fetches that are due."""
        self.start_due()

    async def tell_ages(self) -> None:
        """Publish an event for every list whose freshness has changed since the last one."""
        for source in self._holdings.sources.all():
            await self._holdings.change(source.id, self._aged)

    def _aged(self, source: Source) -> Change | None:
        state = self._holdings.freshness(source, self._parts.clock.now())
        if state is source.told_state:
            return None
        return Change(source._replace(told_state=state), EventType.CRL_AGED, {"state": state})

    async def follow_local(self) -> None:
        """Take every list in that the local PKI publishes, until cancelled."""
        await self._own.follow()

    async def take_local(self) -> None:
        """Take the lists in that the local PKI has published since."""
        await self._own.take()

    async def tidy(self) -> None:
        """Drop what the archive need not keep longer."""
        before = self._parts.clock.now() - self._parts.archive_for
        await self._holdings.indexer.perform(TidyJob(before=before))
        self._holdings.see()

    # Inside

    def _view(self, source: Source, language: Language = "en") -> CrlView:
        held, error = self._holdings.of(source.id), source.last_error
        received, announced = self._renewals.received(source.id)
        more = {} if held is None else _shown(held)
        return sources.view_of(
            source,
            state=self._holdings.freshness(source, self._parts.clock.now()),
            last_error=None if error is None else error.text.in_language(language),
            last_error_code=None if error is None else error.code,
            fetching=self._renewals.is_fetching(source.id),
            progress=received,
            progress_total=announced,
            **more,
        )

    async def _take_fixed(self, fixed: Sequence[NewSource]) -> None:
        """Bring the sources of the settings up to date; those no longer there are forgotten."""
        wanted = {new.id: new for new in fixed}
        for source in self._holdings.sources.all():
            if source.origin in ("settings", "igc-sante") and source.id not in wanted:
                async with self._parts.store.transaction() as tx:
                    await self._holdings.sources.forget(tx, source)
                self._holdings.sources.drop(source)
        for new in wanted.values():
            known = self._holdings.sources.get(new.id)
            if known is None:
                await self._holdings.add(new)
            elif known.described != new:
                await self._holdings.change(new.id, partial(_redescribed, new=new))


def _redescribed(source: Source, new: NewSource) -> Change:
    return Change(source.redescribed(new))


def _check_urls(urls: Sequence[str], name: str, *, required: bool) -> None:
    if required and not urls:
        raise InvalidFieldsError(
            [FieldProblem(name, Text("must be given, or `urls`", "doit être donné, ou « urls »"))]
        )
    problems = [problem for url in urls if (problem := unsupported(url)) is not None]
    if problems:
        raise InvalidFieldsError([FieldProblem(name, problem.detail) for problem in problems])


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
