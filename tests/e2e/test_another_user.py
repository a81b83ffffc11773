"""Another user of the same machine: a real second uid gets nothing from files, socket, port and processes."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.running import QUICK, RunningDaemon

NOBODY = 65534
#: What the other user runs: it answers with all that it obtained, as JSON.
_PROBE = """
import http.client, json, os, pathlib, socket, sys
asked = json.load(sys.stdin)
read, listed, connected, answered = {}, [], [], {}
for root in asked["roots"]:
    for directory, _, names in os.walk(root, onerror=lambda error: None):
        listed.append(directory)
        for name in names:
            path = os.path.join(directory, name)
            try:
                read[path] = pathlib.Path(path).read_bytes().hex()[:40]
            except OSError:
                pass
for path in asked["files"]:
    try:
        read[path] = pathlib.Path(path).read_bytes().hex()[:40]
    except OSError:
        pass
for path in asked["sockets"]:
    with socket.socket(socket.AF_UNIX) as made:
        try:
            made.connect(path)
            connected.append(path)
        except OSError:
            pass
for method, path, headers in asked["calls"]:
    connection = http.client.HTTPConnection("127.0.0.1", asked["port"], timeout=20)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        answered[f"{method} {path}"] = [answer.status, answer.read().decode("utf-8", "replace")]
    except OSError as error:
        answered[f"{method} {path}"] = [0, str(error)]
    connection.close()
found = {"uid": os.getuid(), "read": read, "listed": listed, "connected": connected, "answered": answered}
json.dump(found, sys.stdout)
"""

pytestmark = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0 or shutil.which("setpriv") is None,
    reason="another user is played by root alone, with setpriv (util-linux)",
)


@pytest.fixture(scope="module")
def daemon() -> Iterator[RunningDaemon]:
    """A daemon whose state lies where everybody may go: what keeps others out is its own doing."""
    directory = Path(tempfile.mkdtemp(prefix="cardd-others-"))
    directory.chmod(0o755)
    running = RunningDaemon(
        directory / "state",
        {**QUICK, "CARDD_RUNTIME_DIR": str(directory / "run"), "CARDD_READERS__VIRTUAL": "auto"},
    )
    running.init()
    running.start()
    running.cli("open", "--print-only")
    (directory / "for-everybody").write_text("in the open")
    yield running
    running.end()
    shutil.rmtree(directory)


def _as_nobody(daemon: RunningDaemon, **asked: Any) -> dict[str, Any]:
    nothing: dict[str, Any] = {"roots": [], "files": [], "sockets": [], "calls": []}
    whole = {**nothing, **asked, "port": int(daemon.address.rsplit(":", 1)[1])}
    done = subprocess.run(
        [
            "setpriv",
            f"--reuid={NOBODY}",
            f"--regid={NOBODY}",
            "--clear-groups",
            _python(),
            "-I",
            "-c",
            _PROBE,
        ],
        input=json.dumps(whole),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        cwd="/",
    )
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["uid"] == NOBODY
    return found


def _python() -> str:
    """Return an interpreter that everybody may run; a virtual environment may lie in a home."""
    return str(Path(sys.executable).resolve())


def test_another_user_reads_no_file_and_lists_no_directory(daemon: RunningDaemon) -> None:
    directory = daemon.state.parent
    files = [str(path) for path in directory.rglob("*") if path.is_file() and path.name != "for-everybody"]
    assert str(daemon.state / "token") in files
    found = _as_nobody(daemon, roots=[str(directory)], files=files)
    assert found["listed"] == [str(directory)]
    # The daemon's log is the test's own file, written by who started it.
    readable = {str(directory / "for-everybody"), str(daemon.log)}
    assert set(found["read"]) <= readable
    assert str(directory / "for-everybody") in found["read"]


def test_another_user_connects_to_no_socket(daemon: RunningDaemon) -> None:
    sockets = [str(path) for path in daemon.state.parent.rglob("*") if path.is_socket()]
    assert any(path.endswith("cardd.sock") for path in sockets)
    assert _as_nobody(daemon, sockets=sockets)["connected"] == []


def test_another_user_sees_nothing_of_the_processes(daemon: RunningDaemon) -> None:
    children = Path(f"/proc/{daemon.pid}/task/{daemon.pid}/children").read_text().split()
    files = [
        f"/proc/{process}/{name}"
        for process in (str(daemon.pid), *children)
        for name in ("environ", "mem", "maps")
    ]
    assert _as_nobody(daemon, files=files)["read"] == {}


def test_another_user_gets_nothing_from_the_port(daemon: RunningDaemon) -> None:
    card = daemon.call("GET", "/api/v1/cards").json["items"][0]["serial"]
    before = daemon.call("GET", "/api/v1/audit?limit=1").json["items"][0]["seq"]
    calls: list[tuple[str, str, dict[str, str]]] = [
        ("GET", "/", {}), ("GET", "/cartes", {}), ("GET", "/nouvelles", {}), ("GET", "/metrics", {}),
        ("GET", "/api/v1/cards", {}), ("GET", "/api/v1/events", {}), ("GET", "/api/v1/audit", {}),
        ("GET", "/api/v1/health", {}), ("POST", "/api/v1/ihm/links", {}), ("POST", f"/cartes/{card}/retirer", {}),
        ("POST", f"/api/v1/test-cards/{card}/remove", {"Authorization": "Bearer guessed"}),
    ]  # fmt: skip
    answered = _as_nobody(daemon, calls=calls)["answered"]
    assert len(answered) == len(calls)
    for call, (status, text) in answered.items():
        assert card not in text, (call, text)
        if call not in ("GET /", "GET /api/v1/health"):
            assert status in (401, 403), (call, status)
    assert daemon.call("GET", f"/api/v1/cards/{card}").json["present"]
    lines = daemon.call("GET", "/api/v1/audit?limit=50").json["items"]
    assert {line["action"] for line in lines if line["seq"] > before} <= {"guard.refuse"}


def test_another_user_s_stolen_token_and_cookie_open_nothing(daemon: RunningDaemon) -> None:
    """Cookies know no ports: another user's service could be sent ours. On TCP, who calls is asked of the kernel."""
    link = urlsplit(daemon.cli("open", "--print-only").stdout.strip())
    entered = daemon.call("GET", f"{link.path}?{link.query}", token=None)
    cookie = entered.headers["set-cookie"].split(";")[0]
    browser = {"Cookie": cookie, "Sec-Fetch-Site": "same-origin"}
    assert daemon.call("GET", "/cartes", token=None, headers=browser).status == 200
    owner = {"Authorization": f"Bearer {daemon.token}"}
    calls = [
        ("GET", "/cartes", browser), ("GET", "/nouvelles", browser), ("GET", "/api/v1/cards", owner),
        ("GET", "/api/v1/events", owner), ("POST", "/api/v1/ihm/links", owner), ("GET", "/metrics", owner),
    ]  # fmt: skip
    answered = _as_nobody(daemon, calls=calls)["answered"]
    assert {call: status for call, (status, _) in answered.items() if status != 403} == {}
    assert daemon.call("GET", "/cartes", token=None, headers=browser).status == 200
