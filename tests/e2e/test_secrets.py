"""Marked secrets go through a whole run and are then looked for wherever they must not be."""

import json
import threading
from pathlib import Path
from urllib.parse import urlencode

from cardd.client import Client
from tests.e2e.conftest import DaemonMaker
from tests.support.running import QUICK, Answer, RunningDaemon

PIN = "73918264"
CODE = "marked-revocation-code-5A1F"


def _use_every_secret(daemon: RunningDaemon) -> None:
    card = daemon.call("GET", "/api/v1/cards").json["items"][0]["serial"]
    changed = daemon.call("PUT", f"/api/v1/cards/{card}/pin", {"old": "1234", "new": PIN})
    assert changed.status == 204
    session, habilitation = daemon.open_session(PIN)
    headers = {"Card-Session": session, "Idempotency-Key": "marked-run"}
    body = {
        "offer": "ORG",
        "usage": "AUTH_CLI",
        "structure": habilitation["structures"][0]["id"],
        "service": "SECRETS",
        "contacts": ["tests@example.org"],
    }
    order = daemon.call("POST", "/api/v1/orders", body, headers=headers).json["id"]
    codes = {"revocation_code": CODE, "confirmation": CODE, "accept_terms": True}
    path, headers["Idempotency-Key"] = f"/api/v1/orders/{order}/retrieval", "marked-retrieval"
    assert daemon.call("POST", path, codes | {"confirmation": f"{CODE}x"}, headers=headers).status == 422
    headers["Idempotency-Key"] = "marked-retrieval-2"
    serial = daemon.call("POST", path, codes, headers=headers).json["serial"]
    revocation = f"/api/v1/certificates/{serial}/revocation"
    wrong = {"reason": "superseded", "revocation_code": f"{CODE}-wrong"}
    assert daemon.call("POST", revocation, wrong).status == 403
    assert daemon.call("POST", revocation, wrong | {"revocation_code": CODE}).status == 200
    malformed = b'{"pin": "' + PIN.encode() + b'", '
    assert daemon.call("POST", f"/api/v1/cards/{card}/session", malformed.decode()).status == 422
    done = daemon.cli("card", "session", card, "--pin-stdin", stdin=f"{PIN}\n")
    assert done.returncode == 0, done.stderr


def _use_the_pages(daemon: RunningDaemon) -> list[str]:
    """Type PIN and code into the pages too; return what signed the browser in."""
    link = daemon.call("POST", "/api/v1/ihm/links", {}).json["path"]
    cookie = daemon.call("GET", link, token=None).headers["set-cookie"].split(";")[0]
    page = daemon.call("GET", "/cartes", token=None, headers={"Cookie": cookie}).body.decode()
    form_token = page.split('name="_jeton" value="')[1].split('"')[0]
    card = daemon.call("GET", "/api/v1/cards").json["items"][0]["serial"]

    def send(path: str, **fields: str) -> Answer:
        headers = {
            "Cookie": cookie,
            "Origin": daemon.address,
            "Content-Type": "application/x-www-form-urlencoded",
        }
        return daemon.send_form(path, urlencode({"_jeton": form_token, **fields}), headers)

    assert send(f"/cartes/{card}/session", pin=f"{PIN[:-1]}0").status == 403
    assert send(f"/cartes/{card}/session", pin=f"{PIN}x").status == 422
    assert send(f"/cartes/{card}/session", pin=PIN).status == 303
    structure = daemon.call("GET", "/api/v1/structures").json["items"][0]["id"]
    placed = send(
        "/demander",
        structure=structure,
        offer="ORG",
        usage="AUTH_CLI",
        service="PAGES",
        contacts="a@example.org",
    )
    assert placed.status == 303, placed.body
    order = placed.headers["location"]
    assert send(order, revocation_code=CODE, confirmation=f"{CODE}x", accept_terms="1").status == 422
    assert send(order, revocation_code=CODE, confirmation=CODE, accept_terms="1").status == 303
    return [link.split("=")[1], cookie.split("=", 1)[1], form_token]


