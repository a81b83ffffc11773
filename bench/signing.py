"""Signatures with a card's key through the API, beside C_Sign in one process: both RSA 2048, ours verified too."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager

from bench.daemons import Daemon, daemon
from bench.frame import Asked, Case, Cost, Group, Pair, Shares, Target, Work
from bench.load import Load, Unit, drive
from bench.spending import spent_ms
from bench.tokens import raw_signers
from cardd_pkcs11.types import KeyAlgorithm

_SECONDS = 3.0
_SINGLE = 200
_CLIENTS = 8
_MESSAGE = b"m" * 512

_DECLARED: tuple[Case | Cost, ...] = (
    Case(
        name="sign/8-clients",
        ours="signatures with a card's key through the API, RSA 2048, 8 clients",
        beside="C_Sign, one process",
        unit="a second",
        target=Target("ratio", "at least", 0.90),
    ),
    Case(
        name="sign/one-client",
        ours="one signature with a card's key through the API, RSA 2048",
        beside="C_Sign",
        unit="ms",
        target=Target("difference", "at most", 1.5),
    ),
    Cost(name="sign/cost", what="signature with a card's key, RSA 2048"),
)


@contextmanager
def opened(asked: Asked) -> Iterator[Work]:
    """Run a daemon and, on a token of their own, processes that sign."""
    with (
        daemon(asked.directory) as ours,
        raw_signers(asked.directory / "floor", KeyAlgorithm.RSA_2048, 1) as one,
    ):
        yield {
            "sign/8-clients": Pair(
                lambda: _signed(ours).per_second,
                lambda: one.per_second(_SECONDS),
            ),
            "sign/one-client": Pair(lambda: _median_ms(ours), lambda: 1000 / one.per_second(_SECONDS / 3)),
            "sign/cost": Shares(lambda: spent_ms(ours.running.pid, lambda: _signed(ours))),
        }


def _signed(ours: Daemon) -> Load:
    return drive(ours.requests, [_signatures(ours)] * _CLIENTS, _SECONDS)


def _median_ms(ours: Daemon) -> float:
    load = drive(ours.requests, [itertools.islice(_signatures(ours), _SINGLE)])
    return load.percentile(50) * 1000


def _signatures(ours: Daemon) -> Iterator[Unit]:
    """Sign again and again; one iterator may serve many clients."""
    body = {"role": "authentication", "mechanism": "sha256_rsa_pkcs", "data": _MESSAGE}
    request = ours.requests.encode("POST", f"/api/v1/cards/{ours.card}/sign", body, ours.session)

    def sign() -> Unit:
        return (yield request).status == 200

    while True:
        yield sign()


GROUP = Group("sign", _DECLARED, opened)
