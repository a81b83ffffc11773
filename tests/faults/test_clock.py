"""The clock of a running daemon that is set, forth and back, under load."""

import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import ocsp

from tests.faults.conftest import DaemonStarter
from tests.faults.test_processes import becomes_well, eventually, nothing_left_of
from tests.support.running import RunningDaemon
from tests.support.settable_clock import SettableClock
from tests.support.working import Work

pytestmark = pytest.mark.slow

_LIST = "ACI-EL-ORG-TEST"
#: How far lists and answers may be ahead of a clock (`cardd.revocation.verifying.CLOCK_SKEW`).
_SKEW = timedelta(minutes=5)
#: What callers may see: a session ends when the clock is set forth past its end. Open another.
_ENDED = {"409 card_session_ended"}


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

    def __enter__(self) -> "Watcher":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join()


def test_a_clock_set_under_a_running_daemon_makes_no_answer_wrong_and_all_lists_anew(
    start_daemon: DaemonStarter, tmp_path: Path, clock: SettableClock
) -> None:
    daemon = start_daemon(tmp_path, CARDD_ORDERS__RETRIEVAL_DAYS="365", **clock.environment)
    session, habilitation = daemon.open_session()
    structure = habilitation["structures"][0]["id"]
    with Watcher(daemon, clock) as watcher, Work(daemon) as work:
        for days, session_lasts in ((-1, True), (2, False), (40, False), (0, False)):
            work.wait_for_jobs(2)
            fresh = watcher.fresh
            clock.set(timedelta(days=days))
            assert _is_open(daemon, session, structure) is session_lasts
            nothing_left_of(lambda: _of_another_time(daemon, clock))
            eventually(lambda: watcher.fresh > fresh)  # noqa: B023 (called before the next round)
        work.wait_for_jobs(2)
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


def _of_another_time(daemon: RunningDaemon, clock: SettableClock) -> list[str]:
    """Say which lists, published or in the cache, and whether an OCSP answer are not in force by the clock."""
    now, published, answered = clock.now(), _published(daemon), _ocsp(daemon)
    wrong = [f"{each['id']}: {each}" for each in _cached(daemon) if not _is_fresh(each, now)]
    if published.last_update_utc > now + _SKEW or (published.next_update_utc or now) <= now:
        wrong.append(f"published: {published.last_update_utc} to {published.next_update_utc}")
    if answered.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
        return [*wrong, f"OCSP: {answered.response_status}"]
    if answered.this_update_utc > now + _SKEW or (answered.next_update_utc or now) <= now:
        wrong.append(f"OCSP: {answered.this_update_utc} to {answered.next_update_utc}")
    signers = [each for each in answered.certificates if each.not_valid_before_utc > now + _SKEW]
    return [*wrong, *(f"OCSP signer: from {each.not_valid_before_utc}" for each in signers)]


def _is_fresh(found: dict[str, Any], now: datetime) -> bool:
    return found["state"] == "fresh" and _in_force(found, now)


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
    """Ask for a serial that was never issued: when an answer was made does not depend on what it says."""
    issuer = x509.load_der_x509_certificate(daemon.call("GET", f"/AC/{_LIST}.cer", token=None).body)
    key = issuer.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    names = sha256(issuer.subject.public_bytes()).digest(), sha256(key).digest()
    request = ocsp.OCSPRequestBuilder().add_certificate_by_hash(*names, 1, SHA256()).build()
    headers = {"Content-Type": "application/ocsp-request"}
    answer = daemon.exchange("POST", "/ocsp", request.public_bytes(Encoding.DER), headers)
    return ocsp.load_der_ocsp_response(answer.body)
