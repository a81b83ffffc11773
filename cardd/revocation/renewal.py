"""When the next fetch of a list is due: pure, over the policy, with the randomness given."""

from datetime import datetime, timedelta
from random import Random
from typing import NamedTuple

from cardd.revocation.policies import RenewalPolicy


class Plan(NamedTuple):
    """When to fetch next, and from when on a list that could not be renewed is stale."""

    next_fetch_at: datetime
    stale_at: datetime


#: A server's wish is honoured with so much more, so that its clients do not all come back at once.
_WISH_SPREAD = 1.1


def is_due(next_fetch_at: datetime, now: datetime, policy: RenewalPolicy) -> bool:
    """Tell whether a fetch planned for a moment is due.

    It is, too, where the moment is further ahead than any plan: that was made before the clock was set back.
    """
    furthest = max(policy.longest, policy.shortest, policy.last_retry, policy.longest_wish * _WISH_SPREAD)
    return not now < next_fetch_at <= now + furthest


def after_success(now: datetime, end: datetime, policy: RenewalPolicy, random: Random) -> Plan:
    """Plan from a list that is in force until `end` and was found current at `now`."""
    left = max(end - now, timedelta(0))
    longest = policy.longest * random.uniform(0.75, 1.0)
    wait = max(min(left * random.uniform(*policy.window), longest), policy.shortest)
    stale = min(left * policy.stale_after, policy.longest * policy.tolerance)
    return Plan(now + wait, now + stale)


def after_failure(
    now: datetime,
    failures: int,
    end: datetime | None,
    *,
    policy: RenewalPolicy,
    random: Random,
    wish: float | None,
) -> datetime:
    """Return when to try again after so many failures in a row; `wish` is the server's, in seconds.

    The nearer the end of the list held, the shorter the wait, but never against the server's wish.
    """
    doubled: int = 2 ** min(failures - 1, 16)
    wait = min(policy.first_retry * doubled, policy.last_retry)
    if end is not None and end > now:
        wait = max(min(wait, (end - now) / 4), policy.shortest)
    wait = wait * random.uniform(0.5, 1.0)
    if wish is not None:
        asked = min(timedelta(seconds=wish), policy.longest_wish)
        wait = max(wait, asked * random.uniform(1.0, _WISH_SPREAD))
    return now + wait
