"""The cache's rules, as data: when a list is renewed, and what an application makes of data that age."""

from datetime import timedelta

import msgspec

from cardd.revocation.types import Decision, FreshnessPolicy


class RenewalPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """When the next fetch of a list is due. Each client draws its own moment, so that not all come at once."""

    window: tuple[float, float] = (0.5, 0.75)
    """Part of what is left until nextUpdate after which the list is fetched anew, drawn evenly between the two."""
    longest: timedelta = timedelta(hours=12)
    """Yet no later than this, less up to a quarter at random: lists are renewed early by their CAs."""
    shortest: timedelta = timedelta(minutes=1)
    stale_after: float = 0.9
    """Part of what was left until nextUpdate after which a list that could not be renewed is stale."""
    tolerance: float = 1.5
    """Or so many times `longest` after the last success, whichever comes first."""
    assumed: timedelta = timedelta(hours=24)
    """A list without nextUpdate counts as over so long after its thisUpdate (RFC 5280 §5.1.2.5 demands one)."""
    first_retry: timedelta = timedelta(minutes=1)
    last_retry: timedelta = timedelta(hours=1)
    """Failed fetches are repeated after a time that doubles between these, half of it at random."""
    longest_wish: timedelta = timedelta(hours=6)
    """A server's Retry-After is honoured up to this."""


FRESHNESS_POLICIES = {
    policy.name: policy
    for policy in (
        FreshnessPolicy(name="standard", stale=Decision.WARN, expired=Decision.REFUSE),
        FreshnessPolicy(name="strict", stale=Decision.REFUSE, expired=Decision.REFUSE),
        FreshnessPolicy(name="warn", stale=Decision.WARN, expired=Decision.WARN),
        FreshnessPolicy(name="grace", stale=Decision.ACCEPT, expired=Decision.ACCEPT, expired_hours=24),
    )
}


def built_in(grace: timedelta) -> dict[str, FreshnessPolicy]:
    """Return the policies that every daemon has, by name; `grace` lasts as long as the settings say."""
    hours = int(grace.total_seconds() // 3600)
    return {
        name: policy if policy.expired_hours is None else msgspec.structs.replace(policy, expired_hours=hours)
        for name, policy in FRESHNESS_POLICIES.items()
    }
