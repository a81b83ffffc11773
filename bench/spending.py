"""Where the processor's time goes: what one unit of work takes of each part of a daemon, and of its clients."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from bench.load import Load

LOOP, THREADS, HOSTS, LINTER, OTHERS, CLIENTS = (
    "daemon's loop", "its other threads", "token hosts", "linter", "other processes", "clients",
)  # fmt: skip
#: What a process is told by in its command line.
_PROCESSES = {"cardd_pkcs11.host": HOSTS, "multiprocessing": LINTER}


def spent_ms(pid: int, work: Callable[[], Load]) -> Mapping[str, float]:
    """Have work done by a daemon; return the processor's milliseconds of one unit in the mean, by part."""
    before, began = _spent(pid), time.process_time()
    done = work().done
    clients, after = time.process_time() - began, _spent(pid)
    # A thread that ended meanwhile is left out.
    taken = Counter({LOOP: 0, THREADS: 0, HOSTS: 0, LINTER: 0, OTHERS: 0, CLIENTS: int(clients * 1e9)})
    for thread in after:
        part, nanoseconds = after[thread]
        taken[part] += nanoseconds - before.get(thread, (part, 0))[1]
    return {part: nanoseconds / done / 1e6 for part, nanoseconds in taken.items()}


def tree(pid: int) -> Iterator[int]:
    """Return a process and all that it started, and they."""
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from tree(int(child))


def _spent(daemon: int) -> dict[int, tuple[str, int]]:
    """Return the part and the nanoseconds so far of every thread (`schedstat` of the kernel's sched-stats)."""
    return {
        int(task.name): (_part(daemon, pid, int(task.name)), int((task / "schedstat").read_text().split()[0]))
        for pid in tree(daemon)
        for task in Path(f"/proc/{pid}/task").iterdir()
    }


def _part(daemon: int, pid: int, thread: int) -> str:
    if pid == daemon:
        return LOOP if thread == pid else THREADS
    command = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    return next((part for word, part in _PROCESSES.items() if word in command), OTHERS)
