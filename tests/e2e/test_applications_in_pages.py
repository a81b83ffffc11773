"""An application is let in and asks for the use of a card, in a real Chromium: live, answered, judged by axe-core."""

import base64
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.running import Answer, RunningDaemon

pytest.importorskip("playwright", reason="playwright drives the browser: pip install playwright")

from playwright import sync_api

from tests.support.chromium import CHROMIUM, MISSING, Watched, launched, violations

pytestmark = pytest.mark.skipif(not CHROMIUM, reason=MISSING)


@pytest.fixture(scope="module")
def chromium() -> Iterator[sync_api.Browser]:
    """One browser for this module."""
    sync_api.expect.set_options(timeout=30_000)
    with launched() as browser:
        yield browser


class Application:
    """A program that pairs, and then signs with the card."""

    def __init__(self, daemon: RunningDaemon) -> None:
        self.daemon = daemon
        asked = {"name": "Logiciel de cabinet", "scopes": ["read", "sign"]}
        self.pairing = daemon.call("POST", "/api/v1/pairings", asked, token=None).json
        self.token = ""
        self.answers: list[Answer] = []

    def fetch_token(self) -> None:
        """Take the token that its user granted."""
        path = f"/api/v1/pairings/{self.pairing['id']}/token"
        self.token = self.daemon.call("POST", path, {"secret": self.pairing["secret"]}, token=None).json[
            "token"
        ]

    def call(self, path: str, body: Any, **headers: str) -> Answer:
        """Call the web service with its own token."""
        return self.daemon.call("POST", path, body, token=self.token, headers=headers)

    def sign(self, card: str) -> threading.Thread:
        """Begin to sign; the answer comes when the holder has answered."""
        session = self.call(f"/api/v1/cards/{card}/session", {"pin": "1234"}).json["id"]
        body = {"role": "authentication", "data": base64.b64encode(b"to be signed").decode()}

        def sign() -> None:
            self.answers.append(self.call(f"/api/v1/cards/{card}/sign", body, **{"Card-Session": session}))

        thread = threading.Thread(target=sign)
        thread.start()
        return thread


def test_an_application_is_let_in_and_signs_once_the_holder_agrees(
    chromium: sync_api.Browser, browsed_daemon: RunningDaemon
) -> None:
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="axe-core: pip install axe-playwright-python"
    ).Axe()
    cards = browsed_daemon.call("GET", "/api/v1/cards").json["items"]
    card = next(each["serial"] for each in cards if each["medium"] == "softhsm" and each["present"])
    watched = Watched(chromium, browsed_daemon, locale="fr-FR").sign_in()
    page = watched.page
    watched.go("/applications")
    application = Application(browsed_daemon)
    demand = page.locator(f"#demande-{application.pairing['id']}")
    sync_api.expect(demand).to_contain_text("Logiciel de cabinet")
    code = application.pairing["code"]
    sync_api.expect(demand.locator(".code")).to_have_attribute("aria-label", " ".join(code))
    demand.get_by_role("button", name="Admettre").click()
    sync_api.expect(page.locator("article", has_text="Logiciel de cabinet").last).to_be_visible()
    application.fetch_token()

    watched.go("/suivre")
    signing = application.sign(card)
    question = page.locator("section.demands article")
    sync_api.expect(question).to_contain_text(card)
    sync_api.expect(question).to_contain_text("signer")
    assert violations(page, axe) == []
    assert application.answers == []
    question.get_by_role("button", name="Accepter").click()
    signing.join(timeout=30)
    assert [answer.status for answer in application.answers] == [200]
    sync_api.expect(question).to_have_count(0)
    watched.close()
