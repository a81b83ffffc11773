"""Answers for a past time, from the lists that were in force then."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from cryptography import x509

from cardd.revocation.index import Archived, HeldFacts, Tables
from cardd.revocation.indexing import Indexer
from cardd.revocation.jobs import LookUpJob
from cardd.revocation.names import issuer_prefix
from cardd.revocation.policies import RenewalPolicy
from cardd.revocation.status import Cover, Held, Target, end_of, standing
from cardd.revocation.tables import Find
from cardd.revocation.types import CrlId, FreshnessPolicy, RevocationAnswer
from cardd.revocation.verifying import delta_fits


def in_force(archived: Sequence[Archived], at: datetime, assumed: timedelta) -> HeldFacts | None:
    """Return the complete list of a moment, and the delta on it; None where none had begun.

    A list that was over by then is returned too where no later one had come: the answer says that it expired.
    """
    begun = [each.facts for each in archived if each.facts.this_update <= at]
    complete = [facts for facts in begun if facts.base_number is None]
    if not complete:
        return None
    full = max(complete, key=lambda facts: (facts.this_update, facts.number or 0))
    deltas = [facts for facts in begun if delta_fits(facts, full) and at < end_of(facts, assumed)]
    return HeldFacts(full=full, delta=max(deltas, key=lambda facts: facts.this_update, default=None))


async def past_answer(
    indexer: Indexer,
    *,
    covers: Sequence[Cover],
    then: Mapping[CrlId, HeldFacts],
    certificate: x509.Certificate,
    target: Target,
    at: datetime,
    policy: FreshnessPolicy,
) -> RevocationAnswer:
    """Answer for a certificate from the lists held `then`; what was revoked later is good."""
    tables: dict[CrlId, Tables] = {}
    for source, held in then.items():
        hashes = tuple(facts.sha256 for facts in (held.full, held.delta) if facts is not None)
        job = LookUpJob(
            sha256=hashes,
            serial=f"{certificate.serial_number:x}",
            certificate_issuer=issuer_prefix(certificate.issuer),
        )
        values = (await indexer.perform(job)).values
        full, delta = (_found(value) for value in (values[0], values[1] if len(values) > 1 else None))
        tables[source] = Tables(full, delta)
    held_then = Held(then, tables, {}, RenewalPolicy().assumed)
    standing_then = standing(covers, held_then, at, policy=policy, target=target)
    return standing_then.answer(certificate.serial_number)


def _found(value: int | None) -> Find:
    """Return a table that was looked into already, for the one serial that is asked for."""
    return lambda _serial, _prefix: value
