"""kill -9 at random moments: nothing lost, nothing doubled, nothing half-done, and the next start goes on."""

import http.client
import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.e2e.conftest import DaemonMaker
from tests.support.running import Answer, RunningDaemon
from tests.support.working import Acknowledged, all_of, check_kept, check_published

CODE = "code-de-revocation-1"
WORKERS = 4


class Client(threading.Thread):
    """One caller that orders, retrieves and revokes until the daemon is gone."""

    def __init__(self, daemon: RunningDaemon, session: str, structure: str, done: Acknowledged) -> None:
        super().__init__(daemon=True)
        self._daemon, self._session, self._structure, self._done = daemon, session, structure, done

    def run(self) -> None:
        """Do whole jobs one after the other."""
        try:
            while True:
                self._one_job()
        except (OSError, http.client.HTTPException):
            return

    def _one_job(self) -> None:
        body = {
            "offer": "ORG", "usage": "AUTH_CLI", "structure": self._structure, "service": f"S{uuid4().hex[:8]}",
            "contacts": ["tests@example.org"],
        }  # fmt: skip
        key = uuid4().hex
        order = self._post("/api/v1/orders", body, key).json["id"]
        self._done.orders[key] = order
        codes = {"revocation_code": CODE, "confirmation": CODE, "accept_terms": True}
        serial = self._post(f"/api/v1/orders/{order}/retrieval", codes, uuid4().hex).json["serial"]
        self._done.certificates[order] = serial
        self._post(f"/api/v1/certificates/{serial}/revocation", {"reason": "superseded"}, uuid4().hex)
        self._done.revoked.add(serial)

    def _post(self, path: str, body: Any, key: str) -> Answer:
        headers = {"Card-Session": self._session, "Idempotency-Key": key}
        try:
            answer = self._daemon.call("POST", path, body, headers=headers)
        except (OSError, http.client.HTTPException):
            self._done.unanswered.append((path, key, body, self._structure))
            raise
        assert answer.status in (200, 201), answer.body
        return answer


def _run_until_killed(daemon: RunningDaemon, done: Acknowledged, moment: float) -> None:
    session, habilitation = daemon.open_session()
    structure = habilitation["structures"][0]["id"]
    clients = [Client(daemon, session, structure, done) for _ in range(WORKERS)]
    for client in clients:
        client.start()
    fuse = threading.Timer(moment, daemon.kill)
    fuse.start()
    fuse.join()
    for client in clients:
        client.join()


def _repeat_unanswered(daemon: RunningDaemon, done: Acknowledged) -> None:
    """A caller that got no answer sends the same request again; what was done is not done twice."""
    session, _ = daemon.open_session()
    for path, key, body, _structure in done.unanswered:
        headers = {"Card-Session": session, "Idempotency-Key": key}
        answer = daemon.call("POST", path, body, headers=headers)
        assert answer.status in (200, 201), (path, answer.body)
        if path == "/api/v1/orders":
            done.orders[key] = answer.json["id"]
        elif path.endswith("/retrieval"):
            done.certificates[path.split("/")[4]] = answer.json["serial"]
        else:
            done.revoked.add(path.split("/")[4])
    done.unanswered.clear()


def _keys_on_tokens(daemon: RunningDaemon) -> set[str]:
    """The CKA_IDs of the private keys on the structures' tokens, as another program sees them."""
    found: set[str] = set()
    environment = {**os.environ, "SOFTHSM2_CONF": str(daemon.state / "softhsm" / "softhsm2.conf")}
    for token in daemon.call("GET", "/api/v1/tokens").json["items"]:
        if token["structure"] is None:
            continue
        assert token["quarantine"] is None, "a crash is not a copy"
        exported = daemon.call("POST", f"/api/v1/tokens/{token['serial']}/pin-file", {}).json
        listed = subprocess.run(
            ["pkcs11-tool", "--module", token["module_path"], "--token-label", token["label"], "--login",
             "--pin", Path(exported["pin_file"]).read_text().strip(), "--list-objects", "--type", "privkey"],
            env=environment, capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        found |= {
            line.split(":")[1].strip() for line in listed.splitlines() if line.strip().startswith("ID:")
        }
    return found


def _keys_of_orders(daemon: RunningDaemon) -> set[str]:
    orders = [
        daemon.call("GET", f"/api/v1/orders/{order['id']}").json for order in all_of(daemon, "/api/v1/orders")
    ]
    uris = [order["pkcs11_uri"] for order in orders if order["pkcs11_uri"]]
    return {uri.split("id=")[1].split(";")[0].split("?")[0].replace("%", "").lower() for uri in uris}


#: So many times the kills asked for are made at the most, until something was revoked between them.
_MOST = 4


def _survives(daemon: RunningDaemon, kills: int, pause: Callable[[], float]) -> None:
    done, number = Acknowledged(), 0
    daemon.init()
    for kill in range(_MOST * kills):
        if kill >= kills and done.revoked:  # a busy machine does little between two kills
            break
        daemon.start()
        check_kept(daemon, done)
        published = check_published(daemon, done, daemon.state.parent)
        assert published >= number, "the CRL number went back"
        number = published
        _repeat_unanswered(daemon, done)
        _run_until_killed(daemon, done, pause())
    daemon.start()
    check_kept(daemon, done)
    _repeat_unanswered(daemon, done)
    check_kept(daemon, done)
    assert _keys_on_tokens(daemon) == _keys_of_orders(daemon), "a key has no order, or an order no key"
    assert done.revoked, "the run was too short to prove anything"
    assert daemon.stop() == 0


def test_five_kills_lose_double_and_halve_nothing(tmp_path: Path, make_daemon: DaemonMaker) -> None:
    _survives(make_daemon(tmp_path / "state"), 5, lambda: random.uniform(1.0, 4.0))


@pytest.mark.slow
def test_fifty_kills_lose_double_and_halve_nothing(tmp_path: Path, make_daemon: DaemonMaker) -> None:
    _survives(make_daemon(tmp_path / "state"), 50, lambda: random.uniform(0.0, 4.0))


def test_a_first_start_cut_short_goes_on_where_it_stopped(tmp_path: Path, make_daemon: DaemonMaker) -> None:
    daemon = make_daemon(tmp_path / "state")
    for moment in (0.6, 1.2, 2.0, 3.0):
        with daemon.log.open("a") as log:
            preparing = subprocess.Popen(
                [sys.executable, "-m", "cardd.cli", "init"],
                env=daemon.environment, stdout=log, stderr=log,
            )  # fmt: skip
        try:
            preparing.wait(moment)
        except subprocess.TimeoutExpired:
            preparing.kill()
            preparing.wait()
    daemon.init()
    daemon.start()
    assert len(daemon.call("GET", "/api/v1/cards").json["items"]) == 1
    assert len(daemon.call("GET", "/api/v1/habilitations").json["items"]) == 1
    assert daemon.call("GET", "/api/v1/audit/verification").json["valid"]
    assert daemon.stop() == 0
