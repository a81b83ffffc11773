"""Lists, search and tracking in a store of a million certificates, beside the same in one of ten thousand.

Both over the API and as pages.
"""

import statistics
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from bench.daemons import Daemon
from bench.filling import fill
from bench.frame import GROWTH, Asked, Case, Curve, Group, Pair, Points, Target, Work
from bench.load import Unit, drive
from bench.pages import Visitor
from tests.support.running import QUICK, RunningDaemon

_LARGE, _SMALL = 1_000_000, 10_000
_CALLS = 40
#: Keys of another kind are made sooner; readers are left alone.
_OF_NO_MATTER = {"CARDD_PKI__CA_ALGORITHM": "ec_p256", "CARDD_READERS__PCSC": "off"}

#: What is asked, by name; `{number}` is the number of a certificate in the middle, `{serial}` one of its serial.
_ASKED = {
    "newest": "/api/v1/certificates",
    "page-of-500": "/api/v1/certificates?limit=500",
    "revoked": "/api/v1/certificates?state=revoked",
    "expired": "/api/v1/certificates?state=expired",
    "renewable": "/api/v1/certificates?state=renewable",
    "by-name": "/api/v1/certificates?sort=name",
    "deep-page": "/api/v1/certificates?cursor={cursor}",
    "search-one": "/api/v1/certificates?q={number}",
    "search-many": "/api/v1/certificates?q=alpha",
    "search-none": "/api/v1/certificates?q=xyzzy",
    "search-serial": "/api/v1/certificates?q={part}",
    "orders": "/api/v1/orders",
    "orders-search": "/api/v1/orders?q=alpha+{number}",
    "orders-cancelled": "/api/v1/orders?state=cancelled",
    "track-order": "/api/v1/orders/{order}",
    "track-certificate": "/api/v1/certificates/{serial}",
}

#: The same of pages, as a signed-in browser gets them.
_PAGES = {
    "page-certificates": "/suivre",
    "page-search": "/suivre?q={number}",
    "page-orders": "/suivre/commandes",
    "page-certificate": "/suivre/certificats/{serial}",
}

_DECLARED: tuple[Case | Curve, ...] = (
    *(
        Case(
            name=f"lists/{name}",
            ours=f"GET {path.removeprefix('/api/v1')} at {_LARGE:,} certificates",
            beside=f"at {_SMALL:,}",
            unit="ms",
            target=Target("ratio", "at most", 3),
            rounds=5,
        )
        for name, path in (_ASKED | _PAGES).items()
    ),
    Curve(
        name="lists/growth",
        title="Lists, search and tracking, as the store grows",
        x="certificates in the store",
        unit="ms",
        sizes=GROWTH,
    ),
)


class _Filled:
    """A daemon on a filled store."""

    def __init__(self, directory: Path, count: int) -> None:
        directory.mkdir(parents=True)
        self.running = RunningDaemon(directory / "state", QUICK | _OF_NO_MATTER)
        self.running.init()
        self.running.start()
        Daemon(self.running).issue()
        self.running.stop()
        fill(self.running.state, count)
        self.running.start()
        self._requests = Daemon(self.running).requests
        self._known = self._some(count)
        self._visitor = Visitor(self.running, with_card=False)

    def milliseconds(self, name: str) -> float:
        """Return the median time of a call or a page."""
        if name in _PAGES:
            path = _PAGES[name].format(**self._known)
            return statistics.median(self._visitor.milliseconds(path) for _ in range(_CALLS))
        request = self._requests.encode("GET", _ASKED[name].format(**self._known))

        def ask() -> Unit:
            return (yield request).status == 200

        load = drive(self._requests, [(ask() for _ in range(_CALLS))])
        if load.errors:
            raise RuntimeError(f"{name} failed")
        return load.percentile(50) * 1000

    def _some(self, count: int) -> dict[str, str]:
        """Find what the calls name: the certificate in the middle of the list, and the cursor before it."""
        middle = f"{count // 2 + 1:07d}"
        found = self.running.call("GET", f"/api/v1/certificates?q={middle}&limit=1").json["items"][0]
        cursor = ""
        for _ in range(20):
            query = f"?limit=500&cursor={cursor}" if cursor else "?limit=500"
            cursor = self.running.call("GET", f"/api/v1/certificates{query}").json["next_cursor"] or cursor
        serial, order = found["serial"], found["order"]
        return {"number": middle, "part": serial[6:16], "serial": serial, "order": order, "cursor": cursor}


@contextmanager
def opened(asked: Asked) -> Iterator[Work]:
    """Fill a store of each size that is asked for, at its first use."""
    filled: dict[int, _Filled] = {}

    def at(count: int) -> _Filled:
        if count not in filled:
            filled[count] = _Filled(asked.directory / str(count), count)
        return filled[count]

    def pair(name: str) -> Pair:
        return Pair(lambda: at(_LARGE).milliseconds(name), lambda: at(_SMALL).milliseconds(name))

    def growth(count: int) -> Mapping[str, float]:
        shown = ("newest", "search-one", "search-many", "search-serial", "orders-search", "track-certificate")
        return {name: at(count).milliseconds(name) for name in shown}

    try:
        yield {f"lists/{name}": pair(name) for name in _ASKED | _PAGES} | {"lists/growth": Points(growth)}
    finally:
        for each in filled.values():
            each.running.end()


GROUP = Group("lists", _DECLARED, opened)
