"""A daemon's start, and what it costs while nobody asks anything: processor, wake-ups, memory of all its processes."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.daemons import Daemon, started
from bench.frame import Asked, Case, Group, Missing, Pair, Target, Work
from bench.spending import tree
from tests.support.running import RunningDaemon

_SETTLING_SECONDS = 12.0
_WATCHED_SECONDS = 20.0
_TICKS = os.sysconf("SC_CLK_TCK")

_DECLARED = (
    Case(
        name="start/ready",
        ours="from the command to the address that answers, on a state that exists",
        unit="s",
        target=Target("ours", "at most", 1.5),
        rounds=7,
    ),
    Case(
        name="start/idle-processor",
        ours="processor used while nobody asks anything, all processes",
        unit="% of a core",
        target=Target("ours", "at most", 0.5),
        rounds=3,
    ),
    Case(
        name="start/idle-wake-ups",
        ours="wake-ups while nobody asks anything, all processes",
        unit="a second",
        target=Target("ours", "at most", 20),
        rounds=3,
    ),
    Case(
        name="start/memory",
        ours="memory of all processes, what they share counted once (PSS)",
        unit="MiB",
        target=Target("ours", "at most", 150),
        rounds=3,
    ),
)


@contextmanager
def opened(asked: Asked) -> Iterator[Work]:
    """Prepare a state and run a daemon on it."""
    if not Path("/proc/self/smaps_rollup").exists():
        yield {case.name: Missing("there is no /proc as on Linux") for case in _DECLARED}
        return
    with started(asked.directory) as running:
        idle = _Idle(running)
        yield {
            "start/ready": Pair(lambda: _start_seconds(running)),
            "start/idle-processor": Pair(idle.processor),
            "start/idle-wake-ups": Pair(idle.wake_ups),
            "start/memory": Pair(lambda: _memory_mib(running)),
        }


def _start_seconds(running: RunningDaemon) -> float:
    running.stop()
    begun = time.perf_counter()
    running.start()
    return time.perf_counter() - begun


class _Idle:
    """A daemon that is left alone; one watch serves a round of both cases."""

    def __init__(self, running: RunningDaemon) -> None:
        self._running = running
        self._processor: list[float] = []
        self._wake_ups: list[float] = []

    def processor(self) -> float:
        """Return the percentage of a core that all processes take, in the next watch."""
        return self._next(self._processor)

    def wake_ups(self) -> float:
        """Return the wake-ups a second of all processes, in the next watch."""
        return self._next(self._wake_ups)

    def _next(self, seen: list[float]) -> float:
        if not seen:
            self._watch()
        return seen.pop(0)

    def _watch(self) -> None:
        time.sleep(_SETTLING_SECONDS)
        before = _spent(self._running.pid)
        time.sleep(_WATCHED_SECONDS)
        after = _spent(self._running.pid)
        # A process that came or went meanwhile is left out.
        lasting = before.keys() & after.keys()
        used = sum(after[each][0] - before[each][0] for each in lasting)
        woken = sum(after[each][1] - before[each][1] for each in lasting)
        self._processor.append(used / _WATCHED_SECONDS * 100)
        self._wake_ups.append(woken / _WATCHED_SECONDS)


def _spent(pid: int) -> dict[int, tuple[float, int]]:
    return {each: (_processor_seconds(each), _switches(each)) for each in tree(pid)}


def _memory_mib(running: RunningDaemon) -> float:
    """Return the memory of a daemon whose token hosts have all been used."""
    Daemon(running)
    return sum(_pss_kib(each) for each in tree(running.pid)) / 1024


def _processor_seconds(pid: int) -> float:
    """User and system time so far (proc(5), fields 14 and 15 of `stat`)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _switches(pid: int) -> int:
    """Voluntary context switches so far: each is a wait that ended in a wake-up."""
    statuses = (task / "status" for task in Path(f"/proc/{pid}/task").iterdir())
    lines = (line for status in statuses for line in status.read_text().splitlines())
    return sum(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches"))


def _pss_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


GROUP = Group("start", _DECLARED, opened)
