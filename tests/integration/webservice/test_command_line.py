"""The owner decides in a terminal: pairing, consent, and a new token."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from cardd.cli.root import run_command
from cardd.client import Client, ProblemError
from tests.support.served import Served, served
from tests.support.webservice import CARD, PIN
from tests.support.webservice import authority as root_authority


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name in ("LC_ALL", "LC_MESSAGES", "LANG", "CARDD_ADDRESS", "CARDD_TOKEN_FILE", "CARDD_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CARDD_STATE_DIR", str(tmp_path))
    with served(tmp_path) as found:
        (tmp_path / "address").write_text(found.address)
        yield found


def _cardd(capfdbinary: pytest.CaptureFixture[bytes], *arguments: str, code: int = 0) -> str:
    assert run_command(list(arguments)) == code
    out, err = capfdbinary.readouterr()
    return (out + err).decode()


def _paired(daemon: Served, capfdbinary: pytest.CaptureFixture[bytes], *choices: str) -> Client:
    asking = Client(daemon.address, None)
    ticket = asking.post("/pairings", {"name": "Logiciel", "scopes": ["read", "sign"]}).json()
    assert ticket["code"] in _cardd(capfdbinary, "pair", "list")
    assert "Logiciel" in _cardd(capfdbinary, "pair", "allow", ticket["code"], *choices)
    fetched = asking.post(f"/pairings/{ticket['id']}/token", {"secret": ticket["secret"]}).json()
    return Client(daemon.address, fetched["token"])


def test_an_application_is_let_in_renamed_and_revoked(
    daemon: Served, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    application = _paired(daemon, capfdbinary, "--scope", "read", "--forever")
    own = application.get("/applications/self").json()
    assert (own["scopes"], own["expires_at"]) == (["read"], None)
    assert "Autre" in _cardd(capfdbinary, "apps", "rename", own["id"], "Autre")
    assert own["id"] in _cardd(capfdbinary, "apps", "list")
    assert "active" in _cardd(capfdbinary, "apps", "show", own["id"])
    assert "revoked" in _cardd(capfdbinary, "apps", "revoke", own["id"], "--yes")
    with pytest.raises(ProblemError):
        application.get("/applications/self")


def test_an_application_is_turned_away(daemon: Served, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    ticket = Client(daemon.address, None).post("/pairings", {"name": "Intrus", "scopes": ["owner"]}).json()
    assert "No application that asks" in _cardd(capfdbinary, "pair", "allow", "wrong!", code=2)
    assert "Intrus" in _cardd(capfdbinary, "pair", "deny", ticket["id"])
    assert "No application asks" in _cardd(capfdbinary, "pair", "list")


@pytest.mark.parametrize(("answer", "status"), [("allow", 200), ("deny", 403)])
def test_the_holder_answers(
    daemon: Served, capfdbinary: pytest.CaptureFixture[bytes], answer: str, status: int
) -> None:
    application, owner = _paired(daemon, capfdbinary), Client(daemon.address, daemon.token)
    session = owner.post(f"/cards/{CARD}/session", {"pin": PIN}).json()["id"]
    events = owner.events(after=0)
    statuses: list[int] = []

    def sign() -> None:
        body = {"role": "signature", "data": "AAAA"}
        try:
            statuses.append(application.post(f"/cards/{CARD}/sign", body, card_session=session).status)
        except ProblemError as error:
            statuses.append(error.http_status)

    signing = threading.Thread(target=sign)
    signing.start()
    asked = next(event for event in events if event.type == "consent.asked")
    listed = json.loads(_cardd(capfdbinary, "consent", "list", "--json"))["items"][0]
    assert listed["id"] == json.loads(asked.data)["data"]["consent"]
    _cardd(capfdbinary, "consent", answer, listed["id"])
    signing.join()
    assert statuses == [status]
    assert "No question waits" in _cardd(capfdbinary, "consent", "list")


def test_a_new_token_replaces_the_old_one_at_once(
    daemon: Served, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    old = Client(daemon.address, daemon.token)
    application = _paired(daemon, capfdbinary)
    assert str(tmp_path / "token") in _cardd(capfdbinary, "owner", "rotate-token")
    with pytest.raises(ProblemError):
        old.get("/cards")
    assert (tmp_path / "token").read_text().strip() != daemon.token
    assert (tmp_path / "token").stat().st_mode & 0o777 == 0o600
    assert CARD in _cardd(capfdbinary, "cards")
    assert application.get("/cards").status == 200


def test_the_authority_of_tls_is_shown_where_there_is_one(
    daemon: Served, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert "web.tls" in _cardd(capfdbinary, "tls", "ca", code=1)
    authority = tmp_path / "tls" / "ca.pem"
    authority.parent.mkdir()
    shown = root_authority().certificate
    authority.write_bytes(shown.public_bytes(Encoding.PEM))
    assert shown.fingerprint(hashes.SHA256()).hex() in _cardd(capfdbinary, "tls", "ca")
    assert json.loads(_cardd(capfdbinary, "tls", "ca", "--json"))["path"] == str(authority)
