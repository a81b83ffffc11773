"""Keys in a TPM: the main job unchanged, and a copy of everything but the TPM that cannot sign."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest

from tests.support.mainjob import CODE, download, openssl, order, retrieve, verify
from tests.support.running import QUICK, RunningDaemon
from tests.support.softhsm import require_tool
from tests.support.tpm import Tpm, running_tpm, tpm_profile

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tpm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tpm]:
    """The machine's TPM."""
    with running_tpm(tmp_path_factory.mktemp("tpm")) as tpm:
        yield tpm


@pytest.fixture(scope="module")
def daemon(tpm: Tpm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    """A daemon prepared with `cardd init --token-module tpm2`, and run without saying so again."""
    daemon = RunningDaemon(tmp_path_factory.mktemp("daemon") / "state", QUICK | tpm.settings())
    prepared = daemon.cli("init", "--token-module", "tpm2", check=False)
    assert prepared.returncode == 0, prepared.stderr
    daemon.start()
    yield daemon
    daemon.end()


def _certified(daemon: RunningDaemon, service: str, algorithm: str) -> dict[str, Any]:
    session, habilitation = daemon.open_session()
    key = {"source": "token", "algorithm": algorithm}
    ordered = order(daemon, session, habilitation["structures"][0]["id"], service, key=key)
    assert ordered["custody"] == "hardware"
    return retrieve(daemon, session, ordered["id"])


def _exported_pin(daemon: RunningDaemon, certificate: dict[str, Any]) -> tuple[dict[str, str], str]:
    """Have the PIN exported; return the parts of the key's address, and the PIN."""
    ordered = daemon.call("GET", f"/api/v1/orders/{certificate['order']}").json
    assert daemon.call("POST", f"/api/v1/tokens/{quote(ordered['token'])}/pin-file", {}).status == 200
    shown = daemon.call("GET", f"/api/v1/certificates/{certificate['serial']}").json
    assert shown["custody"] == "hardware", "a PIN that is known does not take a key out of the TPM"
    address, pin_file = shown["pkcs11_uri"].removeprefix("pkcs11:").split("?pin-source=file:")
    return dict(part.split("=", 1) for part in address.split(";")), Path(unquote(pin_file)).read_text()


def _signed_by_pkcs11_tool(
    tpm: Tpm, state: Path, parts: dict[str, str], pin: str, folder: Path
) -> subprocess.CompletedProcess[bytes]:
    (folder / "data").write_bytes(b"to be signed")
    (folder / "signature").unlink(missing_ok=True)
    mechanism = "ECDSA-SHA256" if parts["object"].startswith("EC") else "SHA256-RSA-PKCS"
    return subprocess.run(
        [require_tool("pkcs11-tool"), "--module", tpm_profile().locate(), "--token-label", unquote(parts["token"]),
         "--id", parts["id"].replace("%", ""), "--login", "--pin", pin, "--sign", "-m", mechanism,
         "--signature-format", "openssl", "-i", folder / "data", "-o", folder / "signature"],
        env={**os.environ, **tpm.environment, "TPM2_PKCS11_STORE": str(state / "tpm2")},
        check=False, capture_output=True,
    )  # fmt: skip


@pytest.mark.parametrize("algorithm", ["rsa_2048", "ec_p256"])
def test_the_main_job_is_done_with_a_key_in_the_tpm(
    daemon: RunningDaemon, tpm: Tpm, tmp_path: Path, algorithm: str
) -> None:
    certificate = _certified(daemon, algorithm[:2].upper(), algorithm)
    download(daemon, tmp_path)
    leaf = tmp_path / "leaf.pem"
    leaf.write_text(certificate["pem"])
    assert "OK" in verify(tmp_path, leaf)

    parts, pin = _exported_pin(daemon, certificate)
    assert "serial" not in parts, "other programs see no serial that tells these tokens apart"
    signed = _signed_by_pkcs11_tool(tpm, daemon.state, parts, pin, tmp_path)
    assert signed.returncode == 0, signed.stderr
    (tmp_path / "leaf.pub").write_text(openssl("x509", "-in", leaf, "-noout", "-pubkey").stdout)
    checked = openssl(
        "dgst", "-sha256", "-verify", tmp_path / "leaf.pub", "-signature", tmp_path / "signature", tmp_path / "data"
    )  # fmt: skip
    assert "Verified OK" in checked.stdout, checked.stderr

    daemon.stop()
    daemon.start()
    evidence = daemon.call("GET", f"/api/v1/keys/{certificate['public_key_sha256']}/evidence").json
    statement = evidence["statement"]
    assert (statement["module"], statement["level"]) == ("tpm2", "hardware")
    assert statement["attributes"]["never_extractable"] is True
    request = daemon.call("GET", f"/api/v1/keys/{certificate['public_key_sha256']}/csr")
    assert request.status == 200, request.body
    assert daemon.call("POST", "/api/v1/keys/check", {}).json["findings"] == 0

    revocation = {"reason": "key_compromise", "revocation_code": CODE}
    path = f"/api/v1/certificates/{certificate['serial']}/revocation"
    assert daemon.call("POST", path, revocation).status == 200
    download(daemon, tmp_path)
    assert "certificate revoked" in verify(tmp_path, leaf)


def test_ca_keys_and_cards_stay_on_softhsm_and_say_so(daemon: RunningDaemon) -> None:
    _certified(daemon, "EC LEVELS", "ec_p256")
    tokens = daemon.call("GET", "/api/v1/tokens").json["items"]
    levels = {(token["purpose"], token["module"]): token["level"] for token in tokens}
    assert levels.pop(("structure", "tpm2")) == "hardware"
    assert {module for _, module in levels} == {"softhsm2"}
    assert "hardware" not in levels.values()


def test_what_a_tpm_does_not_make_is_refused_with_what_it_makes(daemon: RunningDaemon) -> None:
    session, habilitation = daemon.open_session()
    body = {
        "offer": "ORG", "usage": "AUTH_CLI", "structure": habilitation["structures"][0]["id"], "service": "BIG",
        "contacts": ["tests@example.org"], "key": {"source": "token", "algorithm": "rsa_4096"},
    }  # fmt: skip
    refused = daemon.call("POST", "/api/v1/orders", body, headers={"Card-Session": session})
    assert (refused.status, refused.json["type"]) == (409, "urn:cardd:error:mechanism_unavailable")
    assert "to 3072 bits" in refused.json["detail"]


def test_a_copy_of_everything_cannot_sign_with_a_second_tpm(
    daemon: RunningDaemon, tpm: Tpm, tmp_path: Path
) -> None:
    certificates = [_certified(daemon, f"EC COPY {number}", "ec_p256") for number in range(2)]
    parts, pin = _exported_pin(daemon, certificates[0])
    daemon.stop()
    copy = tmp_path / "copy"
    shutil.copytree(daemon.state, copy, symlinks=True, ignore=shutil.ignore_patterns("run", "*.sock"))
    try:
        with running_tpm(tmp_path / "second tpm") as second:
            stolen = _signed_by_pkcs11_tool(second, copy, parts, pin, tmp_path)
            assert stolen.returncode != 0
            assert not (tmp_path / "signature").exists()
            assert b"CKR_GENERAL_ERROR" in stolen.stdout + stolen.stderr
            _refused_and_given_up(RunningDaemon(copy, QUICK | second.settings()), certificates)
        signed = _signed_by_pkcs11_tool(tpm, copy, parts, pin, tmp_path)
        assert signed.returncode == 0, "the same copy signs with the TPM that made the key"
    finally:
        daemon.start()
    assert daemon.call("POST", "/api/v1/keys/check", {}).json["findings"] == 0


def _refused_and_given_up(daemon: RunningDaemon, certificates: list[dict[str, Any]]) -> None:
    """The daemon of the copied state says what is the matter, and its owner gives the keys up."""
    daemon.start()
    try:
        tokens = daemon.call("GET", "/api/v1/tokens").json["items"]
        (token,) = (each for each in tokens if each["module"] == "tpm2")
        assert token["quarantine"]["reason"] == "other_device"
        watched = set(token["quarantine"]["certificates"])
        assert {each["serial"] for each in certificates} <= watched
        request = daemon.call("GET", f"/api/v1/keys/{certificates[0]['public_key_sha256']}/csr")
        assert (request.status, request.json["type"]) == (409, "urn:cardd:error:token_quarantined")
        released = daemon.call(
            "POST", f"/api/v1/tokens/{token['serial']}/quarantine", {"decision": "release"}
        )
        assert (released.status, released.json["type"]) == (409, "urn:cardd:error:token_elsewhere")
        revoked = daemon.call("POST", f"/api/v1/tokens/{token['serial']}/quarantine", {"decision": "revoke"})
        assert revoked.status == 200, revoked.body
        assert set(revoked.json["revoked"]) == watched
    finally:
        daemon.end()
