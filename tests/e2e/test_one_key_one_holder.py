"""One key, one holder, through the running service; and keys that a CSR brings prove themselves."""

import base64
import subprocess
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.support.orders import new_csr
from tests.support.running import Answer, RunningDaemon

CODE = "code-de-revocation-1"


def _order(daemon: RunningDaemon, session: str, structure: str, csr: str, service: str = "KEYS") -> Answer:
    body = {
        "offer": "ORG", "usage": "AUTH_CLI", "structure": structure, "service": service,
        "contacts": ["tests@example.org"], "key": {"source": "csr", "csr": csr},
    }  # fmt: skip
    return daemon.call("POST", "/api/v1/orders", body, headers={"Card-Session": session})


def _retrieve(daemon: RunningDaemon, session: str, order: str) -> Answer:
    body = {"revocation_code": CODE, "confirmation": CODE, "accept_terms": True}
    return daemon.call("POST", f"/api/v1/orders/{order}/retrieval", body, headers={"Card-Session": session})


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


def _csr_of_openssl(folder: Path, *algorithm: str) -> str:
    _openssl("genpkey", *algorithm, "-out", folder / "my.key")
    _openssl("req", "-new", "-key", folder / "my.key", "-subj", "/CN=ignored", "-out", folder / "my.csr")
    return (folder / "my.csr").read_text()


def test_200_identical_orders_at_once_give_one_order(daemon: RunningDaemon) -> None:
    session, habilitation = daemon.open_session()
    structure = habilitation["structures"][0]["id"]
    csr = new_csr()
    with ThreadPoolExecutor(40) as clients:
        answers = list(clients.map(lambda _: _order(daemon, session, structure, csr), range(200)))
    assert Counter(answer.status for answer in answers) == {201: 1, 409: 199}
    (placed,) = [answer.json for answer in answers if answer.status == 201]
    for problem in (answer.json for answer in answers if answer.status == 409):
        assert problem["type"] == "urn:cardd:error:key_already_held"
        assert problem["conflict"]["holder"] == placed["id"]
        assert placed["id"] in problem["detail"]
        assert "cancel it to free the key" in problem["advice"]
    found: list[Any] = [
        each
        for each in daemon.call("GET", "/api/v1/orders?limit=500").json["items"]
        if each["public_key_sha256"] == placed["public_key_sha256"]
    ]
    assert [each["id"] for each in found] == [placed["id"]]
    assert daemon.call("DELETE", f"/api/v1/orders/{placed['id']}").status == 200


def test_a_key_of_a_token_does_not_come_back_as_a_csr(daemon: RunningDaemon, tmp_path: Path) -> None:
    """The same key on another medium: a CSR signed by a key that a structure's token holds already."""
    session, habilitation = daemon.open_session()
    structure = habilitation["structures"][0]["id"]
    body = {
        "offer": "ORG", "usage": "AUTH_CLI", "structure": structure, "service": "ON-TOKEN",
        "contacts": ["tests@example.org"],
    }  # fmt: skip
    held = daemon.call("POST", "/api/v1/orders", body, headers={"Card-Session": session}).json
    answer = daemon.call("GET", f"/api/v1/keys/{held['public_key_sha256']}/csr")
    assert answer.status == 200, answer.body
    csr = base64.b64encode(answer.body).decode() if b"BEGIN" not in answer.body else answer.body.decode()
    refused = _order(daemon, session, structure, csr, service="AGAIN")
    assert (refused.status, refused.json["type"]) == (409, "urn:cardd:error:key_already_held")
    assert refused.json["conflict"]["holder"] == held["id"]


def test_a_csr_s_key_proves_itself_with_openssl_alone(daemon: RunningDaemon, tmp_path: Path) -> None:
    session, habilitation = daemon.open_session()
    structure = habilitation["structures"][0]["id"]
    csr = _csr_of_openssl(tmp_path, "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048")
    order = _order(daemon, session, structure, csr).json
    refused = _retrieve(daemon, session, order["id"])
    assert (refused.status, refused.json["type"]) == (409, "urn:cardd:error:possession_unproven")
    (tmp_path / "message").write_bytes(base64.b64decode(order["possession"]["to_sign"]))
    _openssl(
        "dgst", "-sha256", "-sign", tmp_path / "my.key", "-sigopt", "rsa_padding_mode:pss",
        "-out", tmp_path / "signature", tmp_path / "message",
    )  # fmt: skip
    proof = {"signature": base64.b64encode((tmp_path / "signature").read_bytes()).decode()}
    path = f"/api/v1/orders/{order['id']}/possession"
    proven = daemon.call("POST", path, proof)
    assert (proven.status, proven.json["possession"]["state"]) == (200, "proven")
    replayed = daemon.call("POST", path, proof)
    assert (replayed.status, replayed.json["type"]) == (409, "urn:cardd:error:possession_proven")
    assert _retrieve(daemon, session, order["id"]).status == 201


def test_a_compromised_key_is_blocked_from_the_command_line(daemon: RunningDaemon, tmp_path: Path) -> None:
    session, habilitation = daemon.open_session()
    structure = habilitation["structures"][0]["id"]
    csr = _csr_of_openssl(tmp_path, "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
    order = _order(daemon, session, structure, csr).json
    daemon.cli("key", "prove", order["id"], "--key", str(tmp_path / "my.key"))
    serial = _retrieve(daemon, session, order["id"]).json["serial"]
    spki = order["public_key_sha256"]
    daemon.cli("key", "block", spki, "--reason", "found on a public server", "--yes")
    certificate = daemon.call("GET", f"/api/v1/certificates/{serial}").json
    assert (certificate["state"], certificate["revocation_reason"]) == ("revoked", "key_compromise")
    refused = _order(daemon, session, structure, csr)
    assert (refused.status, refused.json["type"]) == (409, "urn:cardd:error:key_blocked")


def test_no_pkcs12_is_handed_out(daemon: RunningDaemon) -> None:
    serial = daemon.call("GET", "/api/v1/certificates").json["items"][0]["serial"]
    answer = daemon.call("GET", f"/api/v1/certificates/{serial}", headers={"Accept": "application/x-pkcs12"})
    assert (answer.status, answer.json["type"]) == (406, "urn:cardd:error:private_key_stays")
    done = daemon.cli("certificate", "download", serial, "--format", "p12", check=False)
    assert answer.json["detail"] in done.stderr
