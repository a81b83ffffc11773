"""The main job as an integrator does it: order, retrieve, track, revoke, and believe only OpenSSL."""

import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.running import RunningDaemon

CODE = "code-de-revocation-1"
MODULE = "/usr/lib/softhsm/libsofthsm2.so"


def _order(daemon: RunningDaemon, session: str, structure: str, service: str, **more: Any) -> dict[str, Any]:
    body = {
        "offer": "ORG", "usage": "AUTH_CLI", "structure": structure, "service": service,
        "contacts": ["tests@example.org"], "key": {"source": "token"}, **more,
    }  # fmt: skip
    answer = daemon.call("POST", "/api/v1/orders", body, headers={"Card-Session": session})
    assert answer.status == 201, answer.body
    order: dict[str, Any] = answer.json
    return order


def _retrieve(daemon: RunningDaemon, session: str, order: str) -> dict[str, Any]:
    answer = daemon.call(
        "POST",
        f"/api/v1/orders/{order}/retrieval",
        {"revocation_code": CODE, "confirmation": CODE, "accept_terms": True},
        headers={"Card-Session": session},
    )
    assert answer.status == 201, answer.body
    certificate: dict[str, Any] = answer.json
    return certificate


def _openssl(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, check=False)


@pytest.fixture
def published(daemon: RunningDaemon, tmp_path: Path) -> Path:
    """The CA certificates and lists as an application downloads them, in one folder."""
    _download(daemon, tmp_path)
    return tmp_path


def _download(daemon: RunningDaemon, folder: Path) -> None:
    pem = b""
    for name in ("ACR-EL-TEST", "ACI-EL-ORG-TEST"):
        (folder / f"{name}.cer").write_bytes(daemon.call("GET", f"/AC/{name}.cer", token=None).body)
        _openssl("x509", "-inform", "DER", "-in", folder / f"{name}.cer", "-out", folder / f"{name}.pem")
        (folder / f"{name}.crl").write_bytes(daemon.call("GET", f"/CRL/{name}.crl", token=None).body)
        _openssl("crl", "-inform", "DER", "-in", folder / f"{name}.crl", "-out", folder / f"{name}.crl.pem")
        pem += (folder / f"{name}.crl.pem").read_bytes()
    (folder / "crls.pem").write_bytes(pem)


def _verify(folder: Path, leaf: Path) -> str:
    done = _openssl(
        "verify", "-crl_check_all", "-CAfile", folder / "ACR-EL-TEST.pem", "-untrusted", folder / "ACI-EL-ORG-TEST.pem",
        "-CRLfile", folder / "crls.pem", leaf,
    )  # fmt: skip
    return done.stdout + done.stderr


