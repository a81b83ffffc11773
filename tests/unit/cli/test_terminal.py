"""On a real terminal: secrets are asked for, never shown; tables and confirmations are for people."""

import os
import pty
import select
import sys
from pathlib import Path

import pytest

from tests.support.api_samples import SESSION, card, certificate
from tests.support.fake_daemon import FakeDaemon, Scripted

TOP = Path(__file__).resolve().parents[3]
_PATIENCE = 20.0


def _converse(state: Path, arguments: list[str], dialogue: list[tuple[str, str]]) -> tuple[int, str]:
    """Run a command on a pseudo-terminal, answering each prompt; return its exit code and all that was shown."""
    child, terminal = pty.fork()
    if child == 0:
        environment = {
            "PATH": os.environ["PATH"],
            "CARDD_STATE_DIR": str(state),
            "PYTHONPATH": str(TOP),
            "TERM": "dumb",
        }
        os.execve(  # noqa: S606
            sys.executable, [sys.executable, "-m", "cardd.cli", *arguments], environment
        )
    shown, position = "", 0
    for prompt, answer in [*dialogue, ("", "")]:
        while not prompt or prompt not in shown[position:]:
            ready, _, _ = select.select([terminal], [], [], _PATIENCE)
            assert ready, f"nothing more after {shown!r}"
            try:
                part = os.read(terminal, 4096)
            except OSError:  # the other end is closed
                part = b""
            if not part:
                break
            shown += part.decode()
        else:
            position = shown.index(prompt, position) + len(prompt)
            os.write(terminal, answer.encode() + b"\n")
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), shown


@pytest.fixture
def demo(fake: FakeDaemon) -> FakeDaemon:
    """A daemon with one card and one order."""
    fake.on("GET", "/cards", Scripted(200, {"items": [card()], "next_cursor": None}))
    fake.on("POST", "/cards/00000017/session", Scripted(201, SESSION))
    fake.on("DELETE", "/cards/00000017/session", Scripted(204))
    fake.on("POST", "/orders/order-1/retrieval", Scripted(201, certificate()))
    fake.on("POST", "/certificates/0a1b/revocation", Scripted(200, certificate()))
    return fake


def test_pin_and_code_are_asked_for_and_never_echoed(demo: FakeDaemon, state: Path) -> None:
    code, shown = _converse(
        state,
        ["retrieve", "order-1"],
        [
            ("Do you accept", "y"),
            ("PIN of card 00000017", "4711"),
            ("Revocation code", "my-secret-code"),
            ("once more", "my-secret-code"),
        ],
    )
    assert code == 0, shown
    assert "4711" not in shown
    assert "my-secret-code" not in shown
    sent = next(each for each in demo.asked if each.target.endswith("/retrieval"))
    assert sent.body["revocation_code"] == "my-secret-code"


def test_a_no_revokes_nothing(demo: FakeDaemon, state: Path) -> None:
    code, shown = _converse(state, ["revoke", "0a1b"], [("Revoke certificate 0a1b, for ever?", "n")])
    assert code == 130, shown
    assert demo.asked == []
