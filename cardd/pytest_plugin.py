"""A pytest plugin for other projects: the fixture `cardd_daemon`, a running daemon with an inserted, authorised card.

The card is a virtual CPS3 in a virtual reader where pcscd can run, otherwise one on SoftHSM. Nothing of cardd but
this module is imported before a test asks for the fixture.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from cardd.client import Client

#: Settings that make a state in seconds; what the environment sets wins.
_QUICK = {"CARDD_HTTP_PORT": "0", "CARDD_PKI__CA_ALGORITHM": "ec_p256", "CARDD_LOG__FORMAT": "json"}
_STOPPED_WITHIN_SECONDS = 30.0
_SHOWN_OF_THE_LOG = 2000


@dataclass(frozen=True)
class CarddDaemon:
    """A running daemon, and the card to use with it."""

    address: str
    """Base address of the web service, such as `http://127.0.0.1:8980`."""
    token: str
    """The owner's bearer token."""
    card: str
    """Serial of the card, which is inserted and authorised."""
    pin: str
    medium: str
    """`virtual`, or `softhsm` where no virtual reader runs."""
    structure: str
    """Identifier of the structure that the card may order for."""
    state: Path
    """State directory."""
    environment: Mapping[str, str]
    """What programs need in their environment to reach the card's reader; empty for a card on SoftHSM."""

    def client(self) -> "Client":
        """Return a client of the API."""
        from cardd.client import Client  # noqa: PLC0415  only when asked for

        return Client(self.address, self.token)

    def __repr__(self) -> str:
        return f"CarddDaemon(address={self.address!r}, card={self.card!r}, medium={self.medium!r})"


@pytest.fixture(scope="session")
def cardd_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CarddDaemon]:
    """Run a daemon with a new state for the session; `CARDD_…` variables of the environment set it up."""
    state = tmp_path_factory.mktemp("cardd") / "state"
    log = state.with_suffix(".log")
    directories = {"CARDD_STATE_DIR": str(state), "CARDD_RUNTIME_DIR": str(state / "run")}
    environment = {**_QUICK, **os.environ, **directories}
    with log.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "cardd.cli", "run"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
    try:
        assert process.stdout is not None  # noqa: S101 - PIPE was asked for
        address = process.stdout.readline().strip()
        if not address:
            pytest.fail(f"cardd does not start: {log.read_text()[-_SHOWN_OF_THE_LOG:]}")
        yield _with_card(address, state)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOPPED_WITHIN_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _with_card(address: str, state: Path) -> CarddDaemon:
    """Put a virtual card of the demonstration's habilitation into a reader, or take the demonstration's card."""
    from cardd.client import Client, ProblemError  # noqa: PLC0415  only when asked for

    token = (state / "token").read_text().strip()
    client = Client(address, token)
    habilitation = client.get("/habilitations").json()["items"][0]
    medium, card = "softhsm", habilitation["cards"][0]
    try:
        made = client.post("/test-cards", {"habilitation": habilitation["id"], "medium": "virtual"}).json()
        client.post(f"/test-cards/{made['serial']}/insert", None)
        medium, card = "virtual", made["serial"]
    except ProblemError as error:
        if error.http_status not in _NO_VIRTUAL_READER:
            raise
    return CarddDaemon(
        address=address,
        token=token,
        card=card,
        pin="1234",
        medium=medium,
        structure=habilitation["structures"][0]["id"],
        state=state,
        environment=_environment_in(state) if medium == "virtual" else {},
    )


def _environment_in(state: Path) -> dict[str, str]:
    """Return what the daemon has written for programs that use its readers."""
    lines = (state / "run" / "pcsc.env").read_text().splitlines()
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


#: No virtual reader runs here (422), or none is free (409).
_NO_VIRTUAL_READER = frozenset({409, 422})
