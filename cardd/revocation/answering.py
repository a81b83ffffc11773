"""Answers of the cache: at once from what is held, at a past time from the archive."""

import asyncio
from collections.abc import Sequence
from datetime import datetime

from cryptography import x509

from cardd.revocation import archive
from cardd.revocation.cacheparts import CacheParts
from cardd.revocation.holdings import Holdings
from cardd.revocation.index import HeldFacts
from cardd.revocation.jobs import list_path
from cardd.revocation.names import spki_sha256
from cardd.revocation.statements import ListStatement, in_force_only, statement_of
from cardd.revocation.status import Cover, Standing, Target, standing, target_of
from cardd.revocation.types import (
    ArchivedList,
    CrlId,
    FreshnessPolicy,
    Question,
    RevocationAnswer,
    SpkiHash,
    Status,
)
from cardd.revocation.verifying import is_issued_by

#: Answers of a batch that are made before other work gets its turn; about a millisecond.
_BATCH_PIECE = 200


class Answers:
    """Answers from the holdings."""

    def __init__(self, parts: CacheParts, holdings: Holdings) -> None:
        self._parts = parts
        self._holdings = holdings

    def answer(
        self, issuer: SpkiHash, serial: int, policy: FreshnessPolicy | None = None
    ) -> RevocationAnswer:
        """Answer at once: a look-up in mapped memory, some microseconds."""
        now = self._parts.clock.now()
        return self._holdings.standing(issuer, now, policy or self._parts.policy).answer(serial)

    def statement(self, issuer: SpkiHash, serial: int) -> ListStatement | None:
        """Say what the lists in force make of a serial, under the settings' policy for lists that age."""
        now = self._parts.clock.now()
        standing = self._holdings.standing(issuer, now, in_force_only(self._parts.policy))
        return statement_of(standing, serial, now, self._parts.renewal.assumed)

    async def batch(
        self, questions: Sequence[Question], policy: FreshnessPolicy | None = None
    ) -> list[RevocationAnswer]:
        """Answer many, giving way to other work in between."""
        chosen, answers = policy or self._parts.policy, []
        for start in range(0, len(questions), _BATCH_PIECE):
            now = self._parts.clock.now()
            standings: dict[SpkiHash, Standing] = {}
            for issuer, serial in questions[start : start + _BATCH_PIECE]:
                found = standings.get(issuer)
                if found is None:
                    found = standings[issuer] = self._holdings.standing(issuer, now, chosen)
                answers.append(found.answer(serial))
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
        present = standing(covers, self._holdings.held, now, policy=chosen, target=target).answer(serial)
        if at is None or at >= now:
            return present
        if present.status is Status.REVOKED and present.revoked_at is not None and present.revoked_at <= at:
            return present
        return await self._past_answer(covers, certificate, target, at, chosen)

    async def archived(self, issuer: SpkiHash, at: datetime) -> list[ArchivedList]:
        """Return the lists of a CA that were in force at a past time: complete ones, and deltas that fit."""
        found = []
        for cover in self._holdings.covers.get(issuer, ()):
            held = self._in_force(cover.source, at)
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

    def _covers_of_issuer(self, certificate: x509.Certificate) -> tuple[Cover, ...]:
        """Return the sources for the CA whose key signed a certificate; a name in common is not enough."""
        for authority in self._holdings.authorities():
            if is_issued_by(certificate, authority):
                return self._holdings.covers.get(spki_sha256(authority), ())
        return ()

    def _in_force(self, source: CrlId, at: datetime) -> HeldFacts | None:
        return archive.in_force(self._holdings.index.archived(source), at, self._parts.renewal.assumed)

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
            held = self._in_force(cover.source, at)
            if held is not None:
                then[cover.source] = held
        return await archive.past_answer(
            self._holdings.indexer,
            covers=covers,
            then=then,
            certificate=certificate,
            target=target,
            at=at,
            policy=policy,
        )
