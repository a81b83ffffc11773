"""Orders whose key is made on the structure's token, beside C_GenerateKeyPair in one process: RSA 2048, stored."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from bench.daemons import Daemon, daemon
from bench.frame import Asked, Case, Group, Offered, Pair, Target, Work
from bench.load import Unit, drive
from bench.tokens import RawToken
from cardd_pkcs11.types import KeyAlgorithm

#: RSA keys take very different times to find.
_KEYS = 20
_READY = 20
_READY_WITHIN_SECONDS = 300

_DECLARED = (
    Case(
        name="order/key-made",
        ours="order with its key made on the token, RSA 2048",
        beside="C_GenerateKeyPair, stored",
        unit="ms",
        target=Target("ratio", "at most", 1.3),
        rounds=7,
    ),
    Case(
        name="order/key-ready",
        ours="order with a key made ready in idle time, RSA 2048, at p50",
        unit="ms",
        target=Target("ours", "at most", 50),
        rounds=3,
    ),
)


@contextmanager
def opened(asked: Asked) -> Iterator[Work]:
    """Run a daemon without and one with keys made ready, and open a token of this process's own."""
    with ExitStack() as stack:
        work: dict[str, Offered] = {}
        if "order/key-made" in asked.names:
            made = stack.enter_context(daemon(asked.directory / "made"))
            raw = RawToken(asked.directory / "floor", KeyAlgorithm.RSA_2048)
            work["order/key-made"] = Pair(lambda: _mean_ms(made), lambda: _raw_mean_ms(raw))
        if "order/key-ready" in asked.names:
            ready = stack.enter_context(daemon(asked.directory / "ready", TOKENS__READY_KEYS=str(_READY)))
            drive(ready.requests, [iter([_order(ready)])])
            work["order/key-ready"] = Pair(lambda: _ready_p50_ms(ready))
        yield work


def _ready_p50_ms(ours: Daemon) -> float:
    """Wait until the stock is full, then place as many orders as there are keys ready, one after the other."""
    began = time.perf_counter()
    while _ready(ours) < _READY:
        if time.perf_counter() - began > _READY_WITHIN_SECONDS:
            raise TimeoutError("the keys are not made ready")
        time.sleep(1)
    return drive(ours.requests, [(_order(ours) for _ in range(_READY))]).percentile(50) * 1000


def _ready(ours: Daemon) -> int:
    return sum(key["ready"] for key in ours.running.call("GET", "/api/v1/keys?limit=500").json["items"])


def _mean_ms(ours: Daemon) -> float:
    load = drive(ours.requests, [(_order(ours) for _ in range(_KEYS))])
    return sum(load.latencies) / len(load.latencies) * 1000


def _order(ours: Daemon) -> Unit:
    reply = yield ours.requests.encode("POST", "/api/v1/orders", ours.order_body(), ours.session)
    return reply.status == 201


def _raw_mean_ms(raw: RawToken) -> float:
    started = time.perf_counter()
    for _ in range(_KEYS):
        raw.generate()
    return (time.perf_counter() - started) / _KEYS * 1000


GROUP = Group("order", _DECLARED, opened)