def _pair_an_application(daemon: RunningDaemon) -> list[str]:
    """Let an application in and have it sign with the holder's consent; return what nobody else may know."""
    asking = {"name": "Marked", "scopes": ["sign"], "origin": "https://marked.example"}
    ticket = daemon.call("POST", "/api/v1/pairings", asking, token=None).json
    path = f"/api/v1/pairings/{ticket['id']}"
    wrong = f"{(int(ticket['code']) + 1) % 1_000_000:06d}"
    assert daemon.call("POST", f"{path}/approval", {"code": wrong}).status == 403
    assert daemon.call("POST", f"{path}/token", {"secret": f"{ticket['secret']}x"}, token=None).status == 403
    assert daemon.call("POST", f"{path}/approval", {"code": ticket["code"]}).status == 201
    token = daemon.call("POST", f"{path}/token", {"secret": ticket["secret"]}, token=None).json["token"]
    assert daemon.call("GET", "/api/v1/cards", token=f"{token}x").status == 401
    session, _ = daemon.open_session(PIN)
    card = daemon.call("GET", "/api/v1/cards").json["items"][0]["serial"]
    signature: list[int] = []

    def sign() -> None:
        body = {"role": "signature", "data": "AAAA"}
        answer = daemon.call(
            "POST", f"/api/v1/cards/{card}/sign", body, token=token, headers={"Card-Session": session}
        )
        signature.append(answer.status)

    signing = threading.Thread(target=sign)
    signing.start()
    asked = next(
        event for event in Client(daemon.address, daemon.token).events(0) if event.type == "consent.asked"
    )
    consent = json.loads(asked.data)["data"]["consent"]
    assert daemon.call("POST", f"/api/v1/consents/{consent}/approval").status == 204
    signing.join()
    assert signature == [200]
    return [token, ticket["secret"], session]


def _processes(pid: int) -> list[Path]:
    """The daemon's process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [Path("/proc") / process for process in (str(pid), *children)]


def _content(path: Path) -> bytes:
    """Read a file; of a process that nobody but root may look into, nothing."""
    try:
        return path.read_bytes()
    except PermissionError:
        return b""


def test_no_secret_is_in_logs_journal_database_arguments_or_environments(
    tmp_path: Path, make_daemon: DaemonMaker
) -> None:
    daemon = make_daemon(tmp_path / "state", QUICK | {"CARDD_LOG__LEVEL": "debug"}).start()
    token = daemon.token
    _use_every_secret(daemon)
    signed_in_with = _use_the_pages(daemon)
    paired_with = _pair_an_application(daemon)
    assert daemon.cli("owner", "rotate-token").returncode == 0
    secrets = [
        PIN,
        CODE,
        token,
        daemon.token,
        *signed_in_with,
        *paired_with,
        *(path.read_text().strip() for path in (daemon.state / "pins").rglob("*.pin")),
    ]
    allowed = {daemon.state / "token"}
    places: list[Path] = [daemon.log]
    for process in _processes(daemon.pid):
        places += [process / "cmdline", process / "environ"]
        assert "0" in (process / "limits").read_text().split("Max core file size")[1].split()[:1]
    places += [
        path
        for path in daemon.state.rglob("*")
        if path.is_file() and path not in allowed and not path.is_relative_to(daemon.state / "pins")
    ]
    found = [
        (str(path), secret[:4])
        for path in places
        for secret in secrets
        if secret.encode() in path.read_bytes()
    ]
    assert found == []
    answers = [
        daemon.call("GET", path).body for path in ("/metrics", "/api/v1/audit?limit=500", "/api/v1/health")
    ]
    assert not any(secret.encode() in answer for answer in answers for secret in secrets)
    assert daemon.stop() == 0
