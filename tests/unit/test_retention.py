"""Retention: what is due goes, what is needed stays, and the journal keeps its chain."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from cardd.clock import ManualClock
from cardd.events import EventBus, EventType
from cardd.orders.mail import Mailer
from cardd.outgoing.deliveries import Deliveries
from cardd.outgoing.routes import Routes
from cardd.outgoing.sending import Outgoing
from cardd.retention import Retention
from cardd.settings import SmtpSettings, load_settings
from cardd.store import Store
from cardd.store.tables import outgoing_targets
from tests.support.stores import open_store

#: Each test runs on SQLite and on PostgreSQL.
pytestmark = pytest.mark.usefixtures("each_store")


def _retention(store: Store, clock: ManualClock, directory: Path, routes: Routes) -> Retention:
    settings = load_settings({"CARDD_RETENTION__EVENTS_DAYS": "10"}, overrides={"state_dir": str(directory)})
    deliveries = Deliveries(store, clock, routes, Outgoing(Mailer(SmtpSettings()), None).send)
    return Retention(store, clock, settings, deliveries)


async def _happen(store: Store, count: int) -> None:
    async with store.transaction() as tx:
        for number in range(count):
            tx.publish(EventType.CRL_PUBLISHED, f"crl:{number}")
            tx.journal("crl.publish", f"crl:{number}")


async def test_old_events_go_but_their_numbers_go_on_and_the_journal_stays_whole(tmp_path: Path) -> None:
    clock = ManualClock(datetime(2026, 3, 2, tzinfo=UTC))
    store = await open_store(tmp_path, clock, EventBus())
    await _happen(store, 5000)
    clock.advance(timedelta(days=11))
    retention = _retention(store, clock, tmp_path, Routes({}, None))
    await retention.prune()
    assert [event.id for event in await store.events_after(0)] == [5000], "the newest keeps the numbering"
    await _happen(store, 1)
    assert await store.last_event_number() == 5001
    report = await store.verify_journal()
    assert (report.valid, report.entries) == (True, 5002)
    await store.close()


async def test_an_event_that_a_receiver_has_not_been_looked_at_for_is_kept(tmp_path: Path) -> None:
    clock = ManualClock(datetime(2026, 3, 2, tzinfo=UTC))
    store = await open_store(tmp_path, clock, EventBus())
    await _happen(store, 10)
    async with store.transaction() as tx:
        await tx.execute(sa.insert(outgoing_targets).values(target="https://a", last_event=4))
    clock.advance(timedelta(days=11))
    await _retention(store, clock, tmp_path, Routes({"https://a": ("*",)}, None)).prune()
    assert [event.id for event in await store.events_after(0)] == [5, 6, 7, 8, 9, 10]
    await store.close()
