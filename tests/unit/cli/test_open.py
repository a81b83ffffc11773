"""`cardd open`: a link for a person, and nothing of it where other users look."""

import stat
from pathlib import Path

import pytest

from cardd.settings import load_settings
from tests.support.fake_daemon import FakeDaemon, Scripted
from tests.unit.cli.conftest import TOKEN, Cardd

PATH = "/ouvrir?lien=one-time-secret"


@pytest.fixture
def linked(fake: FakeDaemon) -> FakeDaemon:
    """A daemon that makes a link."""
    fake.on("POST", "/ihm/links", Scripted(201, {"path": PATH, "expires_at": "2026-01-01T00:00:00Z"}))
    return fake


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a browser with a window is given."""
    given: list[str] = []
    monkeypatch.setenv("DISPLAY", ":0")

    def open_browser(address: str) -> bool:
        given.append(address)
        return True

    monkeypatch.setattr("webbrowser.open", open_browser)
    return given


def test_the_link_is_printed_and_no_browser_started_where_there_is_no_window(
    linked: FakeDaemon, cardd: Cardd, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DISPLAY")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    done = cardd("open")
    assert done.code == 0, done.err
    assert done.out == f"{linked.address}{PATH}\n"
    assert "works once" in done.err
    assert opened == []


def test_a_browser_is_given_a_private_page_and_not_the_link(
    linked: FakeDaemon, cardd: Cardd, opened: list[str], state: Path
) -> None:
    assert cardd("open").code == 0
    assert cardd("open").code == 0
    page = load_settings({}, overrides={"state_dir": str(state)}).runtime / "open.html"
    assert opened == [page.as_uri()] * 2
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    assert f"{linked.address}{PATH}" in page.read_text()
    assert TOKEN not in page.read_text()


def test_the_link_is_given_as_json_too(linked: FakeDaemon, cardd: Cardd, opened: list[str]) -> None:
    assert linked.address + PATH in cardd("open", "--json").out
    assert opened == []
