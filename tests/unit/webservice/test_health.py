"""Three views of health: it lives, it can work, all is well."""

from pathlib import Path

from cardd.alerts.alerts import AlertView
from cardd.health import HealthPart
from cardd.text import Text
from tests.support.webservice import START, Alerts, Running, running

LIVE, READY, ALL = "/api/v1/health/live", "/api/v1/health/ready", "/api/v1/health"


async def _parts(*, needed: bool) -> tuple[HealthPart, ...]:
    return (HealthPart(name="part", ok=False, needed=needed),)


async def test_a_part_that_nothing_needs_leaves_the_daemon_ready(tmp_path: Path) -> None:
    async with running(tmp_path, health=lambda: _parts(needed=False)) as service:
        assert await _statuses(service) == [200, 200, 503]


async def test_a_part_that_all_need_makes_it_unready_but_alive(tmp_path: Path) -> None:
    async with running(tmp_path, health=lambda: _parts(needed=True)) as service:
        assert await _statuses(service) == [200, 503, 503]
        assert (await service.json("GET", READY, token=None))[1] == {"status": "failing"}
        owner = (await service.json("GET", READY))[1]
        assert [part["name"] for part in owner["parts"]] == ["part"]


async def test_alerts_are_shown_to_the_owner_only(tmp_path: Path) -> None:
    detail = Text("No host runs.", "Aucun processus ne tourne.")
    alert = AlertView(kind="module_down", subject="module:softhsm2", detail=detail, raised_at=START)
    async with running(tmp_path, alerts=Alerts([alert])) as service:
        _, owner = await service.json("GET", ALL)
        assert [each["kind"] for each in owner["alerts"]] == ["module_down"]
        _, nobody = await service.json("GET", ALL, token=None)
        assert nobody == {"status": "ok"}


async def _statuses(service: Running) -> list[int]:
    return [(await service.json("GET", path, token=None))[0] for path in (LIVE, READY, ALL)]
