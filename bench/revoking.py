"""Revoking where many are revoked already, and building a list of a million, through a whole daemon."""

import sqlite3
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager

from cryptography.x509 import ocsp

from bench.asking import ISSUER, OCSP_REQUEST, ocsp_request, status_path
from bench.daemons import Daemon, started
from bench.filling import add_certificates
from bench.frame import GROWTH, Asked, Case, Cost, Curve, Declared, Group, Pair, Points, Shares, Target, Work
from bench.load import Load, Unit, drive
from bench.spending import spent_ms
from cardd.igc import der
from tests.support.running import RunningDaemon

_REVOKED, _MILLION = 100_000, 1_000_000
_IN_FORCE = 2000
_REVOCATIONS, _FEW_REVOCATIONS = 100, 25
_LONGEST_WAIT = 30.0
#: Where new entries of a list are: before its signature.
_TAIL = 64 * 1024

_DECLARED: tuple[Declared, ...] = (
    Case(
        name="revoke/answered",
        ours="a revocation with 100,000 revoked, CA with RSA 4096, until it is answered: 99th percentile",
        unit="ms",
        target=Target("ours", "at most", 100),
        rounds=3,
    ),
    Case(
        name="revoke/visible",
        ours="the same until the list, OCSP and the cache's answer say so: slowest",
        unit="s",
        target=Target("ours", "at most", 1),
        rounds=3,
    ),
    Cost(name="revoke/cost", what="revocation with 100,000 revoked, CA with RSA 4096"),
    Case(
        name="revoke/million",
        ours="a revocation with 1,000,000 revoked, until the new list is served",
        unit="s",
        target=Target("ours", "at most", 3),
        rounds=3,
    ),
    Curve(
        name="revoke/growth",
        title="A revocation, as the CA's list grows",
        x="revoked certificates",
        unit="ms",
        sizes=GROWTH,
    ),
)


class _Ground:
    """A daemon whose CA has revoked many certificates, and has many left to revoke."""

    def __init__(self, running: RunningDaemon, *, on_the_way: bool) -> None:
        """Start from none; with `on_the_way`, measure the curve at each of its sizes that is passed."""
        self._running = running
        self._on_the_way = on_the_way
        self._daemon = Daemon(running)
        self._model = self._daemon.issue()
        self._left: list[str] = []
        self._revoked = 0
        self._issuer = self._daemon.issuer
        self._points: dict[int, Mapping[str, float]] = {}

    def reach(self, revoked: int) -> "_Ground":
        """Let so many certificates be revoked; there is no way back to fewer."""
        stops = (size for size in GROWTH if self._on_the_way and self._revoked < size < revoked)
        for size in (*stops, revoked):
            if self._revoked < size:
                self._grow(size)
                if self._on_the_way and size in GROWTH:
                    self._points[size] = self._point()
        return self

    def at(self, revoked: int) -> Mapping[str, float]:
        """Return the curve's figures at one of its sizes."""
        self.reach(revoked)
        return self._points[revoked]

    def _point(self) -> Mapping[str, float]:
        listed = statistics.median(self.list_s() for _ in range(5)) * 1000
        return {
            "answered": self._revocations(_FEW_REVOCATIONS).percentile(50) * 1000,
            "on the list served": listed,
        }

    def _grow(self, revoked: int) -> None:
        """Add what lacks, as if revoked one after the other, and start anew."""
        self._running.stop()
        self._left = add_certificates(self._running.state, self._model, revoked - self._revoked, _IN_FORCE)
        with closing(sqlite3.connect(self._running.state / "cardd.sqlite3")) as database, database:
            database.execute("DELETE FROM crls WHERE issuer = ?", (ISSUER,))
        self._revoked = revoked
        self._running.start()
        self._daemon = Daemon(self._running)

    def answered_ms(self) -> float:
        """Return the 99th percentile of revocations one after the other."""
        return self._revocations(_REVOCATIONS).percentile(99) * 1000

    def _revocations(self, count: int) -> Load:
        serials = [self._left.pop() for _ in range(count)]
        load = drive(self._daemon.requests, [iter([self._revocation(serial) for serial in serials])])
        if load.errors:
            raise RuntimeError("a revocation was refused")
        return load

    def spent(self) -> Mapping[str, float]:
        """Return what one revocation takes of the processor."""
        return spent_ms(self._running.pid, lambda: self._revocations(_FEW_REVOCATIONS))

    def visible_s(self) -> float:
        """Return the longest of some times from asking to where everybody sees it."""
        return max(self._seen_s() for _ in range(5))

    def list_s(self) -> float:
        """Return the seconds from asking for a revocation to where the list carries it."""
        serial = self._left.pop()
        started = time.perf_counter()
        self._revoke(serial)
        self._wait(lambda: self._listed(serial))
        return time.perf_counter() - started

    def _seen_s(self) -> float:
        serial = self._left.pop()
        started = time.perf_counter()
        self._revoke(serial)
        self._wait(lambda: self._listed(serial) and self._answered(serial))
        return time.perf_counter() - started

    @staticmethod
    def _wait(reached: Callable[[], bool]) -> None:
        began = time.perf_counter()
        while not reached():
            if time.perf_counter() - began > _LONGEST_WAIT:
                raise TimeoutError("a revocation is not seen everywhere")

    def _revocation(self, serial: str) -> Unit:
        path = f"/api/v1/certificates/{serial}/revocation"
        reply = yield self._daemon.requests.encode("POST", path, {"reason": "superseded"})
        return reply.status == 200

    def _revoke(self, serial: str) -> None:
        self._daemon.post(f"/api/v1/certificates/{serial}/revocation", {"reason": "superseded"})

    def _listed(self, serial: str) -> bool:
        return der.integer(int(serial, 16)) in self._get(f"/CRL/{ISSUER}.crl")[-_TAIL:]

    def _answered(self, serial: str) -> bool:
        status = self._running.call("GET", status_path(self._issuer, serial)).json["status"]
        request = ocsp_request(self._issuer, int(serial, 16))
        headers = {"Content-Type": OCSP_REQUEST}
        answer = self._running.exchange("POST", "/ocsp", request, headers).body
        said = ocsp.load_der_ocsp_response(answer).certificate_status
        return status == "revoked" and said is ocsp.OCSPCertStatus.REVOKED

    def _get(self, path: str) -> bytes:
        return self._running.call("GET", path).body


@contextmanager
def opened(asked: Asked) -> Iterator[Work]:
    """Run a daemon with a CA of the size that is set up by default."""
    with started(asked.directory, PKI__CA_ALGORITHM="rsa_4096") as running:
        ground = _Ground(running, on_the_way="revoke/growth" in asked.names)
        yield {
            "revoke/answered": Pair(lambda: ground.reach(_REVOKED).answered_ms()),
            "revoke/visible": Pair(lambda: ground.reach(_REVOKED).visible_s()),
            "revoke/cost": Shares(lambda: ground.reach(_REVOKED).spent()),
            "revoke/million": Pair(lambda: ground.reach(_MILLION).list_s()),
            "revoke/growth": Points(ground.at),
        }


GROUP = Group("revoke", _DECLARED, opened)
