"""A whole daemon on a state of its own, called with the demonstration's card; and a bare handler, its floor."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cryptography import x509

from bench.asking import ISSUER
from bench.load import Requests
from tests.support.running import QUICK, RunningDaemon

#: Long enough for any measurement; a card session lasts an hour by default.
_ALL_DAY = {"CARDD_CARDS__SESSION_MINUTES": "1440"}
#: RSA-4096 keys take their time where the machine does something else.
_PREPARED_WITHIN_SECONDS = 900


class Daemon:
    """A daemon that runs, with an open card session."""

    def __init__(self, running: RunningDaemon) -> None:
        self.running = running
        self.requests = Requests(running.address, running.token)
        session, habilitation = running.open_session()
        self.structure = habilitation["structures"][0]["id"]
        self.card = running.call("GET", "/api/v1/cards").json["items"][0]["serial"]
        self.session = {"Card-Session": session}
        self._orders = 0

    @property
    def issuer(self) -> x509.Certificate:
        """The CA that issues what is ordered."""
        return x509.load_der_x509_certificate(self.running.call("GET", f"/AC/{ISSUER}.cer").body)

    def order_body(self, key: Mapping[str, str] | None = None) -> dict[str, object]:
        """Return the body of a new order."""
        self._orders += 1
        body: dict[str, object] = {
            "offer": "ORG",
            "usage": "AUTH_CLI",
            "structure": self.structure,
            "service": f"BENCH {self._orders}",
            "contacts": ["bench@example.org"],
        }
        return body if key is None else body | {"key": key}

    def issue(self) -> str:
        """Have a certificate issued for a new key on the structure's token; return its serial."""
        order = self.post("/api/v1/orders", self.order_body({"source": "token", "algorithm": "ec_p256"}))[
            "id"
        ]
        retrieval = {"without_code": True, "accept_terms": True}
        return str(self.post(f"/api/v1/orders/{order}/retrieval", retrieval)["serial"])

    def post(self, path: str, body: object) -> Any:
        """Return what is answered to a call that must go well."""
        answer = self.running.call("POST", path, body, headers=self.session)
        if answer.status >= 300:
            raise RuntimeError(f"{path}: {answer.status} {answer.body!r}")
        return answer.json


@contextmanager
def daemon(directory: Path, **settings: str) -> Iterator[Daemon]:
    """Prepare a state and run a daemon on it; `settings` are environment variables without their prefix."""
    with started(directory, **settings) as running:
        yield Daemon(running)


@contextmanager
def started(directory: Path, **settings: str) -> Iterator[RunningDaemon]:
    """Prepare a state and run a daemon on it."""
    given = {f"CARDD_{name}": value for name, value in settings.items()}
    directory.mkdir(parents=True, exist_ok=True)
    running = RunningDaemon(directory / "state", QUICK | _ALL_DAY | given)
    running.init(_PREPARED_WITHIN_SECONDS)
    running.start()
    try:
        yield running
    finally:
        running.end()


@contextmanager
def bare_handler() -> Iterator[Requests]:
    """Run the bare handler of `bench.bare`."""
    command = [sys.executable, "-m", "bench.bare"]
    with subprocess.Popen(  # noqa: S603 (our own words)
        command, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as handler:
        try:
            if handler.stdout is None:
                raise RuntimeError("the bare handler has no output")
            yield Requests(f"http://127.0.0.1:{handler.stdout.readline().strip()}", "")
        finally:
            handler.terminate()
