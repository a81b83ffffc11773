"""Revoking where many are revoked already, and building a list of a million, through a whole daemon."""

import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.x509 import ocsp

from bench.asking import ocsp_request, status_path
from bench.daemons import Daemon, started
from bench.frame import Asked, Case, Group, Pair, Target, Work
from bench.load import Unit, drive
from cardd.igc import der
from cardd.igc.crl import RevocationReason, encode_entry
from tests.support.running import RunningDaemon

_REVOKED, _MILLION = 100_000, 1_000_000
_IN_FORCE = 2000
_REVOCATIONS = 100
_LONGEST_WAIT = 30.0
_CODE = "code-de-revocation-1"
_ISSUER = "ACI-EL-ORG-TEST"
#: Where new entries of a list are: before its signature.
_TAIL = 64 * 1024
#: Big enough that none of the serials made here is one of the PKI's.
_SERIAL_BITS = 124

_DECLARED = (
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
    Case(
        name="revoke/million",
        ours="a revocation with 1,000,000 revoked, until the new list is served",
        unit="s",
        target=Target("ours", "at most", 3),
        rounds=3,
    ),
)


class _Ground:
    """A daemon whose CA has revoked many certificates, and has many left to revoke."""

    def __init__(self, running: RunningDaemon) -> None:
        self._running = running
        self._daemon = Daemon(running)
        body = {"revocation_code": _CODE, "confirmation": _CODE, "accept_terms": True}
        order = self._post("/api/v1/orders", self._daemon.order_body())["id"]
        self._model = self._post(f"/api/v1/orders/{order}/retrieval", body)["serial"]
        self._left: list[str] = []
        self.revoked = 0
        self._issuer = x509.load_der_x509_certificate(self._get(f"/AC/{_ISSUER}.cer"))

    def grow(self, revoked: int) -> None:
        """Let so many certificates be revoked, as if one after the other, and start anew."""
        self._running.stop()
        with closing(sqlite3.connect(self._running.state / "cardd.sqlite3")) as database, database:
            self._left = _copied(database, self._model, revoked - self.revoked, _IN_FORCE)
            database.execute("DELETE FROM crls WHERE issuer = ?", (_ISSUER,))
        self.revoked = revoked
        self._running.start()
        self._daemon = Daemon(self._running)

    def answered_ms(self) -> float:
        """Return the 99th percentile of revocations one after the other."""
        serials = [self._left.pop() for _ in range(_REVOCATIONS)]
        load = drive(self._daemon.requests, [iter([self._revocation(serial) for serial in serials])])
        if load.errors:
            raise RuntimeError("a revocation was refused")
        return load.percentile(99) * 1000

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
        self._post(f"/api/v1/certificates/{serial}/revocation", {"reason": "superseded"})

    def _listed(self, serial: str) -> bool:
        return der.integer(int(serial, 16)) in self._get(f"/CRL/{_ISSUER}.crl")[-_TAIL:]

    def _answered(self, serial: str) -> bool:
        status = self._running.call("GET", status_path(self._issuer, serial)).json["status"]
        request = ocsp_request(self._issuer, int(serial, 16))
        headers = {"Content-Type": "application/ocsp-request"}
        answer = self._running.exchange("POST", "/ocsp", request, headers).body
        said = ocsp.load_der_ocsp_response(answer).certificate_status
        return status == "revoked" and said is ocsp.OCSPCertStatus.REVOKED

    def _get(self, path: str) -> bytes:
        return self._running.call("GET", path).body

    def _post(self, path: str, body: object) -> Any:
        answer = self._running.call("POST", path, body, headers=self._daemon.session)
        if answer.status >= 300:
            raise RuntimeError(f"{path}: {answer.status} {answer.body!r}")
        return answer.json


def _copied(database: sqlite3.Connection, model: str, revoked: int, in_force: int) -> list[str]:
    """Copy a certificate's row under other serials; return those that are not revoked."""
    columns = [row[1] for row in database.execute("PRAGMA table_info(certificates)")]
    row = dict(
        zip(
            columns,
            database.execute("SELECT * FROM certificates WHERE serial = ?", (model,)).fetchone(),
            strict=True,
        )
    )
    now = datetime.now(UTC).replace(microsecond=0)
    serials = [f"{secrets.randbits(_SERIAL_BITS) | 1 << _SERIAL_BITS:x}" for _ in range(revoked + in_force)]
    row |= {"order_id": None, "contacts": "[]"}
    bad = row | {"revoked_at": row["issued_at"], "revocation_reason": "superseded"}
    statement = f"INSERT INTO certificates VALUES ({', '.join('?' * len(columns))})"  # noqa: S608 (only marks)
    database.executemany(
        statement,
        (
            tuple(
                (
                    bad
                    | {
                        "serial": serial,
                        "crl_entry": encode_entry(int(serial, 16), now, RevocationReason.SUPERSEDED),
                    }
                ).values()
            )
            for serial in serials[:revoked]
        ),
    )
    database.executemany(
        statement, (tuple((row | {"serial": serial}).values()) for serial in serials[revoked:])
    )
    return serials[revoked:]


@contextmanager
def opened(asked: Asked) -> Iterator[Work]:
    """Run a daemon with a CA of the size that is set up by default."""
    with started(asked.directory, PKI__CA_ALGORITHM="rsa_4096") as running:
        ground = _Ground(running)
        ground.grow(_REVOKED)

        def million() -> float:
            if ground.revoked < _MILLION:
                ground.grow(_MILLION)
            return ground.list_s()

        yield {
            "revoke/answered": Pair(ground.answered_ms),
            "revoke/visible": Pair(ground.visible_s),
            "revoke/million": Pair(million),
        }


GROUP = Group("revoke", _DECLARED, opened)
