"""Answers over HTTP, of the status calls and of OCSP, beside a bare aiohttp handler."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from cryptography import x509

from bench.asking import key_hash, ocsp_request, status_path
from bench.daemons import Daemon, daemon
from bench.frame import Asked, Case, Group, Pair, Target, Work
from bench.load import Requests, Unit, drive

_SECONDS = 2.0
_CLIENTS = 8
_BATCH = 1000
_ISSUER = "ACI-EL-ORG-TEST"
_BARE = "a bare aiohttp handler of a JSON object"

_DECLARED = (
    Case(
        name="answers/status",
        ours="GET status, 8 clients",
        beside=_BARE,
        unit="a second",
        target=Target("ratio", "at least", 0.70),
    ),
    Case(
        name="answers/batch",
        ours="answers in batches of 1,000, one client",
        unit="a second",
        target=Target("ours", "at least", 100_000),
    ),
    Case(
        name="answers/ocsp-warm",
        ours="OCSP answers that are kept, 8 clients",
        beside=_BARE,
        unit="a second",
        target=Target("ratio", "at least", 0.60),
    ),
)


class _Ground:
    """A daemon and a bare handler."""

    def __init__(self, ours: Daemon, bare: Requests) -> None:
        self._ours, self._bare = ours, bare
        content = ours.running.call("GET", f"/AC/{_ISSUER}.cer").body
        self._issuer = x509.load_der_x509_certificate(content)

    def bare_rate(self) -> float:
        """Return the answers a second of the bare handler."""
        return _rate(self._bare, self._bare.encode("GET", "/"))

    def status_rate(self) -> float:
        """Return those of the status call."""
        return _rate(
            self._ours.requests, self._ours.requests.encode("GET", status_path(self._issuer, "4f1c0b2d"))
        )

    def batch_rate(self) -> float:
        """Return those in batches."""
        issuer, first = key_hash(self._issuer), 1 << 100
        items = [{"issuer": issuer, "serial": f"{number:x}"} for number in range(first, first + _BATCH)]
        requests = self._ours.requests
        return (
            _rate(requests, requests.encode("POST", "/api/v1/status", {"items": items}), clients=1) * _BATCH
        )

    def ocsp_rate(self) -> float:
        """Return the OCSP answers a second to one question."""
        question = ocsp_request(self._issuer, 0x4F1C0B2D)
        host, port = self._ours.requests.endpoint
        head = f"POST /ocsp HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/ocsp-request\r\n"
        raw = f"{head}Content-Length: {len(question)}\r\n\r\n".encode() + question
        return _rate(self._ours.requests, raw)


@contextmanager
def opened(asked: Asked) -> Iterator[Work]:
    """Run a daemon and the bare handler."""
    with daemon(asked.directory) as ours, _bare_handler() as bare:
        ground = _Ground(ours, bare)
        yield {
            "answers/status": Pair(ground.status_rate, ground.bare_rate),
            "answers/batch": Pair(ground.batch_rate),
            "answers/ocsp-warm": Pair(ground.ocsp_rate, ground.bare_rate),
        }


@contextmanager
def _bare_handler() -> Iterator[Requests]:
    command = [sys.executable, "-m", "bench.bare"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as handler:  # noqa: S603 (our own words)
        try:
            if handler.stdout is None:
                raise RuntimeError("the bare handler has no output")
            yield Requests(f"http://127.0.0.1:{handler.stdout.readline().strip()}", "")
        finally:
            handler.terminate()


def _rate(requests: Requests, raw: bytes, clients: int = _CLIENTS) -> float:
    load = drive(requests, [_again(raw)] * clients, _SECONDS)
    if load.errors:
        raise RuntimeError("a question was refused")
    return load.per_second


def _again(raw: bytes) -> Iterator[Unit]:
    """Ask the same again and again; one iterator may serve many clients."""
    while True:
        yield _asked(raw)


def _asked(raw: bytes) -> Unit:
    reply = yield raw
    return reply.status == 200


GROUP = Group("answers", _DECLARED, opened)
