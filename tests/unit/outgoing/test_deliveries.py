"""Events for others: every wanted one arrives, signed, under one identifier, or is given up aloud."""

import base64
import hashlib
import hmac
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa
from aiohttp import web

from cardd.clock import ManualClock
from cardd.events import EventBus, EventType
from cardd.orders.mail import Mailer
from cardd.outgoing.deliveries import RETRY_AFTER, Deliveries
from cardd.outgoing.routes import Routes
from cardd.outgoing.sending import Outgoing
from cardd.settings import Settings, SettingsError, SmtpSettings, load_settings
from cardd.store import Store
from cardd.store.tables import outgoing_deliveries
from tests.support.stores import open_store

#: Each test runs on SQLite and on PostgreSQL.
pytestmark = pytest.mark.usefixtures("each_store")

KEY = bytes(range(32))


@dataclass
class Receiver:
    """A program that takes webhooks, or answers otherwise."""

    status: int = 204
    taken: list[tuple[str, str, str, bytes]] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.Response:
        names = ("webhook-id", "webhook-timestamp", "webhook-signature")
        identifier, moment, signature = (request.headers[name] for name in names)
        self.taken.append((identifier, moment, signature, await request.read()))
        headers = {"Location": "/elsewhere"} if self.status == 302 else {}
        return web.Response(status=self.status, headers=headers)


@dataclass
class Bench:
    """A store, a receiver, and what goes from the one to the other."""

    store: Store
    clock: ManualClock
    receiver: Receiver
    url: str
    settings: Settings

    def deliveries(self, outgoing: Outgoing) -> Deliveries:
        return Deliveries(self.store, self.clock, Routes.from_settings(self.settings), outgoing.send)

    async def happen(self, *types: EventType) -> None:
        async with self.store.transaction() as tx:
            for each in types:
                tx.publish(each, "subject:1", en="It hurts.", fr="Cela fait mal.", kind="test")


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    receiver = Receiver()
    application = web.Application()
    application.router.add_post("/hook", receiver.handle)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    (tmp_path / "secret").write_text(f"whsec_{base64.b64encode(KEY).decode()}\n")
    environment = {"CARDD_WEBHOOKS__URLS": url, "CARDD_WEBHOOKS__SECRET_FILE": str(tmp_path / "secret")}
    settings = load_settings(environment, overrides={"state_dir": str(tmp_path)})
    clock = ManualClock(datetime(2026, 3, 2, 9, tzinfo=UTC))
    store = await open_store(tmp_path, clock, EventBus())
    yield Bench(store, clock, receiver, url, settings)
    await store.close()
    await runner.cleanup()


@pytest.fixture
async def outgoing(bench: Bench) -> AsyncIterator[Outgoing]:
    made = Outgoing(Mailer(SmtpSettings()), Routes.from_settings(bench.settings).secret)
    yield made
    await made.close()


async def test_wanted_events_arrive_once_with_a_signature_that_verifies(
    bench: Bench, outgoing: Outgoing
) -> None:
    deliveries = bench.deliveries(outgoing)
    await bench.happen(EventType.ALERT_RAISED)
    await deliveries.work()
    assert bench.receiver.taken == [], "a new target begins with the present"
    await bench.happen(EventType.ORDER_CREATED, EventType.ALERT_RAISED, EventType.KEY_COPY_NOTICED)
    assert await deliveries.work() == 2
    assert await deliveries.work() == 0
    assert [identifier for identifier, *_ in sorted(bench.receiver.taken)] == ["evt_3", "evt_4"]
    for identifier, moment, signature, body in bench.receiver.taken:
        signed = f"{identifier}.{moment}.".encode() + body
        expected = base64.b64encode(hmac.digest(KEY, signed, hashlib.sha256)).decode()
        assert signature == f"v1,{expected}"
        assert int(moment) == int(bench.clock.now().timestamp())
        assert msgspec.json.decode(body)["data"]["en"] == "It hurts."


@pytest.mark.parametrize("status", [500, 404, 302])
async def test_what_is_not_taken_is_tried_again_under_its_identifier_by_the_next_run_too(
    bench: Bench, outgoing: Outgoing, status: int
) -> None:
    await bench.deliveries(outgoing).work()
    await bench.happen(EventType.ALERT_RAISED)
    bench.receiver.status = status
    assert await bench.deliveries(outgoing).work() == 0
    assert await bench.deliveries(outgoing).work() == 0, "not before its time"
    bench.receiver.status = 200
    bench.clock.advance(RETRY_AFTER[0])
    assert await bench.deliveries(outgoing).work() == 1
    assert [identifier for identifier, *_ in bench.receiver.taken] == ["evt_1", "evt_1"]


async def test_what_waits_for_another_try_does_not_wait_longer_when_the_clock_is_set_back(
    bench: Bench, outgoing: Outgoing
) -> None:
    await bench.deliveries(outgoing).work()
    await bench.happen(EventType.ALERT_RAISED)
    bench.receiver.status = 500
    await bench.deliveries(outgoing).work()
    bench.receiver.status = 200
    bench.clock.set_by(timedelta(days=-40))
    assert await bench.deliveries(outgoing).work() == 1


async def test_a_receiver_that_never_takes_it_is_given_up_and_the_journal_says_so(
    bench: Bench, outgoing: Outgoing
) -> None:
    deliveries = bench.deliveries(outgoing)
    await deliveries.work()
    await bench.happen(EventType.ALERT_RAISED)
    bench.receiver.status = 503
    for wait in (*RETRY_AFTER, timedelta(days=9)):
        await deliveries.work()
        bench.clock.advance(wait)
    await deliveries.work()
    assert len(bench.receiver.taken) == len(RETRY_AFTER) + 1
    assert await deliveries.waiting() == 0
    assert "outgoing.given_up" in {line.action for line in await bench.store.journal()}
    bench.clock.advance(timedelta(days=1))
    assert await deliveries.prune(bench.clock.now()) == 1
    async with bench.store.read() as connection:
        assert (await connection.execute(sa.select(outgoing_deliveries))).all() == []


async def test_a_receiver_that_is_gone_for_good_is_not_asked_again(bench: Bench, outgoing: Outgoing) -> None:
    deliveries = bench.deliveries(outgoing)
    await deliveries.work()
    await bench.happen(EventType.ALERT_RAISED)
    bench.receiver.status = 410
    await deliveries.work()
    bench.clock.advance(timedelta(days=3))
    await deliveries.work()
    assert len(bench.receiver.taken) == 1


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"CARDD_WEBHOOKS__URLS": "http://example.org/hook"}, "neither https nor http on this machine"),
        ({"CARDD_WEBHOOKS__URLS": "https://example.org"}, "webhooks are signed"),
        ({"CARDD_WEBHOOKS__URLS": "https://example.org", "CARDD_WEBHOOKS__SECRET_FILE": "/none"}, "whsec_"),
    ],
)
def test_settings_that_could_not_work_are_refused_with_their_name(
    tmp_path: Path, changes: dict[str, str], sentence: str
) -> None:
    settings = load_settings(changes, overrides={"state_dir": str(tmp_path)})
    with pytest.raises(SettingsError, match=sentence):
        Routes.from_settings(settings)
