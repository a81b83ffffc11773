"""The daemon's own times beside the floor of its PKCS#11 module, measured in one run.

Run as `python -m bench.floors`. The floor is python-pkcs11 in one process on a token of its own; the
daemon is a whole one, called over HTTP on a state of its own. The two alternate, round by round.
"""

import argparse
import contextlib
import ctypes
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pkcs11
from rich.console import Console
from rich.table import Table

from cardd_pkcs11.profiles import load_profile
from cardd_pkcs11.softhsm import write_softhsm_config
from tests.support.running import RunningDaemon

_PIN = "123456"
_CODE = "code-de-revocation-1"
_MESSAGE = b"m" * 512


class Case(NamedTuple):
    """One case: what we do and what it is measured against; each call does it once."""

    name: str
    ours: Callable[[], None]
    floor: Callable[[], None]
    repeats: int


class Result(NamedTuple):
    """Medians over all repeats, in milliseconds, and the median and the spread of the rounds' ratios."""

    name: str
    ours_ms: float
    floor_ms: float
    ratio: float
    lowest: float
    highest: float


class RawToken:
    """A token driven by python-pkcs11 alone."""

    def __init__(self, directory: Path) -> None:
        os.environ["SOFTHSM2_CONF"] = str(write_softhsm_config(directory))
        module = load_profile("softhsm2").locate()
        library = pkcs11.lib(str(module))
        slot = library.get_slots(token_present=True)[0]
        raw = ctypes.CDLL(str(module))
        pin = _PIN.encode()
        if raw.C_InitToken(ctypes.c_ulong(slot.slot_id), pin, ctypes.c_ulong(len(pin)), b"floor".ljust(32)):
            raise RuntimeError("the floor's token cannot be initialised")
        token = library.get_token(token_label="floor")  # noqa: S106 (a label)
        with token.open(rw=True, so_pin=_PIN) as session:
            session.init_pin(_PIN)
        self._session = token.open(rw=True, user_pin=_PIN)
        self._key = self._generate()

    def generate(self) -> None:
        """C_GenerateKeyPair, RSA 2048, stored on the token."""
        self._generate()

    def sign(self) -> None:
        """C_Sign, RSA 2048 with SHA-256."""
        self._key.sign(_MESSAGE, mechanism=pkcs11.Mechanism.SHA256_RSA_PKCS)

    def _generate(self) -> Any:
        _, private = self._session.generate_keypair(pkcs11.KeyType.RSA, 2048, store=True)
        return private


class Daemon:
    """A daemon called over HTTP with the demonstration's card."""

    def __init__(self, directory: Path) -> None:
        self._running = RunningDaemon(directory / "state")
        self._running.init()
        self._running.start()
        self._session, habilitation = self._running.open_session()
        self._structure = habilitation["structures"][0]["id"]
        self._card = self._running.call("GET", "/api/v1/cards").json["items"][0]["serial"]
        self._orders: list[str] = []
        self._count = 0

    def order(self) -> None:
        """An order with its key made on the structure's token."""
        self._count += 1
        body = {
            "offer": "ORG",
            "usage": "AUTH_CLI",
            "structure": self._structure,
            "service": f"BENCH {self._count}",
            "contacts": ["bench@example.org"],
        }
        self._orders.append(self._post("/api/v1/orders", body)["id"])

    def retrieve(self) -> None:
        """A retrieval: certificate built, linted, signed by the CA's token, stored, journalled."""
        body = {"revocation_code": _CODE, "confirmation": _CODE, "accept_terms": True}
        self._post(f"/api/v1/orders/{self._orders.pop()}/retrieval", body)

    def sign(self) -> None:
        """A signature with the card's authentication key, verified before it is answered."""
        body = {"role": "authentication", "mechanism": "sha256_rsa_pkcs", "data": _MESSAGE}
        self._post(f"/api/v1/cards/{self._card}/sign", body)

    def stop(self) -> None:
        """Stop the daemon."""
        self._running.stop()

    def _post(self, path: str, body: Any) -> Any:
        answer = self._running.call("POST", path, body, headers={"Card-Session": self._session})
        if answer.status >= 300:
            raise RuntimeError(f"{path}: {answer.status} {answer.body!r}")
        return answer.json


def measure(case: Case, rounds: int) -> Result:
    """Alternate rounds of the floor and of ours."""
    ours: list[float] = []
    floor: list[float] = []
    ratios: list[float] = []
    for _ in range(rounds):
        floor_round = [_timed(case.floor) for _ in range(case.repeats)]
        our_round = [_timed(case.ours) for _ in range(case.repeats)]
        ratios.append(statistics.mean(our_round) / statistics.mean(floor_round))
        floor += floor_round
        ours += our_round
    return Result(
        name=case.name,
        ours_ms=statistics.median(ours) * 1000,
        floor_ms=statistics.median(floor) * 1000,
        ratio=statistics.median(ratios),
        lowest=min(ratios),
        highest=max(ratios),
    )


def main() -> None:
    """Measure every case and print the table, or JSON lines with `--json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="rounds a case")
    parser.add_argument("--json", action="store_true", help="one JSON object a case")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cardd-bench-") as directory, contextlib.ExitStack() as stack:
        daemon = Daemon(Path(directory))
        stack.callback(daemon.stop)
        raw = RawToken(Path(directory) / "floor")
        cases = (
            Case(
                "order, key made on the token (RSA 2048) / C_GenerateKeyPair", daemon.order, raw.generate, 10
            ),
            Case("retrieval, certificate issued (RSA 2048 CA) / C_Sign", daemon.retrieve, raw.sign, 10),
            Case("signature with the card's key (RSA 2048) / C_Sign", daemon.sign, raw.sign, 50),
        )
        results = [measure(case, arguments.rounds) for case in cases]
    if arguments.json:
        for result in results:
            sys.stdout.buffer.write(msgspec.json.encode(result._asdict()) + b"\n")
        return
    Console().print(_table(results))


def _timed(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _table(results: list[Result]) -> Table:
    table = Table("case", "ours, ms", "floor, ms", "ratio (spread)")
    for result in results:
        spread = f"{result.ratio:.2f} ({result.lowest:.2f}–{result.highest:.2f})"
        table.add_row(result.name, f"{result.ours_ms:.1f}", f"{result.floor_ms:.1f}", spread)
    return table


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    # SoftHSM with OpenSSL 3 may crash in its exit handlers.
    os._exit(0)
