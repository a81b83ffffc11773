"""A card put into a reader: told to a client of the event stream, beside a bare SCardGetStatusChange loop.

Both look at the same pcscd and the same insertions of a virtual card; both note the moment on the same clock.
"""

import http.client
import json
import os
import shlex
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Queue

from bench.daemons import started
from bench.frame import Asked, Case, Group, Missing, Pair, Target, Work
from cardd.virtualcard import ConfinedPcscd
from tests.support.running import RunningDaemon

_INSERTIONS = 25
_WITHIN_SECONDS = 20.0

_DECLARED = (
    Case(
        name="readers/inserted",
        ours="card inserted, until the client of the event stream knows, at p99",
        beside="SCardGetStatusChange loop, at p99",
        unit="ms",
        target=Target("difference", "at most", 50),
        rounds=4,
    ),
)

#: Prints the time of each insertion; run by itself, as any program that watches readers.
_BARE_LOOP = """
import sys, time
from smartcard.scard import *
_, context = SCardEstablishContext(SCARD_SCOPE_USER)
_, readers = SCardListReaders(context, [])
states = [(name, SCARD_STATE_UNAWARE) for name in readers]
present = None
while True:
    _, told = SCardGetStatusChange(context, INFINITE, states)
    now = time.monotonic()
    here = any(state & SCARD_STATE_PRESENT for _, state, _ in told)
    if present is not None and here and not present:
        print(now, flush=True)
    if present is None:
        print("watching", flush=True)
    present = here
    states = [(name, state & ~SCARD_STATE_CHANGED) for name, state, _ in told]
"""


class _Insertions:
    """Insertions seen from both sides; one round of them serves both."""

    def __init__(self, running: RunningDaemon) -> None:
        self._running = running
        habilitation = running.call("GET", "/api/v1/habilitations").json["items"][0]["id"]
        body = {"habilitation": habilitation, "medium": "virtual"}
        self._card = running.call("POST", "/api/v1/test-cards", body).json["serial"]
        self._bare: Queue[float] = Queue()
        self._told: Queue[float] = Queue()
        self._rounds: dict[str, list[float]] = {"bare": [], "told": []}
        self._watch_bare()
        self._watch_events()

    def bare(self) -> float:
        """Return the p99 of the bare loop in the next round, in milliseconds."""
        return self._next("bare")

    def told(self) -> float:
        """Return the p99 of the event stream's client in the next round, in milliseconds."""
        return self._next("told")

    def close(self) -> None:
        """Stop the bare loop."""
        self._loop.kill()
        self._loop.wait()

    def _next(self, side: str) -> float:
        if not self._rounds[side]:
            self._perform()
        return self._rounds[side].pop(0)

    def _perform(self) -> None:
        bare, told = [], []
        for _ in range(_INSERTIONS):
            begun = time.monotonic()
            self._move("insert")
            bare.append(self._bare.get(timeout=_WITHIN_SECONDS) - begun)
            told.append(self._told.get(timeout=_WITHIN_SECONDS) - begun)
            self._move("remove")
        self._rounds["bare"].append(_p99_ms(bare))
        self._rounds["told"].append(_p99_ms(told))

    def _move(self, where: str) -> None:
        answer = self._running.call("POST", f"/api/v1/test-cards/{self._card}/{where}")
        if answer.status != 200:
            raise RuntimeError(f"the card was not moved: {answer.body!r}")

    def _watch_bare(self) -> None:
        given = (self._running.state / "run" / "pcsc.env").read_text(encoding="utf-8")
        exported = (word for word in shlex.split(given, comments=True) if "=" in word)
        environment = os.environ | dict(word.split("=", 1) for word in exported)
        self._loop = subprocess.Popen(  # noqa: S603 (our own words)
            [sys.executable, "-c", _BARE_LOOP],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        output = self._loop.stdout
        if output is None or output.readline().strip() != "watching":
            raise RuntimeError("the bare loop does not watch")

        def note() -> None:
            for line in output:
                self._bare.put(float(line))

        _in_background(note)

    def _watch_events(self) -> None:
        host, _, port = self._running.address.removeprefix("http://").partition(":")
        connection = http.client.HTTPConnection(host, int(port))
        headers = {"Authorization": f"Bearer {self._running.token}", "Accept": "text/event-stream"}
        connection.request("GET", "/api/v1/events", headers=headers)
        stream = connection.getresponse()

        def follow() -> None:
            for line in stream:
                now = time.monotonic()
                if line.startswith(b"data:") and json.loads(line[5:])["type"] == "card.inserted":
                    self._told.put(now)

        _in_background(follow)


@contextmanager
def opened(asked: Asked) -> Iterator[Work]:
    """Run a daemon with virtual readers, where there can be."""
    missing = ConfinedPcscd.missing_part()
    if missing is not None:
        yield {case.name: Missing(missing.en) for case in _DECLARED}
        return
    with started(asked.directory, READERS__VIRTUAL="on") as running:
        insertions = _Insertions(running)
        try:
            yield {"readers/inserted": Pair(insertions.told, insertions.bare)}
        finally:
            insertions.close()


def _p99_ms(seconds: list[float]) -> float:
    return statistics.quantiles(seconds, n=100, method="inclusive")[98] * 1000


def _in_background(work: Callable[[], object]) -> None:
    threading.Thread(target=work, daemon=True).start()


GROUP = Group("readers", _DECLARED, opened)
