"""What has to be done in time while the daemon runs, on each machine or on one of those that share a state."""

from datetime import timedelta

from cardd.parts import Parts, demonstrate
from cardd.store import Store
from cardd.upkeep import Duty


def duties(parts: Parts) -> tuple[Duty, ...]:
    """Return what has to be done in time while the daemon runs."""
    second, minute, hour = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
    of_this_machine: tuple[Duty, ...] = (
        Duty("revocation lists", minute, parts.pki.lists.refresh),
        Duty("large revocation lists", timedelta(seconds=1), parts.pki.lists.publish_large),
        Duty("revocation lists of others", timedelta(seconds=15), parts.revocation.renew_due),
        Duty("ages of revocation lists", timedelta(seconds=15), parts.revocation.tell_ages),
        Duty("own revocation lists in the cache", second, parts.revocation.follow_local, follows=True),
        Duty("lists that inserted cards name", second, parts.named_lists.follow, follows=True),
        Duty("archive of revocation lists", 24 * hour, parts.revocation.tidy),
        Duty("OCSP responders", hour, parts.pki.renew_responders),
        Duty("terms of cards", minute, parts.cards.oppose_due),
        Duty("card sessions", minute, parts.sessions.expire_due),
        Duty("certificates to write on tokens", minute, parts.certificates.finish_token_writes),
        Duty("token chains", minute, parts.keys.advance_chains),
        Duty("keys made ready", timedelta(seconds=5), parts.ready_keys.keep),
        Duty("copies on this machine", minute, parts.sweep.notice_copies),
        Duty("check of every key", timedelta(days=1), parts.sweep.perform),
        Duty("alerts", minute, parts.watch.look),
        Duty("regular backups", hour, parts.backups.make_due),
    )
    if parts.store.shared:
        of_this_machine += (
            Duty("sign of life", minute, parts.machines.seen),
            Duty("demonstration", minute, lambda: demonstrate(parts)),
        )
    of_one_machine = (
        Duty("events for others", timedelta(seconds=2), parts.deliveries.work),
        Duty("retention", 6 * hour, parts.retention.prune),
        Duty("terms of orders", minute, parts.orders.expire_due),
        Duty("terms of pairings", minute, parts.pairings.expire_due),
        Duty("terms of applications", minute, parts.applications.expire_due),
        Duty("notices due", hour, parts.notices.queue_due),
        Duty("notices to send", minute, parts.notices.send_pending),
    )
    return (*of_this_machine, *(_alone(parts.store, duty) for duty in of_one_machine))


def _alone(store: Store, duty: Duty) -> Duty:
    """Have one machine at a time perform a duty; another that finds it taken leaves it for the next time."""

    async def perform() -> None:
        async with store.exclusively(f"duty {duty.name}") as alone:
            if alone:
                await duty.perform()

    return duty._replace(perform=perform)
