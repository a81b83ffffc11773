"""`python -m bench.caching`: the revocation cache in a process of its own takes a list in, watched from within.

Arguments are a directory and the address of a list whose CA's certificate is in `ca.pem` there. Printed is one JSON
object: the loop's longest pause in milliseconds, and how much larger the process's own memory is after it than
before, in MiB. The list itself is mapped, and belongs to the system's cache.
"""

import asyncio
import sys
import time
from pathlib import Path

import msgspec
import uvloop

from cardd.clock import SystemClock
from cardd.events import EventBus
from cardd.revocation.cache import RevocationCache
from cardd.revocation.cacheparts import CacheParts
from cardd.revocation.fetching import Fetcher, FetchPolicy
from cardd.revocation.policies import FRESHNESS_POLICIES
from cardd.revocation.types import CrlRequest
from cardd.store import Store
from tests.support.revocation import OwnLists

_TICK = 0.001


class Watched(msgspec.Struct):
    """What was seen."""

    pause_ms: float
    more_mib: float
    entries: int


def main() -> None:
    """Take the list in and print what was seen."""
    directory, url = Path(sys.argv[1]), sys.argv[2]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        sys.stdout.buffer.write(msgspec.json.encode(runner.run(_taken(directory, url))))


async def _taken(directory: Path, url: str) -> Watched:
    clock, bus = SystemClock(), EventBus()
    store = await Store.open(directory, clock, bus)
    revocation = directory / "revocation"
    cache = RevocationCache(
        CacheParts(
            store=store,
            clock=clock,
            bus=bus,
            directory=revocation,
            fetcher=Fetcher(FetchPolicy(), revocation / "incoming"),
            policy=FRESHNESS_POLICIES["standard"],
            local=OwnLists(),
        )
    )
    await cache.start()
    pauses = [0.0]
    watching = asyncio.create_task(_watch(pauses))
    before = own_memory_mib()
    certificate = (directory / "ca.pem").read_text()
    view = await cache.add(CrlRequest(issuer_certificate=certificate, url=url))
    view = await cache.refresh(view.id)
    more = own_memory_mib() - before
    watching.cancel()
    await cache.close()
    await store.close()
    return Watched(max(pauses) * 1000, more, view.entries or 0)


async def _watch(pauses: list[float]) -> None:
    while True:
        before = time.perf_counter()
        await asyncio.sleep(_TICK)
        pauses.append(time.perf_counter() - before - _TICK)


def own_memory_mib() -> float:
    """Return what this process holds in memory that is not a mapped file."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("/proc/self/status has no RssAnon")


if __name__ == "__main__":
    main()
