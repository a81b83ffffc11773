"""The main job as an integrator does it: order, retrieve, track, revoke, and believe only OpenSSL."""

import subprocess
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.support.mainjob import download, ocsp, openssl, order, retrieve, verify
from tests.support.running import RunningDaemon

MODULE = "/usr/lib/softhsm/libsofthsm2.so"


@pytest.fixture
def published(daemon: RunningDaemon, tmp_path: Path) -> Path:
    """The CA certificates and lists as an application downloads them, in one folder."""
    download(daemon, tmp_path)
    return tmp_path


def test_a_certificate_is_ordered_retrieved_tracked_and_revoked(
    daemon: RunningDaemon, published: Path
) -> None:
    session, habilitation = daemon.open_session()
    structure = habilitation["structures"][0]["id"]
    ordered = order(daemon, session, structure, "INSI-AUTO")
    assert ordered["state"] == "to_retrieve"
    certificate = retrieve(daemon, session, ordered["id"])
    leaf = published / "leaf.pem"
    leaf.write_text(certificate["pem"])
    assert "OK" in verify(published, leaf)
    assert ": good" in ocsp(daemon, published, leaf)

    tracked = daemon.call("GET", f"/api/v1/orders/{ordered['id']}").json
    assert tracked["state"] == "retrieved"
    assert [step["action"] for step in tracked["history"]]

    revoked = daemon.call(
        "POST", f"/api/v1/certificates/{certificate['serial']}/revocation", {"reason": "key_compromise"}
    )
    assert revoked.status == 200
    download(daemon, published)
    assert "certificate revoked" in verify(published, leaf)
    answer = ocsp(daemon, published, leaf)
    assert ": revoked" in answer
    assert "keyCompromise" in answer


def test_the_addresses_inside_a_certificate_resolve(daemon: RunningDaemon, published: Path) -> None:
    session, habilitation = daemon.open_session()
    ordered = order(daemon, session, habilitation["structures"][0]["id"], "ADRESSES")
    leaf = published / "leaf.pem"
    leaf.write_text(retrieve(daemon, session, ordered["id"])["pem"])
    for certificate in (leaf, published / "ACI-EL-ORG-TEST.pem"):
        text = openssl("x509", "-in", certificate, "-noout", "-text").stdout
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
    ordered = order(daemon, session, habilitation["structures"][0]["id"], "SIGNATURE")
    certificate = retrieve(daemon, session, ordered["id"])
    token = f"/api/v1/tokens/{quote(ordered['token'])}"
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
    key = openssl("x509", "-in", published / "leaf.pem", "-noout", "-pubkey").stdout
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
        checked = openssl(
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
