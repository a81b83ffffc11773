"""A whole daemon on a state of its own, called over HTTP with the demonstration's card."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from bench.load import Requests
from tests.support.running import QUICK, RunningDaemon

#: Long enough for any measurement; a card session lasts an hour by default.
_ALL_DAY = {"CARDD_CARDS__SESSION_MINUTES": "1440"}


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


@contextmanager
def daemon(directory: Path, **settings: str) -> Iterator[Daemon]:
    """Prepare a state and run a daemon on it; `settings` are environment variables without their prefix."""
    with started(directory, **settings) as running:
        yield Daemon(running)


@contextmanager
def started(directory: Path, **settings: str) -> Iterator[RunningDaemon]:
    """Prepare a state and run a daemon on it."""
    given = {f"CARDD_{name}": value for name, value in settings.items()}
    running = RunningDaemon(directory / "state", QUICK | _ALL_DAY | given)
    running.init()
    running.start()
    try:
        yield running
    finally:
        running.end()
