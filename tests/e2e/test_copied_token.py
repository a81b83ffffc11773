"""A copy of a token that is put back: noticed, refused, decided about by its owner, through the front door."""

import json
import shutil
from pathlib import Path
from typing import Any

from tests.e2e.conftest import DaemonMaker
from tests.support.ordering import ordered
from tests.support.running import QUICK, RunningDaemon

EC = {**QUICK, "CARDD_PKI__CA_ALGORITHM": "ec_p256"}


def _structure_token(daemon: RunningDaemon) -> dict[str, Any]:
    return next(
        token
        for token in daemon.call("GET", "/api/v1/tokens").json["items"]
        if token["purpose"] == "structure"
    )


def _directory(state: Path, serial: str) -> Path:
    """SoftHSM names a token's directory by a UUID that ends in its serial."""
    return next(
        path
        for path in (state / "softhsm" / "tokens").iterdir()
        if path.name.replace("-", "").endswith(serial)
    )


def test_a_token_put_back_from_a_copy_is_noticed_and_its_owner_decides(
    make_daemon: DaemonMaker, tmp_path: Path
) -> None:
    daemon = make_daemon(tmp_path / "state", EC)
    daemon.start()
    order = ordered(daemon)
    daemon.stop()
    daemon.start()
    token = _structure_token(daemon)
    assert token["quarantine"] is None
    daemon.stop()

    original = _directory(daemon.state, token["serial"])
    copy = shutil.copytree(original, tmp_path / "copy")
    daemon.start()
    daemon.stop()
    shutil.rmtree(original)
    shutil.copytree(copy, original)
    daemon.start()

    noticed = _structure_token(daemon)["quarantine"]
    assert (noticed["reason"], noticed["certificates"]) == ("rolled_back", [order["certificate"]])
    spki = order["public_key_sha256"]
    refused = daemon.call("GET", f"/api/v1/keys/{spki}/csr")
    assert (refused.status, refused.json["type"]) == (409, "urn:cardd:error:token_quarantined")
    daemon.cli("key", "list", "--check")
    keys = json.loads(daemon.cli("key", "list", "--json").stdout)["items"]
    (held,) = (key for key in keys if key["spki_sha256"] == spki)
    assert held["findings"] == [{"finding": "token_quarantined", "details": ["rolled_back"]}]
    assert daemon.cli("status", check=False).returncode == 6

    decided = daemon.cli("token", "revoke", token["serial"], "--yes", "--json")
    assert json.loads(decided.stdout)["revoked"] == [order["certificate"]]
    certificate = daemon.call("GET", f"/api/v1/certificates/{order['certificate']}").json
    assert (certificate["state"], certificate["revocation_reason"]) == ("revoked", "key_compromise")
    again = ordered(daemon)
    assert again["token"] == order["token"], "the structure goes on with a new token of that name"
    assert _structure_token(daemon)["serial"] is not None
    assert daemon.cli("token", "release", token["serial"], "--yes", check=False).returncode == 1
    assert daemon.stop() == 0


def test_evidence_is_checked_without_a_daemon_and_a_changed_one_is_refused(
    daemon: RunningDaemon, tmp_path: Path
) -> None:
    key = next(key for key in daemon.call("GET", "/api/v1/keys").json["items"] if key["evidence"])
    file = tmp_path / "key.jws"
    daemon.cli("key", "evidence", key["spki_sha256"], "--output", str(file))
    instance = str(daemon.state / "instance.pem")
    valid = daemon.cli("--json", "key", "evidence", "--verify", str(file), "--instance-key", instance)
    assert json.loads(valid.stdout)["spki_sha256"] == key["spki_sha256"]
    header, payload, signature = file.read_text().split(".")
    file.write_text(f"{header}.{payload[:-2]}AA.{signature}")
    changed = daemon.cli("key", "evidence", "--verify", str(file), "--instance-key", instance, check=False)
    assert changed.returncode != 0
    assert "error:" in changed.stderr
