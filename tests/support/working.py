"""Work that callers had acknowledged, and what must be there of it whatever happened since."""

import http.client
import subprocess
import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from tests.support.running import Answer, RunningDaemon

CODE = "code-de-revocation-1"
#: Longest that one request is repeated before its caller gives up: the daemon has to be back by itself within it.
PATIENCE = 60.0


@dataclass
class Acknowledged:
    """What the daemon said was done before it was killed; each list is appended to by one call at a time."""

    orders: dict[str, str] = field(default_factory=dict)
    certificates: dict[str, str] = field(default_factory=dict)
    revoked: set[str] = field(default_factory=set)
    unanswered: list[tuple[str, str, Any, str]] = field(default_factory=list)


def all_of(daemon: RunningDaemon, path: str) -> list[dict[str, Any]]:
    """Return a whole list of the API."""
    items: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = daemon.call("GET", f"{path}?limit=500{cursor}").json
        items += page["items"]
        if page["next_cursor"] is None:
            return items
        cursor = f"&cursor={page['next_cursor']}"


def check_kept(daemon: RunningDaemon, done: Acknowledged) -> None:
    """Check that nothing acknowledged is lost, nothing is half done, and no key serves twice."""
    orders = {order["id"]: order for order in all_of(daemon, "/api/v1/orders")}
    certificates = {c["serial"]: c for c in all_of(daemon, "/api/v1/certificates")}
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


def check_published(daemon: RunningDaemon, done: Acknowledged, folder: Path) -> int:
    """Check with OpenSSL that the list carries every acknowledged revocation; return its number."""
    (folder / "list.crl").write_bytes(daemon.call("GET", "/CRL/ACI-EL-ORG-TEST.crl", token=None).body)
    text = subprocess.run(
        ["openssl", "crl", "-inform", "DER", "-in", folder / "list.crl", "-noout", "-text"],
        capture_output=True, text=True, check=True,
    ).stdout.lower()  # fmt: skip
    for serial in done.revoked:
        assert serial in text, "a revocation is not in the list"
    lines = [line.strip() for line in text.splitlines()]
    return int(lines[lines.index("x509v3 crl number:") + 1], 0)


class Worker(threading.Thread):
    """A caller that does whole jobs, and repeats a request under its key until it is done, as callers should.

    What it was answered meanwhile is counted in `seen`: a status with its error, or the name of a broken connection.
    """

    def __init__(self, daemon: RunningDaemon, done: Acknowledged, seen: "Counter[str]") -> None:
        super().__init__(daemon=True)
        self._daemon, self._done, self._seen = daemon, done, seen
        self._ended = threading.Event()
        self._session = self._structure = ""
        self.jobs = 0
        #: How long each call took that was answered with success, by its kind, in seconds.
        self.seconds: defaultdict[str, list[float]] = defaultdict(list)
        self.failure: str | None = None

    def end(self) -> None:
        """End after the job under way, and wait for it."""
        self._ended.set()
        self.join(3 * PATIENCE)

    def run(self) -> None:
        """Work until ended."""
        try:
            while not self._ended.is_set():
                self._job()
                self.jobs += 1
        except AssertionError as error:
            self.failure = str(error)

    def _job(self) -> None:
        if not self._session:
            self._open_session()
        body = {
            "offer": "ORG", "usage": "AUTH_CLI", "structure": self._structure, "service": f"S{uuid4().hex[:8]}",
            "contacts": ["tests@example.org"], "key": {"source": "token", "algorithm": "ec_p256"},
        }  # fmt: skip
        key = uuid4().hex
        order = self._post("order", "/api/v1/orders", body, key).json["id"]
        self._done.orders[key] = order
        codes = {"revocation_code": CODE, "confirmation": CODE, "accept_terms": True}
        serial = self._post("retrieval", f"/api/v1/orders/{order}/retrieval", codes, uuid4().hex).json[
            "serial"
        ]
        self._done.certificates[order] = serial
        path = f"/api/v1/certificates/{serial}/revocation"
        self._post("revocation", path, {"reason": "superseded"}, uuid4().hex)
        self._done.revoked.add(serial)

    def _open_session(self) -> None:
        cards = self._until(lambda: self._daemon.call("GET", "/api/v1/cards")).json["items"]
        card = next(each["serial"] for each in cards if each["medium"] == "softhsm")
        path = f"/api/v1/cards/{card}/session"
        opened = self._until(lambda: self._daemon.call("POST", path, {"pin": "1234"})).json
        self._session = opened["id"]
        self._structure = opened["habilitations"][0]["structures"][0]["id"]

    def _post(self, kind: str, path: str, body: Any, key: str) -> Answer:
        def ask() -> Answer:
            headers = {"Card-Session": self._session, "Idempotency-Key": key}
            began = time.monotonic()
            answer = self._daemon.call("POST", path, body, headers=headers)
            if answer.status in (200, 201):
                self.seconds[kind].append(time.monotonic() - began)
            if answer.status in (401, 403, 404, 409) and "card_session" in answer.json["type"]:
                self._note(answer)
                self._open_session()
                headers["Card-Session"] = self._session
                return self._daemon.call("POST", path, body, headers=headers)
            return answer

        return self._until(ask)

    def _until(self, ask: Any) -> Answer:
        """Ask until the answer is a success."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                answer: Answer = ask()
            except (OSError, http.client.HTTPException) as error:
                self._seen[type(error).__name__] += 1
                last = repr(error)
            else:
                if answer.status in (200, 201):
                    return answer
                self._note(answer)
                last = f"{answer.status} {answer.body!r}"
            assert time.monotonic() < deadline, f"not back within {PATIENCE:.0f} s: {last}"
            self._ended.wait(0.05)

    def _note(self, answer: Answer) -> None:
        self._seen[f"{answer.status} {answer.json['type'].rpartition(':')[2]}"] += 1


@dataclass
class Work:
    """Several callers at work, and what came of it."""

    daemon: RunningDaemon
    workers: list[Worker] = field(default_factory=list)
    done: Acknowledged = field(default_factory=Acknowledged)
    seen: "Counter[str]" = field(default_factory=Counter)

    def __enter__(self) -> "Work":
        self.begin(3)
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def begin(self, number: int) -> None:
        """Let callers begin."""
        more = [Worker(self.daemon, self.done, self.seen) for _ in range(number)]
        for worker in more:
            worker.start()
        self.workers += more

    def end(self) -> None:
        """Let every caller finish its job."""
        for worker in self.workers:
            worker._ended.set()
        for worker in self.workers:
            worker.end()

    @property
    def jobs(self) -> int:
        """Jobs done, all callers together."""
        return sum(worker.jobs for worker in self.workers)

    def wait_for_jobs(self, number: int) -> None:
        """Wait until so many more jobs are done, all callers together."""
        wanted = self.jobs + number
        deadline = time.monotonic() + 2 * PATIENCE
        while self.jobs < wanted:
            failures = [worker.failure for worker in self.workers if worker.failure]
            assert not failures, failures
            assert time.monotonic() < deadline, "no work is done any more"
            time.sleep(0.05)

    def check(self, folder: Path, allowed: set[str]) -> None:
        """Check that all work was done once, is there, and that callers saw only what they may."""
        failures = [worker.failure for worker in self.workers if worker.failure]
        assert not failures, failures
        assert set(self.seen) <= allowed, self.seen
        check_kept(self.daemon, self.done)
        check_published(self.daemon, self.done, folder)
        assert self.done.revoked, "the run was too short to prove anything"
