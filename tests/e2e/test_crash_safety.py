"""kill -9 at random moments: nothing lost, nothing doubled, nothing half-done, and the next start goes on."""

import http.client
import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.e2e.conftest import DaemonMaker
from tests.support.running import Answer, RunningDaemon

CODE = "code-de-revocation-1"
WORKERS = 4


@dataclass
class Acknowledged:
    """What the daemon said was done before it was killed; each list is appended to by one call at a time."""

    orders: dict[str, str] = field(default_factory=dict)
    certificates: dict[str, str] = field(default_factory=dict)
    revoked: set[str] = field(default_factory=set)
    unanswered: list[tuple[str, str, Any, str]] = field(default_factory=list)


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


def _all(daemon: RunningDaemon, path: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = daemon.call("GET", f"{path}?limit=500{cursor}").json
        items += page["items"]
        if page["next_cursor"] is None:
            return items
        cursor = f"&cursor={page['next_cursor']}"


def _check(daemon: RunningDaemon, done: Acknowledged) -> None:
    orders = {order["id"]: order for order in _all(daemon, "/api/v1/orders")}
    certificates = {c["serial"]: c for c in _all(daemon, "/api/v1/certificates")}
    for order in done.orders.values():
        assert order in orders, "an acknowledged order is lost"
    for order, serial in done.certificates.items():
        assert orders[order]["state"] == "retrieved"
        assert orders[order]["certificate"] == serial
    for serial in done.revoked:
        assert certificates[serial]["state"] == "revoked"
    retrieved = {order["certificate"] for order in orders.values() if order["state"] == "retrieved"}
    assert retrieved == {c["serial"] for c in certificates.values() if c["order"]}, (
        "half of a retrieval is there"
    )
    assert all(order["certificate"] is None for order in orders.values() if order["state"] == "to_retrieve")
    assert len({order["public_key_sha256"] for order in orders.values()}) == len(orders), "a key serves twice"
    assert daemon.call("GET", "/api/v1/audit/verification").json["valid"]


def _check_published(daemon: RunningDaemon, done: Acknowledged, folder: Path) -> int:
    (folder / "list.crl").write_bytes(daemon.call("GET", "/CRL/ACI-EL-ORG-TEST.crl", token=None).body)
    text = subprocess.run(
        ["openssl", "crl", "-inform", "DER", "-in", folder / "list.crl", "-noout", "-text"],
        capture_output=True, text=True, check=True,
    ).stdout.lower()  # fmt: skip
    for serial in done.revoked:
        assert serial in text, "a revocation is not in the list"
    lines = [line.strip() for line in text.splitlines()]
    return int(lines[lines.index("x509v3 crl number:") + 1], 0)


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
        daemon.call("GET", f"/api/v1/orders/{order['id']}").json for order in _all(daemon, "/api/v1/orders")
    ]
    uris = [order["pkcs11_uri"] for order in orders if order["pkcs11_uri"]]
    return {uri.split("id=")[1].split(";")[0].split("?")[0].replace("%", "").lower() for uri in uris}


def _survives(daemon: RunningDaemon, kills: int, pause: Callable[[], float]) -> None:
    done, number = Acknowledged(), 0
    daemon.init()
    for _ in range(kills):
        daemon.start()
        _check(daemon, done)
        published = _check_published(daemon, done, daemon.state.parent)
        assert published >= number, "the CRL number went back"
        number = published
        _repeat_unanswered(daemon, done)
        _run_until_killed(daemon, done, pause())
    daemon.start()
    _check(daemon, done)
    _repeat_unanswered(daemon, done)
    _check(daemon, done)
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
