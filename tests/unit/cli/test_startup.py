"""`cardd init` and `cardd run`: progress on standard error, the address on standard output."""

import json
import sys
from collections.abc import Callable
from types import SimpleNamespace

import pytest

import cardd
from cardd.progress import Progress, ProgressStep
from cardd.settings import Settings
from cardd.text import Text
from tests.unit.cli.conftest import Cardd

ADDRESS = "http://127.0.0.1:8980"


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """The settings that a stand-in for the daemon was started with."""
    settings_seen: list[Settings] = []

    async def prepare(settings: Settings, progress: Progress) -> None:
        settings_seen.append(settings)
        progress(ProgressStep(0, 1, Text("Making keys", "Création des clés")))
        progress(ProgressStep(1, 1, Text("Ready", "Prêt")))

    async def run(
        settings: Settings, progress: Progress, ready: Callable[[str], None], again: Callable[[], Settings]
    ) -> None:
        assert again() == settings, "what SIGHUP reads again is what was read first"
        await prepare(settings, progress)
        ready(ADDRESS)

    stand_in = SimpleNamespace(prepare=prepare, run=run)
    monkeypatch.setitem(sys.modules, "cardd.daemon", stand_in)
    monkeypatch.setattr(cardd, "daemon", stand_in, raising=False)
    return settings_seen


def test_run_prints_exactly_its_address(cardd: Cardd, seen: list[Settings]) -> None:
    done = cardd("run", "--port", "0")
    assert done.code == 0, done.err
    assert done.out == ADDRESS + "\n"
    assert done.err == "[0/1] Making keys\n[1/1] Ready\n"
    assert seen[0].http_port == 0


def test_run_prints_one_line_of_json_when_asked_to(cardd: Cardd, seen: list[Settings]) -> None:
    assert json.loads(cardd("run", "--json").out) == {"address": ADDRESS}


def test_init_prepares_the_state_directory_that_is_named(
    cardd: Cardd, seen: list[Settings], tmp_path: object
) -> None:
    done = cardd("init", "--state-dir", f"{tmp_path}/other")
    assert done.code == 0, done.err
    assert done.out == ""
    assert seen[0].state_dir == f"{tmp_path}/other"
    assert "cardd run --state-dir" in done.err


def test_progress_speaks_french(cardd: Cardd, seen: list[Settings], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "fr_FR.UTF-8")
    assert "[0/1] Création des clés" in cardd("init").err