def _ocsp(daemon: RunningDaemon, folder: Path, leaf: Path) -> str:
    pems = [(folder / f"{name}.pem").read_text() for name in ("ACR-EL-TEST", "ACI-EL-ORG-TEST")]
    (folder / "chain.pem").write_text("".join(pems))
    done = _openssl(
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


def test_a_certificate_is_ordered_retrieved_tracked_and_revoked(
    daemon: RunningDaemon, published: Path
) -> None:
    session, habilitation = daemon.open_session()
    structure = habilitation["structures"][0]["id"]
    order = _order(daemon, session, structure, "INSI-AUTO")
    assert order["state"] == "to_retrieve"
    certificate = _retrieve(daemon, session, order["id"])
    leaf = published / "leaf.pem"
    leaf.write_text(certificate["pem"])
    assert "OK" in _verify(published, leaf)
    assert ": good" in _ocsp(daemon, published, leaf)

    tracked = daemon.call("GET", f"/api/v1/orders/{order['id']}").json
    assert tracked["state"] == "retrieved"
    assert [step["action"] for step in tracked["history"]]

    revoked = daemon.call(
        "POST", f"/api/v1/certificates/{certificate['serial']}/revocation", {"reason": "key_compromise"}
    )
    assert revoked.status == 200
    _download(daemon, published)
    assert "certificate revoked" in _verify(published, leaf)
    answer = _ocsp(daemon, published, leaf)
    assert ": revoked" in answer
    assert "keyCompromise" in answer


def test_the_addresses_inside_a_certificate_resolve(daemon: RunningDaemon, published: Path) -> None:
    session, habilitation = daemon.open_session()
    order = _order(daemon, session, habilitation["structures"][0]["id"], "ADRESSES")
    leaf = published / "leaf.pem"
    leaf.write_text(_retrieve(daemon, session, order["id"])["pem"])
    for certificate in (leaf, published / "ACI-EL-ORG-TEST.pem"):
        text = _openssl("x509", "-in", certificate, "-noout", "-text").stdout
        urls = [line.split("URI:")[1].strip() for line in text.splitlines() if "URI:" in line]
        assert urls
        for url in urls:
            if url.endswith("/ocsp"):
                continue
            path = "/" + url.split("/", 3)[3]
            assert url.split("/")[2].endswith(daemon.address.rsplit(":", 1)[1])
            assert daemon.call("GET", path, token=None).status == 200, url


def test_the_key_on_the_token_signs_through_pkcs11_tool_and_through_openssl(
    daemon: RunningDaemon, published: Path
) -> None:
    session, habilitation = daemon.open_session()
    order = _order(daemon, session, habilitation["structures"][0]["id"], "SIGNATURE")
    certificate = _retrieve(daemon, session, order["id"])
    token = f"/api/v1/tokens/{quote(order['token'])}"
    assert daemon.call("POST", f"{token}/pin-withdrawal", {}).status == 200
    sealed = daemon.call("GET", f"/api/v1/certificates/{certificate['serial']}").json
    assert "pin-source" not in sealed["pkcs11_uri"], "the PIN is sealed until its owner exports it"
    assert sealed["custody"] == "machine-bound"
    exported = daemon.call("POST", f"{token}/pin-file", {})
    assert exported.status == 200, exported.body
    uri = daemon.call("GET", f"/api/v1/certificates/{certificate['serial']}").json["pkcs11_uri"]
    attributes = dict(part.split("=", 1) for part in uri.removeprefix("pkcs11:").split("?")[0].split(";"))
    pin_file = Path(uri.split("pin-source=file:")[1])
    assert pin_file.stat().st_mode & 0o077 == 0
    (published / "leaf.pem").write_text(certificate["pem"])
    key = _openssl("x509", "-in", published / "leaf.pem", "-noout", "-pubkey").stdout
    (published / "leaf.pub").write_text(key)
    (published / "data").write_bytes(b"to be signed")
    environment = {"SOFTHSM2_CONF": str(daemon.state / "softhsm" / "softhsm2.conf"), "PATH": "/usr/bin:/bin"}

    subprocess.run(
        ["pkcs11-tool", "--module", MODULE, "--token-label", attributes["token"].replace("%20", " "),
         "--id", attributes["id"].replace("%", ""), "--login", "--pin", pin_file.read_text().strip(),
         "--sign", "-m", "SHA256-RSA-PKCS", "-i", published / "data", "-o", published / "tool.sig"],
        env=environment, check=True, capture_output=True,
    )  # fmt: skip
    subprocess.run(
        ["openssl", "dgst", "-engine", "pkcs11", "-keyform", "engine", "-sha256", "-sign", uri,
         "-out", published / "engine.sig", published / "data"],
        env=environment | {"PKCS11_MODULE_PATH": MODULE}, check=True, capture_output=True,
    )  # fmt: skip
    for signature in ("tool.sig", "engine.sig"):
        checked = _openssl(
            "dgst",
            "-sha256",
            "-verify",
            published / "leaf.pub",
            "-signature",
            published / signature,
            published / "data",
        )
        assert "Verified OK" in checked.stdout, checked.stderr


def test_the_same_job_is_done_from_the_command_line(daemon: RunningDaemon, tmp_path: Path) -> None:
    assert daemon.cli("status").returncode == 0
    report = daemon.cli("audit", "verify", "--json")
    assert '"valid":true' in report.stdout.replace(" ", "")
