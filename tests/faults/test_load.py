"""Mixed work from 64 clients: no error that was not injected, and nothing that only grows."""

import http.client
import os
import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pytest

from tests.faults.conftest import DaemonStarter
from tests.support.running import RunningDaemon
from tests.support.working import Work

pytestmark = pytest.mark.slow

#: How long it is worked, in seconds; an hour is `CARDD_LOAD_SECONDS=3600`.
SECONDS = float(os.environ.get("CARDD_LOAD_SECONDS", "45"))
WRITERS, READERS = 8, 56
_READ = {
    "list of certificates": "/api/v1/certificates?limit=20",
    "list of orders": "/api/v1/orders?limit=20",
    "revocation list": "/CRL/ACI-EL-ORG-TEST.crl",
    "list of cards": "/api/v1/cards",
}


class Reader(threading.Thread):
    """A caller that reads one thing after the other; notes how long each took, and what went wrong."""

    def __init__(self, daemon: RunningDaemon, until: float) -> None:
        super().__init__(daemon=True)
        self._daemon, self._until = daemon, until
        #: How long each answer took, by its kind.
        self.seconds: defaultdict[str, list[float]] = defaultdict(list)
        self.errors: list[str] = []

    def run(self) -> None:
        """Read until it is time."""
        while time.monotonic() < self._until:
            for kind, path in _READ.items():
                began = time.monotonic()
                try:
                    status = self._daemon.call("GET", path).status
                except (OSError, http.client.HTTPException) as error:
                    self.errors.append(repr(error))
                    continue
                self.seconds[kind].append(time.monotonic() - began)
                if status != 200:
                    self.errors.append(f"{path}: {status}")


def test_sixty_four_clients_see_no_error_and_the_daemon_does_not_grow(
    start_daemon: DaemonStarter, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    daemon = start_daemon(tmp_path, CARDD_CARDS__SESSION_MINUTES="1440")  # none ends in the longest run
    work = Work(daemon)
    work.begin(WRITERS)
    until = time.monotonic() + SECONDS
    readers = [Reader(daemon, until) for _ in range(READERS)]
    for reader in readers:
        reader.start()
    work.wait_for_jobs(WRITERS)
    half = _size(daemon)
    for reader in readers:
        reader.join()
    work.end()
    end = _size(daemon)
    for name, value in {
        **_told([*(each.seconds for each in readers), *(each.seconds for each in work.workers)]),
        "jobs": work.jobs,
        "memory (MiB) and descriptors": f"{half} -> {end}",
    }.items():
        record_property(name, value)
        print(f"{name}: {value}")
    assert [error for reader in readers for error in reader.errors] == []
    work.check(tmp_path, set())
    assert end[0] < half[0] * 1.5 + 32, "memory grows (MiB)"
    assert end[1] < half[1] + 80, "descriptors grow"


def _told(callers: Iterable[Mapping[str, list[float]]]) -> dict[str, str]:
    """Return how many calls of each kind there were, and their median, 99th percentile and longest, in seconds."""
    seconds: defaultdict[str, list[float]] = defaultdict(list)
    for caller in callers:
        for kind, found in caller.items():
            seconds[kind] += found
    return {
        kind: f"{len(found)} calls, p50 {statistics.median(found):.3f} s, "
        f"p99 {statistics.quantiles(found, n=100, method='inclusive')[98]:.3f} s, max {max(found):.3f} s"
        for kind, found in sorted(seconds.items())
        if len(found) > 1
    }


def _size(daemon: RunningDaemon) -> tuple[int, int]:
    """Return resident memory in MiB and open descriptors."""
    status = Path(f"/proc/{daemon.pid}/status").read_text()
    resident = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(resident.split()[1]) // 1024, len(list(Path(f"/proc/{daemon.pid}/fd").iterdir()))
