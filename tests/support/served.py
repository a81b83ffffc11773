"""A web service in a thread of its own, for test tools that call it synchronously."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.webservice import running


class Served(NamedTuple):
    """Where the web service answers, and the owner's token."""

    address: str
    token: str

    @property
    def authorization(self) -> dict[str, str]:
        """The header that makes a call the owner's."""
        return {"Authorization": f"Bearer {self.token}"}


@contextmanager
def served(directory: Path, **replaced: Any) -> Iterator[Served]:
    """Serve the web service over the fakes while the context is open."""
    started = threading.Event()
    found: list[Served] = []
    stop: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def serve() -> None:
        stopping = asyncio.Event()
        async with running(directory, **replaced) as service:
            found.append(Served(service.address, service.token))
            stop.append((asyncio.get_running_loop(), stopping))
            started.set()
            await stopping.wait()

    def run() -> None:
        try:
            asyncio.run(serve())
        finally:
            started.set()

    thread = threading.Thread(target=run, name="web service")
    thread.start()
    started.wait()
    try:
        yield found[0]
    finally:
        for loop, stopping in stop:
            loop.call_soon_threadsafe(stopping.set)
        thread.join()
