"""What lists in force say of a certificate, for those who cannot be told how fresh it is, such as OCSP clients.

Nothing is said that goes beyond the lists: neither before their thisUpdate nor after their nextUpdate. A list that is
over says nothing at all, whatever policy applications have for it, since a statement carries no label.
"""

from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec

from cardd.revocation.status import Speaker, Standing, end_of
from cardd.revocation.types import Decision, Freshness, FreshnessPolicy, Reason, Status
from cardd.revocation.verifying import CLOCK_SKEW


class ListStatement(NamedTuple):
    """A status, and the time for which the lists that it is taken from say so; UTC."""

    status: Status
    this_update: datetime
    """The oldest thisUpdate of the lists that it takes: as of then, all of them are known."""
    next_update: datetime
    """The earliest nextUpdate."""
    revoked_at: datetime | None = None
    reason: Reason | None = None


def in_force_only(policy: FreshnessPolicy) -> FreshnessPolicy:
    """Return a policy as it is where the age of lists cannot be told: expired ones are refused."""
    return msgspec.structs.replace(policy, expired=Decision.REFUSE, expired_hours=None)


def statement_of(standing: Standing, serial: int, now: datetime, assumed: timedelta) -> ListStatement | None:
    """Say what is known of a serial; None where no list in force speaks of it, or the policy refuses its age.

    `unknown` is said where lists in force do not cover every certificate and reason of the CA: that is known.
    """
    answer = standing.answer(serial)
    if answer.status is Status.REVOKED:
        speakers: tuple[Speaker, ...] = tuple(s for s in standing.speakers if s.source == answer.source)
        said = answer.freshness is not Freshness.EXPIRED
    else:
        speakers = standing.speakers
        said = answer.status is Status.GOOD or answer.freshness is Freshness.FRESH
    if not said:
        return None
    times = [_in_force(speaker, now, assumed) for speaker in speakers]
    this_update, next_update = min(since for since, _ in times), min(until for _, until in times)
    if not this_update - CLOCK_SKEW <= now < next_update:
        return None
    return ListStatement(answer.status, this_update, next_update, answer.revoked_at, answer.reason)


def _in_force(speaker: Speaker, now: datetime, assumed: timedelta) -> tuple[datetime, datetime]:
    """Return from when until when a list speaks, with its delta where that is in force."""
    full, delta = speaker.lists.full, speaker.lists.delta
    if delta is None or now >= end_of(delta, assumed):
        return full.this_update, end_of(full, assumed)
    return max(full.this_update, delta.this_update), min(end_of(full, assumed), end_of(delta, assumed))
