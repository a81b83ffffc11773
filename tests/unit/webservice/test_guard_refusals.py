"""Refusals: all counted, and journalled without letting strangers fill the journal."""

from datetime import timedelta
from pathlib import Path
from typing import Any

from cardd.clock import ManualClock
from cardd.store import Store
from tests.support.webservice import Running, running


async def _lines(store: Store) -> list[tuple[str, dict[str, Any]]]:
    return [(line.subject, line.details) for line in reversed(await store.journal())]


async def _refuse(service: Running, times: int) -> None:
    for _ in range(times):
        status, _ = await service.json("GET", "/api/v1/cards", token=None)
        assert status == 401


async def test_many_refusals_of_one_reason_are_one_line_a_minute(service: Running) -> None:
    await _refuse(service, 3)
    await service.json("GET", "/api/v1/cards", headers={"Host": "evil.example"})
    assert await _lines(service.services.store) == [
        ("guard:token", {"count": 1}),
        ("guard:host", {"count": 1}),
    ]
    assert isinstance(service.services.clock, ManualClock)
    service.services.clock.advance(timedelta(seconds=61))
    await _refuse(service, 1)
    assert (await _lines(service.services.store))[-1] == ("guard:token", {"count": 3})


async def test_the_last_refusals_are_journalled_at_the_stop(tmp_path: Path) -> None:
    async with running(tmp_path) as service:
        await _refuse(service, 5)
    async with running(tmp_path) as service:
        assert (await _lines(service.services.store))[-1] == ("guard:token", {"count": 4})


async def test_a_store_that_fails_does_not_change_the_refusal(service: Running) -> None:
    await service.services.store.close()
    (service.services.settings.state / "cardd.sqlite3").rename(service.services.settings.state / "away")
    (service.services.settings.state / "cardd.sqlite3").mkdir()
    await _refuse(service, 1)
    (service.services.settings.state / "cardd.sqlite3").rmdir()
