"""Orders whose key is made on the structure's token, beside C_GenerateKeyPair in one process: RSA 2048, stored."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from bench.daemons import Daemon, daemon
from bench.frame import Asked, Case, Group, Pair, Target, Work
from bench.load import Unit, drive
from bench.tokens import RawToken
from cardd_pkcs11.types import KeyAlgorithm

#: RSA keys take very different times to find.
_KEYS = 25

_DECLARED = (
    Case(
        name="order/key-made",
        ours="order with its key made on the token, RSA 2048",
        beside="C_GenerateKeyPair, stored",
        unit="ms",
        target=Target("ratio", "at most", 1.3),
        rounds=9,
    ),
)


@contextmanager
def opened(asked: Asked) -> Iterator[Work]:
    """Run a daemon, and open a token of this process's own."""
    with daemon(asked.directory) as made:
        raw = RawToken(asked.directory / "floor", KeyAlgorithm.RSA_2048)
        yield {"order/key-made": Pair(lambda: _mean_ms(made), lambda: _raw_mean_ms(raw))}


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
