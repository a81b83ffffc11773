"""A prepared state that each fault gets a copy of."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.running import QUICK, RunningDaemon

EC = {**QUICK, "CARDD_PKI__CA_ALGORITHM": "ec_p256"}

#: Starts a daemon on a copy of the prepared state in a folder; it is killed after the test.
DaemonStarter = Callable[..., RunningDaemon]


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state that was used once: PKI, a structure's token, a card."""
    daemon = RunningDaemon(tmp_path_factory.mktemp("prepared") / "state", EC)
    daemon.init()
    return daemon.state


@pytest.fixture
def start_daemon(prepared: Path) -> Iterator[DaemonStarter]:
    """Start daemons on copies of the prepared state."""
    made: list[RunningDaemon] = []

    def start(folder: Path, **environment: str) -> RunningDaemon:
        state = shutil.copytree(prepared, folder / "state")
        readers = {"CARDD_READERS__PCSC": "off"}
        made.append(RunningDaemon(state, {**EC, **readers, **environment}))
        return made[-1].start()

    yield start
    for daemon in made:
        daemon.kill()
