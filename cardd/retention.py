"""What is not needed for ever is dropped in time: events, ended orders, ended messages.

The journal keeps its chain and is never shortened; certificates stay as long as the state, for revocation is for ever.
Archived revocation lists go by `revocation.archive_days`.
"""

from datetime import timedelta

import sqlalchemy as sa

from cardd.clock import Clock
from cardd.orders.types import OrderState
from cardd.outgoing.deliveries import Deliveries
from cardd.settings import RetentionSettings, Settings
from cardd.store import Store
from cardd.store.tables import certificates, events, orders

#: Rows dropped in one transaction, so that nobody waits for long.
_BATCH = 2000


class Retention:
    """Drops what is due."""

    def __init__(self, store: Store, clock: Clock, settings: Settings, deliveries: Deliveries) -> None:
        self._store = store
        self._clock = clock
        self._settings: RetentionSettings = settings.retention
        self._deliveries = deliveries

    async def take_settings(self, settings: Settings) -> None:
        """Go by new settings from now on."""
        self._settings = settings.retention

    async def prune(self) -> None:
        """Drop what is due, in batches; interrupted, the next time goes on."""
        days = self._settings
        dropped = {
            "events": await self._events(days.events_days) if days.events_days else 0,
            "orders": await self._orders(days.orders_days) if days.orders_days else 0,
            "messages": await self._deliveries.prune(
                self._clock.now() - timedelta(days=days.deliveries_days)
            ),
        }
        if any(dropped.values()):
            async with self._store.transaction() as tx:
                tx.journal("retention.pruned", "state", **dropped)

    async def _events(self, days: int) -> int:
        """Drop old events that every target has looked at; the newest stays, for its number."""
        before = self._clock.now() - timedelta(days=days)
        last = await self._store.last_event_number()
        place = await self._deliveries.place()
        limit = last if place is None else min(last, place + 1)
        due = sa.select(events.c.id).where(events.c.at < before, events.c.id < limit)
        return await self._drop(events, events.c.id, due)

    async def _orders(self, days: int) -> int:
        """Drop orders that ended without a certificate; what the journal says of them stays."""
        ended = (OrderState.EXPIRED.value, OrderState.CANCELLED.value)
        before = self._clock.now() - timedelta(days=days)
        issued = sa.select(certificates.c.order_id).where(certificates.c.order_id == orders.c.id)
        due = sa.select(orders.c.id).where(
            orders.c.state.in_(ended), orders.c.ended_at < before, ~issued.exists()
        )
        return await self._drop(orders, orders.c.id, due)

    async def _drop(self, table: sa.Table, key: sa.Column[object], due: sa.Select[tuple[object]]) -> int:
        count = 0
        while True:
            async with self._store.transaction() as tx:
                batch = due.limit(_BATCH).subquery()
                gone = await tx.execute(sa.delete(table).where(key.in_(sa.select(batch))))
            count += gone.rowcount
            if gone.rowcount < _BATCH:
                return count
