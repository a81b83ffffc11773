"""Alerts: raised after so many sightings in a window, told once, repeated while they last, cleared when over."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from cardd.alerts.alerts import Alerts
from cardd.alerts.counting import Key, Sighting
from cardd.clock import ManualClock
from cardd.events import EventBus
from cardd.settings import AlertSettings, load_settings
from cardd.store import Store
from cardd.text import Text
from tests.support.stores import open_store

#: Each test runs on SQLite and on PostgreSQL.
pytestmark = pytest.mark.usefixtures("each_store")

MINUTE = timedelta(minutes=1)
KEY = Key("module_down", "module:softhsm2")


class Bench:
    """Alerts over a real store, looked at once a minute of a clock that the test moves."""

    def __init__(self, store: Store, clock: ManualClock, directory: Path) -> None:
        settings = load_settings({}, overrides={"state_dir": str(directory)})
        chosen = AlertSettings(window_minutes=10, repeat_hours=1)
        self.clock, self.store = clock, store
        self.alerts = Alerts(store, clock, msgspec.structs.replace(settings, alerts=chosen))

    async def look(self, *, wrong: bool, times: int = 3) -> None:
        seen = [Sighting(KEY, Text("No host runs.", "Aucun processus ne tourne."), times)] if wrong else []
        await self.alerts.note(seen)
        self.clock.advance(MINUTE)

    async def told(self) -> list[str]:
        return [event.type.value for event in await self.store.events_after(0)]


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    clock = ManualClock(datetime(2026, 3, 2, 9, tzinfo=UTC))
    store = await open_store(tmp_path, clock, EventBus())
    yield Bench(store, clock, tmp_path)
    await store.close()


async def test_what_is_seen_too_seldom_alarms_nobody(bench: Bench) -> None:
    for wrong in (True, True, False, False, False, False, False, False, False, False, True, True):
        await bench.look(wrong=wrong)
    assert await bench.told() == []


async def test_an_alert_is_told_once_and_cleared_after_a_clear_window(bench: Bench) -> None:
    for _ in range(6):
        await bench.look(wrong=True)
    (alert,) = await bench.alerts.list()
    assert (alert.kind, alert.detail.fr) == ("module_down", "Aucun processus ne tourne.")
    for _ in range(9):
        await bench.look(wrong=False)
    assert await bench.told() == ["alert.raised"], "a flapping part does not clear and raise again"
    for _ in range(2):
        await bench.look(wrong=False)
    assert await bench.told() == ["alert.raised", "alert.cleared"]
    assert await bench.alerts.list() == ()


async def test_an_alert_that_lasts_is_told_again_in_time(bench: Bench) -> None:
    for _ in range(130):
        await bench.look(wrong=True)
    assert await bench.told() == ["alert.raised", "alert.repeated", "alert.repeated"]


async def test_a_restart_of_the_daemon_does_not_raise_an_alert_twice(bench: Bench, tmp_path: Path) -> None:
    for _ in range(3):
        await bench.look(wrong=True)
    again = Bench(bench.store, bench.clock, tmp_path)
    for _ in range(5):
        await again.look(wrong=True)
    assert await again.told() == ["alert.raised"]


async def test_a_clock_set_back_neither_raises_nor_keeps_an_alert(bench: Bench) -> None:
    for _ in range(2):
        await bench.look(wrong=True)
    bench.clock.advance(timedelta(days=-2))
    await bench.look(wrong=True)
    assert await bench.told() == []
