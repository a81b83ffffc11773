"""Certificates from CSRs over HTTP: ordered, possession proven, linted, signed by the CA's token, stored, journalled.

The floor is C_Sign with a key like the CA's, from one process a core: both use every core there is. The peer makes
certificates from the same requests, without checking, storing or journalling anything.
"""

import base64
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from bench.daemons import Daemon, daemon
from bench.frame import PEERS_MISSING, Asked, Case, Cost, Group, Missing, Offered, Pair, Shares, Target, Work
from bench.load import Load, Unit, drive
from bench.spending import spent_ms
from bench.tokens import raw_signers
from cardd_pkcs11.types import KeyAlgorithm

_SECONDS = 8.0
_PEER_SIGNATURES = 50
_SIGNER = Path(__file__).parent / "peers" / "sign_csrs.py"

_DECLARED: tuple[Case | Cost, ...] = (
    Case(
        name="issue/rsa-4096",
        ours="certificate from a CSR over HTTP, RSA-4096 CA, 32 clients",
        beside=f"C_Sign, RSA 4096, {os.cpu_count()} processes",
        unit="a second",
        target=Target("ratio", "at least", 0.80),
        rounds=5,
    ),
    Case(
        name="issue/ec-p256",
        ours="certificate from a CSR over HTTP, EC P-256 CA, 32 clients",
        beside="python-x509-pkcs11 sign_csr, EC P-256",
        unit="a second",
        target=Target("ratio", "at least", 5),
        rounds=5,
    ),
    Case(
        name="issue/errors",
        ours="errors while 64 clients have certificates issued, EC P-256 CA",
        unit="errors",
        target=Target("ours", "at most", 0),
        rounds=3,
    ),
    Cost(name="issue/cost-rsa-4096", what="certificate from a CSR, RSA-4096 CA"),
    Cost(name="issue/cost-ec-p256", what="certificate from a CSR, EC P-256 CA"),
)


@contextmanager
def opened(asked: Asked) -> Iterator[Work]:
    """Run a daemon with each kind of CA that is asked for."""
    with ExitStack() as stack:
        work: dict[str, Offered] = {}
        if {"issue/rsa-4096", "issue/cost-rsa-4096"} & set(asked.names):
            work |= stack.enter_context(_rsa(asked))
        if {"issue/ec-p256", "issue/errors", "issue/cost-ec-p256"} & set(asked.names):
            work |= stack.enter_context(_ec(asked))
        yield work


@contextmanager
def _rsa(asked: Asked) -> Iterator[Work]:
    directory = asked.directory / "rsa"
    with (
        daemon(directory, PKI__CA_ALGORITHM="rsa_4096") as ours,
        raw_signers(directory / "floor", KeyAlgorithm.RSA_4096) as floor,
    ):
        yield {
            "issue/rsa-4096": Pair(
                lambda: _issued(ours, 32).per_second, lambda: floor.per_second(_SECONDS / 2)
            ),
            "issue/cost-rsa-4096": Shares(lambda: spent_ms(ours.running.pid, lambda: _issued(ours, 32))),
        }


@contextmanager
def _ec(asked: Asked) -> Iterator[Work]:
    directory = asked.directory / "ec"
    with daemon(directory, PKI__CA_ALGORITHM="ec_p256") as ours:
        peer = asked.peers
        yield {
            "issue/ec-p256": Missing(PEERS_MISSING)
            if peer is None
            else Pair(
                lambda: _issued(ours, 32).per_second, lambda: _peer_per_second(peer, directory / "peer")
            ),
            "issue/errors": Pair(lambda: float(_issued(ours, 64).errors)),
            "issue/cost-ec-p256": Shares(lambda: spent_ms(ours.running.pid, lambda: _issued(ours, 32))),
        }


def _issued(ours: Daemon, clients: int) -> Load:
    return drive(ours.requests, [_units(ours)] * clients, _SECONDS)


def _units(ours: Daemon) -> Iterator[Unit]:
    while True:
        yield _one(ours)


def _one(ours: Daemon) -> Unit:
    key = ec.generate_private_key(ec.SECP256R1())
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, SHA256())
    given = {"source": "csr", "csr": base64.b64encode(csr.public_bytes(Encoding.DER)).decode()}
    post, session = ours.requests.encode, ours.session
    reply = yield post("POST", "/api/v1/orders", ours.order_body(given), session)
    if reply.status != 201:
        return False
    order = msgspec.json.decode(reply.body, type=_Ordered)
    proof = key.sign(base64.b64decode(order.possession.to_sign), ec.ECDSA(SHA256()))
    path = f"/api/v1/orders/{order.id}"
    reply = yield post("POST", f"{path}/possession", {"signature": proof}, session)
    if reply.status != 200:
        return False
    retrieval = {"without_code": True, "accept_terms": True}
    reply = yield post("POST", f"{path}/retrieval", retrieval, session)
    return reply.status == 201


class _Possession(msgspec.Struct):
    to_sign: str


class _Ordered(msgspec.Struct):
    id: str
    possession: _Possession


def _peer_per_second(python: Path, directory: Path) -> float:
    """Return how many certificates a second the peer's `sign_csr` makes, all of them at once on its loop."""
    directory.mkdir(exist_ok=True)
    done = subprocess.run(  # noqa: S603 (our own words)
        [python, _SIGNER, directory, str(_PEER_SIGNATURES)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"the peer failed: {done.stderr[-2000:]}")
    return float(done.stdout)


GROUP = Group("issue", _DECLARED, opened)
