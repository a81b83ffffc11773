"""Answers over HTTP of the status calls, one by one beside a bare aiohttp handler, and in batches."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle

from bench.asking import key_hash, status_path
from bench.daemons import Daemon, bare_handler, daemon
from bench.frame import Asked, Case, Cost, Group, Pair, Shares, Target, Work
from bench.load import Load, Requests, answered
from bench.spending import spent_ms

_SECONDS = 2.0
_CLIENTS = 8
_SERIALS = tuple(f"{number:x}" for number in range(1 << 100, (1 << 100) + 4000))
_BATCH = 1000

_DECLARED: tuple[Case | Cost, ...] = (
    Case(
        name="answers/status",
        ours="GET status, 8 clients",
        beside="a bare aiohttp handler of a JSON object",
        unit="a second",
        target=Target("ratio", "at least", 0.70),
    ),
    Case(
        name="answers/batch",
        ours="answers in batches of 1,000, one client",
        unit="a second",
        target=Target("ours", "at least", 100_000),
    ),
    Cost(name="answers/cost-status", what="GET status"),
    Cost(name="answers/cost-batch", what="batch of 1,000 answers"),
)


@contextmanager
def opened(asked: Asked) -> Iterator[Work]:
    """Run a daemon and the bare handler."""
    with daemon(asked.directory) as ours, bare_handler() as bare:
        questions, batches = _questions(ours), _batches(ours)
        plain = [bare.encode("GET", "/")]
        yield {
            "answers/status": Pair(
                lambda: _load(ours.requests, questions, _CLIENTS).per_second,
                lambda: _load(bare, plain, _CLIENTS).per_second,
            ),
            "answers/batch": Pair(lambda: _load(ours.requests, batches, 1).per_second * _BATCH),
            "answers/cost-status": Shares(
                lambda: spent_ms(ours.running.pid, lambda: _load(ours.requests, questions, _CLIENTS))
            ),
            "answers/cost-batch": Shares(
                lambda: spent_ms(ours.running.pid, lambda: _load(ours.requests, batches, 1))
            ),
        }


def _questions(ours: Daemon) -> list[bytes]:
    issuer = ours.issuer
    return [ours.requests.encode("GET", status_path(issuer, serial)) for serial in _SERIALS]


def _batches(ours: Daemon) -> list[bytes]:
    issuer = key_hash(ours.issuer)
    items = [{"issuer": issuer, "serial": serial} for serial in _SERIALS]
    return [
        ours.requests.encode("POST", "/api/v1/status", {"items": items[first : first + _BATCH]})
        for first in range(0, len(items), _BATCH)
    ]


def _load(requests: Requests, questions: Sequence[bytes], clients: int) -> Load:
    return answered(requests, cycle(questions), clients, _SECONDS)


GROUP = Group("answers", _DECLARED, opened)
