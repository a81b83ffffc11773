"""Processes that are killed under load: token hosts, the index worker, the confined pcscd, the daemon itself."""

import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.faults.conftest import DaemonStarter
from tests.support.running import RunningDaemon
from tests.support.working import PATIENCE, Work

pytestmark = pytest.mark.slow

#: What callers may see while token hosts die: repeat the request.
HOST_LOST = {"503 token_host_unavailable"}
BROKEN = {"ConnectionRefusedError", "ConnectionResetError", "RemoteDisconnected", "FileNotFoundError"}
#: What a daemon that was started again says of sessions opened before.
SESSIONS_GONE = {"404 card_session_unknown", "403 card_session_unknown", "401 card_session_unknown"}


def children(pid: int, named: str) -> list[int]:
    """Return the processes below one whose command line holds a word."""
    found, queue = [], [pid]
    while queue:
        for task in Path(f"/proc/{queue.pop()}/task").glob("*/children"):
            for child in map(int, task.read_text().split()):
                queue.append(child)
                if named in Path(f"/proc/{child}/cmdline").read_text().replace("\0", " "):
                    found.append(child)
    return found


def eventually(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds; the daemon has to be back by itself within a minute."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def becomes_well(daemon: RunningDaemon) -> None:
    """Wait until the daemon says that all is well; fail with the parts that are not."""
    nothing_left_of(
        lambda: [part for part in daemon.call("GET", "/api/v1/health").json["parts"] if not part["ok"]]
    )


def nothing_left_of(wrong: Callable[[], list[Any]]) -> None:
    """Wait until nothing is wrong any more; fail with what still is."""
    deadline = time.monotonic() + PATIENCE
    while found := wrong():
        assert time.monotonic() < deadline, found
        time.sleep(0.1)


def test_token_hosts_that_are_killed_cost_their_requests_and_nothing_else(
    start_daemon: DaemonStarter, tmp_path: Path
) -> None:
    daemon = start_daemon(tmp_path)
    work = _killed_under_load(daemon, "cardd_pkcs11.host")
    work.check(tmp_path, HOST_LOST)
    assert daemon.call("GET", "/api/v1/health").status == 200


def test_an_index_worker_that_is_killed_makes_no_answer_wrong(
    start_daemon: DaemonStarter, tmp_path: Path
) -> None:
    daemon = start_daemon(tmp_path)
    work = _killed_under_load(daemon, "cardd.revocation.indexer")
    work.check(tmp_path, set())
    issuer = next(
        each["issuer_spki_sha256"]
        for each in daemon.call("GET", "/api/v1/crls").json["items"]
        if each["id"] == "ACI-EL-ORG-TEST"
    )

    def revoked(serial: str) -> bool:
        status = daemon.call("GET", f"/api/v1/status?issuer={issuer}&serial={serial}").json
        return bool(status["status"] == "revoked")

    eventually(lambda: all(map(revoked, work.done.revoked)))


def test_the_daemon_that_is_killed_has_lost_and_doubled_nothing(
    start_daemon: DaemonStarter, tmp_path: Path
) -> None:
    daemon = start_daemon(tmp_path, CARDD_HTTP_PORT=str(free_port()))
    with Work(daemon) as work:
        for _ in range(3):
            work.wait_for_jobs(2)
            daemon.kill()
            daemon.start()
        work.wait_for_jobs(2)
    work.check(tmp_path, BROKEN | SESSIONS_GONE)


def test_a_confined_pcscd_that_is_killed_comes_back_with_its_cards(
    start_daemon: DaemonStarter, tmp_path: Path
) -> None:
    daemon = start_daemon(tmp_path, CARDD_READERS__PCSC="auto", CARDD_READERS__VIRTUAL="on")
    habilitation = daemon.call("GET", "/api/v1/habilitations").json["items"][0]["id"]
    made = daemon.call("POST", "/api/v1/test-cards", {"habilitation": habilitation, "medium": "virtual"})
    if made.status == 422:
        pytest.skip(f"virtual readers do not run here: {made.json['detail']}")
    serial = made.json["serial"]
    daemon.call("POST", f"/api/v1/test-cards/{serial}/insert", {})
    eventually(lambda: _opens(daemon, serial))
    with Work(daemon) as work:
        for pcscd in children(daemon.pid, "pcscd"):
            os.kill(pcscd, signal.SIGKILL)
        work.wait_for_jobs(2)
        eventually(lambda: _opens(daemon, serial))
    work.check(tmp_path, set())


def _killed_under_load(daemon: RunningDaemon, named: str) -> Work:
    """Kill the processes of a name again and again while callers work; return their work, all done."""
    with Work(daemon) as work:
        for _ in range(5):
            work.wait_for_jobs(2)
            for process in children(daemon.pid, named):
                os.kill(process, signal.SIGKILL)
        work.wait_for_jobs(2)
    return work


def _opens(daemon: RunningDaemon, serial: str) -> bool:
    return daemon.call("POST", f"/api/v1/cards/{serial}/session", {"pin": "1234"}).status == 201


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
