"""Deliveries: taken from the outbox with the target's place in it, sent, and tried again from the store.

A target's place and its new deliveries are one transaction, so that no event is passed over and none is taken twice,
whenever the daemon is killed. A message whose answer was lost with the daemon is sent again under the same identifier.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

import msgspec
import sqlalchemy as sa
import structlog

from cardd.clock import Clock
from cardd.events import Event
from cardd.outgoing.routes import Routes
from cardd.store import Store
from cardd.store.tables import outgoing_deliveries, outgoing_targets

#: Waits between the tries of one message, as Standard Webhooks proposes; after the last of them it is given up.
RETRY_AFTER = (
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=20),
    timedelta(hours=24),
)
#: Most events looked at, and most messages sent, in one go.
BATCH = 200
#: Messages under way at once.
_AT_ONCE = 8

_log = structlog.get_logger(__name__)


class NotTakenError(Exception):
    """A target did not take a message; `permanent` says that it never will."""

    def __init__(self, reason: str, *, permanent: bool = False) -> None:
        super().__init__(reason)
        self.permanent = permanent


#: Sends one event to one target at a moment; raises `NotTakenError`.
Sender = Callable[[str, Event, datetime], Awaitable[None]]


class Deliveries:
    """What goes out of one state."""

    def __init__(self, store: Store, clock: Clock, routes: Routes, send: Sender) -> None:
        self._store = store
        self._clock = clock
        self._send = send
        self.routes = routes

    async def work(self) -> int:
        """Take new events from the outbox, then send what is due; return how many messages were taken."""
        for target in self.routes.targets:
            while await self._take(target):
                pass
        return await self._send_due()

    async def waiting(self) -> int:
        """Return how many messages wait."""
        statement = sa.select(sa.func.count()).where(outgoing_deliveries.c.due_at.is_not(None))
        async with self._store.read() as connection:
            return (await connection.execute(statement)).scalar() or 0

    async def place(self) -> int | None:
        """Return the number of the last event that every target has looked at; None where there is no target."""
        table = outgoing_targets
        statement = sa.select(sa.func.min(table.c.last_event)).where(table.c.target.in_(self.routes.targets))
        async with self._store.read() as connection:
            number: int | None = (await connection.execute(statement)).scalar()
        return number

    async def prune(self, ended_before: datetime) -> int:
        """Forget messages that ended before a moment, and targets that are no more; return how many messages."""
        messages, targets = outgoing_deliveries, outgoing_targets
        gone = targets.c.target.not_in(self.routes.targets)
        async with self._store.transaction() as tx:
            await tx.execute(sa.delete(targets).where(gone))
            await tx.execute(
                sa.delete(messages).where(
                    messages.c.target.not_in(self.routes.targets), messages.c.due_at.is_not(None)
                )
            )
            pruned = await tx.execute(sa.delete(messages).where(messages.c.ended_at < ended_before))
        return pruned.rowcount

    async def _take(self, target: str) -> bool:
        """Take a batch of events for a target; tell whether there may be more. A new target begins with the present."""
        table = outgoing_targets
        async with self._store.read() as connection:
            place = sa.select(table.c.last_event).where(table.c.target == target)
            last: int | None = (await connection.execute(place)).scalar()
        if last is None:
            newest = await self._store.last_event_number()
            async with self._store.transaction() as tx:
                await tx.execute(sa.insert(table).values(target=target, last_event=newest))
            return False
        events = await self._store.events_after(last, limit=BATCH)
        if not events:
            return False
        wanted = [each for each in events if self.routes.wants(target, each.type)]
        async with self._store.transaction() as tx:
            if wanted:
                await tx.execute(
                    sa.insert(outgoing_deliveries), [_new_row(target, each, tx.now) for each in wanted]
                )
            moved = sa.update(table).where(table.c.target == target, table.c.last_event == last)
            await tx.execute(moved.values(last_event=events[-1].id))
        return len(events) == BATCH

    async def _send_due(self) -> int:
        table, now = outgoing_deliveries, self._clock.now()
        # Further ahead than any pause between tries, it was planned before the clock was set back.
        is_due = sa.or_(table.c.due_at <= now, table.c.due_at > now + max(RETRY_AFTER))
        due = (
            sa.select(table)
            .where(is_due, table.c.target.in_(self.routes.targets))
            .order_by(table.c.due_at, table.c.event_id)
            .limit(BATCH)
        )
        async with self._store.read() as connection:
            rows = (await connection.execute(due)).all()
        places = asyncio.Semaphore(_AT_ONCE)

        async def one(row: sa.Row[Any]) -> bool:
            async with places:
                return await self._deliver(row)

        return sum(await asyncio.gather(*map(one, rows)))

    async def _deliver(self, row: sa.Row[Any]) -> bool:
        try:
            await self._send(row.target, msgspec.convert(row.event, Event), self._clock.now())
        except NotTakenError as error:
            await self._not_taken(row, error)
            return False
        async with self._store.transaction() as tx:
            await tx.execute(
                _of(row).values(
                    attempts=row.attempts + 1, due_at=None, ended_at=tx.now, delivered=True, last_error=None
                )
            )
        return True

    async def _not_taken(self, row: sa.Row[Any], error: NotTakenError) -> None:
        attempts = row.attempts + 1
        given_up = error.permanent or attempts > len(RETRY_AFTER)
        _log.warning(
            "not delivered", event_id=row.event_id, attempts=attempts, given_up=given_up, why=str(error)
        )
        async with self._store.transaction() as tx:
            values: dict[str, Any] = {"attempts": attempts, "last_error": str(error)[:500]}
            if given_up:
                values |= {"due_at": None, "ended_at": tx.now}
                tx.journal("outgoing.given_up", f"event:{row.event_id}", target=row.target, attempts=attempts)
            else:
                values |= {"due_at": tx.now + RETRY_AFTER[attempts - 1]}
            await tx.execute(_of(row).values(values))


def _of(row: sa.Row[Any]) -> sa.Update:
    table = outgoing_deliveries
    return sa.update(table).where(table.c.target == row.target, table.c.event_id == row.event_id)


def _new_row(target: str, event: Event, now: datetime) -> dict[str, Any]:
    return {
        "target": target,
        "event_id": event.id,
        "event": msgspec.to_builtins(event),
        "due_at": now,
        "attempts": 0,
        "delivered": False,
    }
