"""Other OCSP responders, each of a CA in software that delegates to a key of RSA 2048, as the daemon's CAs do.

Neither keeps its answers: each is signed anew, and so one question is enough to measure with. `openssl ocsp` listens on
every interface, and therefore runs in a network namespace of its own, with the clients that ask it
(`python -m bench.responders`).
"""

import itertools
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.request import urlopen

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from bench.asking import OCSP_REQUEST, ocsp_request
from bench.load import Requests, answered
from tests.support.revocation import Ca

_SERIAL = 0x4F1C0B2D
_READY_WITHIN = 60.0
_NAME = "bench"
#: The state of a socket in proc(5)'s /proc/net/tcp.
_LISTEN = "0A"

_HOLDS = {"valid-from": "2020-01-01T00:00:00+0000", "valid-to": "2050-01-01T00:00:00+0000"}
_CERTOMANCER = {
    "external-url-prefix": "http://127.0.0.1",
    "keysets": {
        _NAME: {"path-prefix": "keys", "keys": {each: {"path": each} for each in ("ca", "responder")}}
    },
    "pki-architectures": {
        _NAME: {
            "keyset": _NAME,
            "entities": {each: {"common-name": f"BENCH {each}"} for each in ("ca", "responder")},
            "certs": {
                "ca": {
                    "subject": "ca",
                    "issuer": "ca",
                    "validity": _HOLDS,
                    "extensions": [{"id": "basic_constraints", "critical": True, "value": {"ca": True}}],
                },
                "responder": {
                    "subject": "responder",
                    "issuer": "ca",
                    "serial": _SERIAL,
                    "validity": _HOLDS,
                    "extensions": [{"id": "extended_key_usage", "value": ["ocsp_signing"]}],
                },
            },
            "services": {
                "ocsp": {_NAME: {"for-issuer": "ca", "responder-cert": "responder"}},
                "cert-repo": {_NAME: {"for-issuer": "ca"}},
            },
        }
    },
}


class Asking(msgspec.Struct, frozen=True):
    """How a responder is asked: by so many clients, for so many seconds."""

    clients: int
    seconds: float


class Responder:
    """A responder that runs, and the question that it answers again and again."""

    def __init__(self, port: int, path: str, issuer: x509.Certificate, *, connections_kept: bool) -> None:
        self._requests = Requests(f"http://127.0.0.1:{port}", "")
        self._question = self._requests.post(path, ocsp_request(issuer, _SERIAL), OCSP_REQUEST)
        self._connections_kept = connections_kept

    def per_second(self, asking: Asking) -> float:
        """Return its answers a second."""
        given = answered(
            self._requests,
            itertools.repeat(self._question),
            asking.clients,
            asking.seconds,
            connections_kept=self._connections_kept,
        )
        return given.per_second


@contextmanager
def certomancer(python: Path, directory: Path) -> Iterator[Responder]:
    """Run certomancer's own server, on aiohttp; `python` is the peers' own."""
    keys = directory / "keys"
    keys.mkdir(parents=True)
    for name in ("ca", "responder"):
        (keys / name).write_bytes(_pem(_rsa_key()))
    configuration = directory / "certomancer.yml"
    configuration.write_bytes(msgspec.json.encode(_CERTOMANCER))  # JSON is YAML
    port = _free_port()
    command = [
        *(str(python.with_name("certomancer")), "--config", str(configuration), "--key-root", str(directory)),
        *("animate", "--aiohttp", "--no-web-ui", "--port", str(port)),
    ]
    with _running(command, port):
        with urlopen(f"http://127.0.0.1:{port}/{_NAME}/certs/{_NAME}/ca.crt") as answer:
            issuer = x509.load_der_x509_certificate(answer.read())
        yield Responder(port, f"/{_NAME}/ocsp/{_NAME}", issuer, connections_kept=True)


