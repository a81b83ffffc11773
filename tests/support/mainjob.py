"""The steps of the main job as an integrator takes them, and what OpenSSL thinks of their results."""

import subprocess
from pathlib import Path
from typing import Any

from tests.support.running import RunningDaemon

CODE = "code-de-revocation-1"


def order(daemon: RunningDaemon, session: str, structure: str, service: str, **more: Any) -> dict[str, Any]:
    """Order a certificate whose key is made on a token."""
    body = {
        "offer": "ORG", "usage": "AUTH_CLI", "structure": structure, "service": service,
        "contacts": ["tests@example.org"], "key": {"source": "token"}, **more,
    }  # fmt: skip
    answer = daemon.call("POST", "/api/v1/orders", body, headers={"Card-Session": session})
    assert answer.status == 201, answer.body
    made: dict[str, Any] = answer.json
    return made


def retrieve(daemon: RunningDaemon, session: str, order: str) -> dict[str, Any]:
    """Finish an order, and return the certificate."""
    answer = daemon.call(
        "POST",
        f"/api/v1/orders/{order}/retrieval",
        {"revocation_code": CODE, "confirmation": CODE, "accept_terms": True},
        headers={"Card-Session": session},
    )
    assert answer.status == 201, answer.body
    certificate: dict[str, Any] = answer.json
    return certificate


def openssl(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run OpenSSL."""
    return subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, check=False)


def download(daemon: RunningDaemon, folder: Path) -> None:
    """Put the CA certificates and lists in a folder, as an application downloads them."""
    pem = b""
    for name in ("ACR-EL-TEST", "ACI-EL-ORG-TEST"):
        (folder / f"{name}.cer").write_bytes(daemon.call("GET", f"/AC/{name}.cer", token=None).body)
        openssl("x509", "-inform", "DER", "-in", folder / f"{name}.cer", "-out", folder / f"{name}.pem")
        (folder / f"{name}.crl").write_bytes(daemon.call("GET", f"/CRL/{name}.crl", token=None).body)
        openssl("crl", "-inform", "DER", "-in", folder / f"{name}.crl", "-out", folder / f"{name}.crl.pem")
        pem += (folder / f"{name}.crl.pem").read_bytes()
    (folder / "crls.pem").write_bytes(pem)


def verify(folder: Path, leaf: Path) -> str:
    """Return what OpenSSL says of a certificate, given what was downloaded."""
    done = openssl(
        "verify", "-crl_check_all", "-CAfile", folder / "ACR-EL-TEST.pem", "-untrusted", folder / "ACI-EL-ORG-TEST.pem",
        "-CRLfile", folder / "crls.pem", leaf,
    )  # fmt: skip
    return done.stdout + done.stderr


def ocsp(daemon: RunningDaemon, folder: Path, leaf: Path) -> str:
    """Return what the responder says of a certificate."""
    pems = [(folder / f"{name}.pem").read_text() for name in ("ACR-EL-TEST", "ACI-EL-ORG-TEST")]
    (folder / "chain.pem").write_text("".join(pems))
    done = openssl(
        "ocsp",
        "-issuer",
        folder / "ACI-EL-ORG-TEST.pem",
        "-cert",
        leaf,
        "-url",
        f"{daemon.address}/ocsp",
        "-CAfile",
        folder / "chain.pem",
    )
    assert "Response verify OK" in done.stderr, done.stderr
    return done.stdout
