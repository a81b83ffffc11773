"""The clock of a running daemon that is set, forth and back, under load."""

import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from tests.faults.conftest import DaemonStarter
from tests.faults.test_processes import becomes_well, eventually
from tests.support.running import RunningDaemon
from tests.support.settable_clock import SettableClock
from tests.support.working import Work

pytestmark = pytest.mark.slow

_LIST = "ACI-EL-ORG-TEST"
#: How far lists and answers may be ahead of a clock (`cardd.revocation.verifying.CLOCK_SKEW`).
_SKEW = timedelta(minutes=5)
#: What callers may see: a session ends when the clock is set forth past its end. Open another.
_ENDED = {
    f"{status} {code}"
    for status in (401, 403, 404, 409)
    for code in ("card_session_ended", "card_session_unknown")
}


@pytest.fixture
def clock(tmp_path: Path) -> Iterator[SettableClock]:
    """A clock to be set."""
    made = SettableClock(tmp_path)
    yield made
    made.close()


class Watcher(threading.Thread):
    """A caller who asks for the status of a certificate and for its list, and notes every answer that is wrong."""

    def __init__(self, daemon: RunningDaemon, clock: SettableClock) -> None:
        super().__init__(daemon=True)
        self._daemon, self._clock = daemon, clock
        self._ended = threading.Event()
        self._issuer = _issuer(daemon)
        self._number = 0
        self.fresh = 0
        self.wrong: list[str] = []

    def run(self) -> None:
        """Watch until ended."""
        while not self._ended.is_set():
            ahead, asked_at = self._clock.ahead, self._clock.now()
            answer = self._daemon.call("GET", f"/api/v1/status?issuer={self._issuer}&serial=01").json
            number = (
                _published(self._daemon).extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
            )
            if number < self._number:
                self.wrong.append(f"a list's number went back from {self._number} to {number}")
            self._number = number
            if ahead == self._clock.ahead and answer["freshness"] == "fresh":
                self.fresh += 1
                if not _in_force(answer, asked_at):
                    self.wrong.append(f"fresh at {asked_at}: {answer}")

    def end(self) -> None:
        """End, and wait for it."""
        self._ended.set()
        self.join()


def test_a_clock_set_under_a_running_daemon_makes_no_answer_wrong_and_all_lists_anew(
    start_daemon: DaemonStarter, tmp_path: Path, clock: SettableClock
) -> None:
    daemon = start_daemon(tmp_path, CARDD_ORDERS__RETRIEVAL_DAYS="365", **clock.environment)
    session, habilitation = daemon.open_session()
    structure = habilitation["structures"][0]["id"]
    watcher = Watcher(daemon, clock)
    watcher.start()
    with Work(daemon) as work:
        for days, session_lasts in ((-1, True), (2, False), (40, False), (0, False)):
            work.wait_for_jobs(2)
            fresh = watcher.fresh
            clock.set(timedelta(days=days))
            assert _is_open(daemon, session, structure) is session_lasts
            eventually(lambda: _everything_is_of_now(daemon, clock))
            eventually(lambda: watcher.fresh > fresh)  # noqa: B023 (called before the next round)
        work.wait_for_jobs(2)
    watcher.end()
    assert watcher.wrong == []
    work.check(tmp_path, _ENDED)
    becomes_well(daemon)


def _is_open(daemon: RunningDaemon, session: str, structure: str) -> bool:
    body = {
        "offer": "ORG", "usage": "AUTH_CLI", "structure": structure, "service": "CLOCK",
        "contacts": ["tests@example.org"], "key": {"source": "token", "algorithm": "ec_p256"},
    }  # fmt: skip
    answer = daemon.call("POST", "/api/v1/orders", body, headers={"Card-Session": session})
    assert answer.status == 201 or f"{answer.status} {answer.json['type'].rpartition(':')[2]}" in _ENDED
    return answer.status == 201


def _everything_is_of_now(daemon: RunningDaemon, clock: SettableClock) -> bool:
    """Tell whether every list, published and in the cache, and an OCSP answer are in force by the clock."""
    now, published, answered = clock.now(), _published(daemon), _ocsp(daemon)
    return (
        published.last_update_utc <= now + _SKEW
        and (published.next_update_utc or now) > now
        and all(each["state"] == "fresh" and _in_force(each, now) for each in _cached(daemon))
        and answered.response_status is ocsp.OCSPResponseStatus.SUCCESSFUL
        and answered.this_update_utc <= now + _SKEW
        and (answered.next_update_utc or now) > now
        and all(each.not_valid_before_utc <= now + _SKEW for each in answered.certificates)
    )


def _in_force(found: dict[str, Any], now: datetime) -> bool:
    begins, ends = (datetime.fromisoformat(found[name]) for name in ("this_update", "next_update"))
    return begins - _SKEW <= now < ends


def _cached(daemon: RunningDaemon) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = daemon.call("GET", "/api/v1/crls").json["items"]
    return items


def _issuer(daemon: RunningDaemon) -> str:
    return next(str(each["issuer_spki_sha256"]) for each in _cached(daemon) if each["id"] == _LIST)


def _published(daemon: RunningDaemon) -> x509.CertificateRevocationList:
    return x509.load_der_x509_crl(daemon.call("GET", f"/CRL/{_LIST}.crl", token=None).body)


def _ocsp(daemon: RunningDaemon) -> ocsp.OCSPResponse:
    """Ask for the CA's own serial, so that nothing has to be issued; that it is unknown there does not matter."""
    issuer = x509.load_der_x509_certificate(daemon.call("GET", f"/AC/{_LIST}.cer", token=None).body)
    request = ocsp.OCSPRequestBuilder().add_certificate(issuer, issuer, SHA256()).build()
    headers = {"Content-Type": "application/ocsp-request"}
    answer = daemon.exchange("POST", "/ocsp", request.public_bytes(Encoding.DER), headers)
    return ocsp.load_der_ocsp_response(answer.body)
