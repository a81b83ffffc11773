"""Three years in three starts: notices, terms and lists come by themselves, with the clock moved by a setting."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.conftest import DaemonMaker
from tests.support.running import QUICK, RunningDaemon

CODE = "code-de-revocation-1"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def certificate(state: Path, make_daemon: DaemonMaker) -> str:
    """The serial of a certificate retrieved today, in a state whose daemon has stopped."""
    daemon = make_daemon(state).start()
    session, habilitation = daemon.open_session()
    headers = {"Card-Session": session}
    body = {
        "offer": "ORG", "usage": "SIGN", "structure": habilitation["structures"][0]["id"],
        "service": "TEMPS", "contacts": ["one@example.org", "two@example.org"],
    }  # fmt: skip
    order = daemon.call("POST", "/api/v1/orders", body, headers=headers).json["id"]
    forgotten = daemon.call("POST", "/api/v1/orders", body | {"service": "OUBLI"}, headers=headers).json["id"]
    codes = {"revocation_code": CODE, "confirmation": CODE, "accept_terms": True}
    serial = daemon.call("POST", f"/api/v1/orders/{order}/retrieval", codes, headers=headers).json["serial"]
    assert daemon.call("GET", f"/api/v1/orders/{forgotten}").json["state"] == "to_retrieve"
    assert daemon.stop() == 0
    return serial  # type: ignore[no-any-return]


@pytest.fixture
def after(state: Path, make_daemon: DaemonMaker) -> Callable[[float], RunningDaemon]:
    """Start the daemon of that state so many days later."""
    return lambda days: make_daemon(state, QUICK | {"CARDD_CLOCK_OFFSET_DAYS": str(days)}).start()


def _wait_for_events(daemon: RunningDaemon, *events: str) -> None:
    """Read the event stream from its beginning until it has told of all `events`, in their order."""
    awaited = list(events)
    with subprocess.Popen(
        ["curl", "-sN", "--max-time", "60", "-H", f"Authorization: Bearer {daemon.token}", "-H", "Last-Event-ID: 0",
         f"{daemon.address}/api/v1/events"],
        stdout=subprocess.PIPE, text=True,
    ) as stream:  # fmt: skip
        assert stream.stdout is not None
        for line in stream.stdout:
            if line.strip() == f"event: {awaited[0]}":
                awaited.pop(0)
            if not awaited:
                break
        stream.terminate()
    assert not awaited, f"no {awaited[0]} came"


def test_contacts_are_told_sixty_days_before_the_end_and_the_certificate_is_renewable(
    after: Callable[[float], RunningDaemon], certificate: str
) -> None:
    daemon = after(3 * 365 - 59)
    _wait_for_events(daemon, "certificate.expiring")
    assert daemon.call("GET", f"/api/v1/certificates/{certificate}").json["state"] == "renewable"
    assert daemon.stop() == 0


def test_an_order_not_retrieved_in_time_expires_by_itself(
    after: Callable[[float], RunningDaemon], certificate: str
) -> None:
    daemon = after(31)
    _wait_for_events(daemon, "order.expired")
    states = {order["label"]: order["state"] for order in daemon.call("GET", "/api/v1/orders").json["items"]}
    assert states == {"TEMPS": "retrieved", "OUBLI": "expired"}
    assert daemon.stop() == 0


def test_a_test_card_is_opposed_after_three_years_and_its_certificates_with_it(
    after: Callable[[float], RunningDaemon], state: Path, certificate: str
) -> None:
    daemon = after(3 * 365 + 1)
    _wait_for_events(daemon, "card.opposed", "crl.published")
    card = daemon.call("GET", "/api/v1/cards").json["items"][0]
    assert card["opposed"]
    answer = daemon.call("POST", f"/api/v1/cards/{card['serial']}/session", {"pin": "1234"})
    assert (answer.status, answer.json["type"]) == (403, "urn:cardd:error:card_opposed")
    (state.parent / "list.crl").write_bytes(daemon.call("GET", "/CRL/ACI-FO-PP-TEST.crl", token=None).body)
    listed = subprocess.run(
        ["openssl", "crl", "-inform", "DER", "-in", state.parent / "list.crl", "-noout", "-text"],
        capture_output=True, text=True, check=True,
    ).stdout.lower()  # fmt: skip
    assert all(certificate["serial"] in listed for certificate in card["certificates"])
    assert daemon.stop() == 0