@contextmanager
def openssl(directory: Path) -> Iterator["ConfinedOpenssl"]:
    """Run `openssl ocsp` where nobody else is; it closes each connection after its answer."""
    rights = () if os.geteuid() == 0 else ("--user", "--map-root-user")
    alone = ("unshare", *rights, "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")
    command = [*alone, sys.executable, "-m", "bench.responders", str(directory)]
    with subprocess.Popen(  # noqa: S603 (our own words)
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        yield ConfinedOpenssl(process)


def missing_for_openssl() -> str | None:
    """Return what keeps `openssl ocsp` from being run, None when nothing is known to."""
    missing = [program for program in ("openssl", "unshare", "ip") if shutil.which(program) is None]
    return f"{', '.join(missing)}: not installed" if missing else None


class ConfinedOpenssl:
    """`openssl ocsp` and its clients, in a process that is told how to ask."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def per_second(self, asking: Asking) -> float:
        """Return its answers a second."""
        to, answers = self._process.stdin, self._process.stdout
        if to is None or answers is None:
            raise RuntimeError("the process was started without pipes")
        to.write(msgspec.json.encode(asking) + b"\n")
        to.flush()
        line = answers.readline()
        if not line:
            raise RuntimeError("openssl ocsp could not be asked: are namespaces allowed here?")
        return float(line)


def main() -> None:
    """Run `openssl ocsp` in this process's namespace and ask it as standard input says, line by line."""
    with _openssl_here(Path(sys.argv[1])) as responder:
        for line in sys.stdin:
            sys.stdout.write(f"{responder.per_second(msgspec.json.decode(line, type=Asking))}\n")
            sys.stdout.flush()


@contextmanager
def _openssl_here(directory: Path) -> Iterator[Responder]:
    ca, key = Ca("BENCH CA", _rsa_key()), _rsa_key()
    directory.mkdir(parents=True)
    (directory / "ca.pem").write_text(ca.pem)
    (directory / "responder.pem").write_bytes(_delegated(ca, key).public_bytes(Encoding.PEM))
    (directory / "responder.key").write_bytes(_pem(key))
    (directory / "index.txt").write_text(f"V\t491231235959Z\t\t{_SERIAL:X}\tunknown\t/CN=BENCH\n")
    port = _free_port()
    command = [
        *("openssl", "ocsp", "-port", str(port), "-index", str(directory / "index.txt"), "-ignore_err"),
        *("-CA", str(directory / "ca.pem"), "-rsigner", str(directory / "responder.pem")),
        *("-rkey", str(directory / "responder.key"), "-nmin", "60"),
    ]
    with _running(command, port):
        yield Responder(port, "/", ca.certificate, connections_kept=False)


@contextmanager
def _running(command: Sequence[str], port: int) -> Iterator[None]:
    """Run a server until the end, from when it listens."""
    with subprocess.Popen(  # noqa: S603 (our own words)
        command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as server:
        try:
            began = time.perf_counter()
            while not _listens(port):
                if server.poll() is not None or time.perf_counter() - began > _READY_WITHIN:
                    raise RuntimeError(f"{Path(command[0]).name} does not start")
                time.sleep(0.05)
            yield
        finally:
            server.terminate()


def _listens(port: int) -> bool:
    """Tell whether a port is listened on; a connection to try would be the one that `openssl ocsp` waits on."""
    tables = [Path("/proc/self/net") / name for name in ("tcp", "tcp6")]
    sockets = (line.split() for table in tables if table.exists() for line in table.read_text().splitlines())
    return any(each[1].endswith(f":{port:04X}") and each[3] == _LISTEN for each in sockets)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def _rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _pem(key: rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _delegated(ca: Ca, key: rsa.RSAPrivateKey) -> x509.Certificate:
    """Return the certificate of a CA's responder (RFC 6960 §4.2.2.2)."""
    now = datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "BENCH OCSP")])
    return (
        x509.CertificateBuilder(ca.certificate.subject, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING]), critical=False)
        .sign(ca.key, SHA256())
    )


if __name__ == "__main__":
    main()
