"""The command line in this process, against a fake daemon."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from cardd.cli.root import run_command
from tests.support.fake_daemon import FakeDaemon, fake_daemon

TOKEN = "0123456789abcdef"


class Outcome(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str


Cardd = Callable[..., Outcome]


@pytest.fixture
def fake() -> Iterator[FakeDaemon]:
    """A fake daemon."""
    with fake_daemon() as running:
        yield running


@pytest.fixture
def state(tmp_path: Path, fake: FakeDaemon) -> Path:
    """A state directory as the daemon leaves it."""
    directory = tmp_path / "state"
    directory.mkdir()
    (directory / "address").write_text(fake.address + "\n")
    (directory / "token").write_text(TOKEN + "\n")
    return directory


@pytest.fixture
def cardd(state: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Cardd:
    """Run `cardd …` in English, with given lines on standard input."""
    for name in ("LC_ALL", "LC_MESSAGES", "LANG", "CARDD_ADDRESS", "CARDD_TOKEN_FILE", "CARDD_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CARDD_STATE_DIR", str(state))

    def run(*arguments: str, stdin: str = "") -> Outcome:
        source = state / "stdin"
        source.write_text(stdin)
        with source.open() as lines, monkeypatch.context() as patched:
            patched.setattr("sys.stdin", lines)
            code = run_command(list(arguments))
        out, err = capfdbinary.readouterr()
        return Outcome(code, out.decode(), err.decode())

    return run
