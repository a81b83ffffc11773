"""A daemon shared by the end-to-end tests, prepared and started as a newcomer would."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.support.running import QUICK, RunningDaemon

#: Makes a daemon for a state; whatever a test leaves running is killed after it.
DaemonMaker = Callable[..., RunningDaemon]


@pytest.fixture(scope="session", params=["rsa_2048", "ec_p256"])
def daemon(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningDaemon]:
    """A prepared, running daemon with the demonstration's card inserted; CAs of each kind of key."""
    environment = QUICK | {"CARDD_PKI__CA_ALGORITHM": request.param}
    running = RunningDaemon(tmp_path_factory.mktemp("daemon") / "state", environment)
    running.init()
    running.start()
    yield running
    running.end()


@pytest.fixture(scope="session")
def browsed_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    """A daemon for the suites in Chromium, with virtual readers; they may move its cards."""
    running = RunningDaemon(
        tmp_path_factory.mktemp("browsed") / "state", {**QUICK, "CARDD_READERS__VIRTUAL": "auto"}
    )
    running.init()
    running.start()
    yield running
    running.end()


@pytest.fixture
def make_daemon() -> Iterator[DaemonMaker]:
    """Make daemons that a test starts, stops and kills by itself."""
    made: list[RunningDaemon] = []

    def make(state: Path, environment: Mapping[str, str] = QUICK) -> RunningDaemon:
        made.append(RunningDaemon(state, environment))
        return made[-1]

    yield make
    for daemon in made:
        daemon.kill()
