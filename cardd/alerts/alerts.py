"""Alerts in the store: raised once, told again while they last, and cleared when they are over.

The row, the journal's line and the event are one transaction; webhooks and e-mail follow the event.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec
import sqlalchemy as sa

from cardd.alerts.counting import Key, Sighting, Window
from cardd.clock import Clock
from cardd.events import EventType
from cardd.settings import AlertSettings, Settings
from cardd.store import Store
from cardd.store.tables import alerts
from cardd.text import Text


class AlertView(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is wrong, and was told of."""

    kind: str
    subject: str
    detail: Text
    raised_at: datetime


class _Row(NamedTuple):
    detail: Text
    raised_at: datetime
    told_at: datetime


class Alerts:
    """What this machine has seen to be wrong."""

    def __init__(self, store: Store, clock: Clock, settings: Settings) -> None:
        self._store = store
        self._clock = clock
        self._window = Window()
        self.settings: AlertSettings = settings.alerts

    async def take_settings(self, settings: Settings) -> None:
        """Go by new settings from now on."""
        self.settings = settings.alerts

    async def list(self) -> tuple[AlertView, ...]:
        """Return what is wrong now, the oldest first."""
        found = (
            AlertView(kind=key.kind, subject=key.subject, detail=row.detail, raised_at=row.raised_at)
            for key, row in (await self._raised()).items()
        )
        return tuple(sorted(found, key=lambda alert: alert.raised_at))

    async def note(self, sightings: Sequence[Sighting]) -> None:
        """Take what is wrong now: raise what was seen often enough, repeat what lasts, clear what is over."""
        now = self._clock.now()
        length = timedelta(minutes=self.settings.window_minutes)
        enough = self._window.look(now, length, sightings)
        raised = await self._raised()
        for sighting in enough:
            row = raised.get(sighting.key)
            if row is None:
                await self._raise(sighting)
            elif self._is_due_again(row, now):
                await self._repeat(sighting)
        for key in raised:
            if self._window.is_clear(key):
                await self._clear(key)

    def _is_due_again(self, row: _Row, now: datetime) -> bool:
        hours = self.settings.repeat_hours
        return bool(hours) and now >= row.told_at + timedelta(hours=hours)

    async def _raised(self) -> dict[Key, _Row]:
        own = sa.select(alerts).where(alerts.c.machine == self._store.machine)
        async with self._store.read() as connection:
            rows = (await connection.execute(own)).all()
        return {
            Key(row.kind, row.subject): _Row(msgspec.convert(row.detail, Text), row.raised_at, row.told_at)
            for row in rows
        }

    async def _raise(self, sighting: Sighting) -> None:
        key, detail = sighting.key, sighting.detail
        async with self._store.transaction() as tx:
            await tx.execute(
                sa.insert(alerts).values(
                    machine=self._store.machine,
                    kind=key.kind,
                    subject=key.subject,
                    detail=msgspec.to_builtins(detail),
                    raised_at=tx.now,
                    told_at=tx.now,
                )
            )
            tx.journal("alert.raised", key.subject, kind=key.kind, detail=detail.en)
            tx.publish(EventType.ALERT_RAISED, key.subject, kind=key.kind, en=detail.en, fr=detail.fr)

    async def _repeat(self, sighting: Sighting) -> None:
        key, detail = sighting.key, sighting.detail
        async with self._store.transaction() as tx:
            changed = (
                sa.update(alerts)
                .where(self._is(key))
                .values(told_at=tx.now, detail=msgspec.to_builtins(detail))
            )
            await tx.execute(changed)
            tx.publish(EventType.ALERT_REPEATED, key.subject, kind=key.kind, en=detail.en, fr=detail.fr)

    async def _clear(self, key: Key) -> None:
        async with self._store.transaction() as tx:
            await tx.execute(sa.delete(alerts).where(self._is(key)))
            tx.journal("alert.cleared", key.subject, kind=key.kind)
            tx.publish(EventType.ALERT_CLEARED, key.subject, kind=key.kind)

    def _is(self, key: Key) -> sa.ColumnElement[bool]:
        here = alerts.c.machine == self._store.machine
        return here & (alerts.c.kind == key.kind) & (alerts.c.subject == key.subject)
