"""OCSP answers beside a bare handler, certomancer and `openssl ocsp`; every responder's key is RSA 2048.

A warm answer was given before and is kept; a cold one is signed for who asks. The others sign each answer. Clients keep
their connections where they may: `openssl ocsp` closes each, and so one case has ours asked over a connection a
question, too.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import cycle, repeat
from pathlib import Path

from bench.asking import OCSP_REQUEST, ocsp_request
from bench.daemons import Daemon, bare_handler, started
from bench.filling import add_certificates
from bench.frame import PEERS_MISSING, Asked, Case, Cost, Group, Missing, Offered, Pair, Shares, Target, Work
from bench.load import Load, answered
from bench.responders import Asking, certomancer, missing_for_openssl, openssl
from bench.spending import spent_ms

_CLIENTS = 8
_SECONDS = 2.0
_WARM, _COLD, _TO_REVOKE = 64, 10_000, 100
_ASKING = Asking(_CLIENTS, _SECONDS)

_DECLARED: tuple[Case | Cost, ...] = (
    Case(
        name="ocsp/warm",
        ours="OCSP answers that are kept, 8 clients",
        beside="a bare aiohttp handler that reads as much and answers as much",
        unit="a second",
        target=Target("ratio", "at least", 0.60),
    ),
    *(
        Case(
            name=f"ocsp/{name}-{peer}",
            ours=f"OCSP answers {what}, 8 clients",
            beside=beside,
            unit="a second",
            target=Target("ratio", "at least", times),
            rounds=5,
        )
        for peer, beside, times in (
            ("certomancer", "certomancer", 20),
            ("openssl", "openssl ocsp, one process, which keeps no connections", 5),
        )
        for name, what in (("warm", "that are kept"), ("cold", "signed when asked for"))
    ),
    Case(
        name="ocsp/connections",
        ours="OCSP answers that are kept, 8 clients, a connection for each question",
        beside="openssl ocsp, one process",
        unit="a second",
        target=Target("ratio", "at least", 5),
        rounds=5,
    ),
    Cost(name="ocsp/cost-warm", what="OCSP answer that is kept"),
    Cost(name="ocsp/cost-cold", what="OCSP answer signed when asked for, RSA 2048"),
)


class _Ground:
    """A daemon that has issued many certificates."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        running = stack.enter_context(started(directory))
        model = Daemon(running).issue()
        running.stop()
        serials = add_certificates(running.state, model, 0, _WARM + _COLD + _TO_REVOKE)
        running.start()
        self._daemon = Daemon(running)
        issuer, requests = self._daemon.issuer, self._daemon.requests
        questions = [
            requests.post("/ocsp", ocsp_request(issuer, int(serial, 16)), OCSP_REQUEST)
            for serial in serials[_TO_REVOKE:]
        ]
        self._warm, self._questions = questions[:_WARM], questions[_WARM:]
        self._to_revoke = serials[:_TO_REVOKE]
        self._cold = self._not_asked_before()

    def warm(self, *, connections_kept: bool = True) -> Load:
        """Have kept answers given."""
        answered(self._daemon.requests, iter(self._warm), 1)
        return self._answered(cycle(self._warm), connections_kept=connections_kept)

    def cold(self) -> Load:
        """Have answers signed and given."""
        return self._answered(self._cold)

    def spent(self, work: Callable[[], Load]) -> Mapping[str, float]:
        """Return what one answer takes of the processor."""
        return spent_ms(self._daemon.running.pid, work)

    def _answered(self, questions: Iterator[bytes], *, connections_kept: bool = True) -> Load:
        return answered(
            self._daemon.requests, questions, _CLIENTS, _SECONDS, connections_kept=connections_kept
        )

    def _not_asked_before(self) -> Iterator[bytes]:
        """Ask about one certificate after the other; a revocation makes every kept answer one of the past."""
        while True:
            yield from self._questions
            self._daemon.post(
                f"/api/v1/certificates/{self._to_revoke.pop()}/revocation", {"reason": "superseded"}
            )


@contextmanager
def opened(asked: Asked) -> Iterator[Work]:
    """Run a daemon and what is asked for beside it."""
    with ExitStack() as stack:
        ground = _Ground(asked.directory / "ours", stack)
        work: dict[str, Offered] = {
            "ocsp/cost-warm": Shares(lambda: ground.spent(ground.warm)),
            "ocsp/cost-cold": Shares(lambda: ground.spent(ground.cold)),
        }
        if "ocsp/warm" in asked.names:
            bare = stack.enter_context(bare_handler())
            plain = bare.post("/", bytes(80), OCSP_REQUEST)
            work["ocsp/warm"] = _pair(
                ground.warm, lambda: answered(bare, repeat(plain), _CLIENTS, _SECONDS).per_second
            )
        if {"ocsp/warm-certomancer", "ocsp/cold-certomancer"} & set(asked.names):
            beside = _certomancer(asked, stack)
            work["ocsp/warm-certomancer"] = _pair(ground.warm, beside)
            work["ocsp/cold-certomancer"] = _pair(ground.cold, beside)
        if {"ocsp/warm-openssl", "ocsp/cold-openssl", "ocsp/connections"} & set(asked.names):
            beside = _openssl(asked, stack)
            work["ocsp/warm-openssl"] = _pair(ground.warm, beside)
            work["ocsp/cold-openssl"] = _pair(ground.cold, beside)
            work["ocsp/connections"] = _pair(partial(ground.warm, connections_kept=False), beside)
        yield work


def _pair(ours: Callable[[], Load], beside: Callable[[], float] | Missing) -> Pair | Missing:
    return beside if isinstance(beside, Missing) else Pair(lambda: ours().per_second, beside)


def _certomancer(asked: Asked, stack: ExitStack) -> Callable[[], float] | Missing:
    if asked.peers is None:
        return Missing(PEERS_MISSING)
    responder = stack.enter_context(certomancer(asked.peers, asked.directory / "certomancer"))
    return lambda: responder.per_second(_ASKING)


def _openssl(asked: Asked, stack: ExitStack) -> Callable[[], float] | Missing:
    missing = missing_for_openssl()
    if missing is not None:
        return Missing(missing)
    responder = stack.enter_context(openssl(asked.directory / "openssl"))
    return lambda: responder.per_second(_ASKING)


GROUP = Group("ocsp", _DECLARED, opened)
