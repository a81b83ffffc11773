"""The pages in a real Chromium: the whole job from the PIN to the revocation, in French and in English."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from tests.support.running import RunningDaemon

pytest.importorskip("playwright", reason="playwright drives the browser: pip install playwright")

from playwright import sync_api

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""
CODE = "code-de-revocation-1"
PAGES = (
    "/", "/cartes", "/demander", "/retirer", "/suivre", "/suivre/commandes", "/revoquer", "/habilitations",
    "/habilitations/nouvelle", "/crl", "/journal", "/journal?verifier=1", "/diagnostic", "/PC",
)  # fmt: skip

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="the pages are shown in Chromium: apt install chromium")


@dataclass
class Words:
    """What a test clicks on and looks for, in one language."""

    locale: str
    open: str
    tries_left: str
    order: str
    retrieve: str
    revoke: str
    revoked: str
    sign_out: str
    no_session: str
    ended: str


FRENCH = Words(
    locale="fr-FR", open="Ouvrir une session", tries_left="essais restants\u00a0: 2", order="Passer la commande",
    retrieve="Retirer le certificat", revoke="Révoquer définitivement", revoked="Révoqué le",
    sign_out="Se déconnecter", no_session="Aucune session de carte", ended="La session de carte est terminée",
)  # fmt: skip
ENGLISH = Words(
    locale="en-GB", open="Open a session", tries_left="tries left: 2", order="Place the order",
    retrieve="Retrieve the certificate", revoke="Revoke for ever", revoked="Revoked on",
    sign_out="Sign out", no_session="No card session", ended="The card session is over",
)  # fmt: skip


@pytest.fixture(scope="module")
def own_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    """A daemon whose card these tests may pull."""
    running = RunningDaemon(tmp_path_factory.mktemp("pages") / "state")
    running.init()
    running.start()
    yield running
    running.end()


@pytest.fixture(scope="module")
def chromium() -> Iterator[sync_api.Browser]:
    """Chromium from the distribution; as root, it runs only without its sandbox."""
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"] if os.geteuid() == 0 else []
        )
        yield browser
        browser.close()


class Watched:
    """A page whose requests and complaints are noted."""

    def __init__(self, context: sync_api.BrowserContext) -> None:
        self.page = context.new_page()
        self.requested: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requested.append(request.url))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", self._hear)

    def _hear(self, message: sync_api.ConsoleMessage) -> None:
        # Chromium says so of every answer that is an error; the test asks for some.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self.complaints.append(message.text)

    def shows(self, sentence: str) -> None:
        sync_api.expect(self.page.locator("body")).to_contain_text(sentence)


def _visit(chromium: sync_api.Browser, daemon: RunningDaemon, *, locale: str) -> Watched:
    watched = Watched(chromium.new_context(locale=locale))
    link = daemon.cli("open", "--print-only").stdout.strip()
    assert link.startswith(f"{daemon.address}/ouvrir?lien=")
    watched.page.goto(link)
    assert watched.page.url == f"{daemon.address}/"
    return watched


def _send(page: sync_api.Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def _open_card(page: sync_api.Page, daemon: RunningDaemon, words: Words, pin: str) -> None:
    if not page.url.startswith(f"{daemon.address}/cartes"):
        page.goto(f"{daemon.address}/cartes")
    page.locator("input[name=pin]").fill(pin)
    _send(page, words.open)


def _serial(daemon: RunningDaemon) -> str:
    return str(daemon.call("GET", "/api/v1/cards").json["items"][0]["serial"])


@pytest.mark.parametrize("words", [FRENCH, ENGLISH], ids=["french", "english"])
def test_the_whole_job_is_done_in_the_pages(
    chromium: sync_api.Browser, own_daemon: RunningDaemon, words: Words
) -> None:
    watched = _visit(chromium, own_daemon, locale=words.locale)
    page, address = watched.page, own_daemon.address
    assert page.locator("html").get_attribute("lang") == words.locale[:2]

    _open_card(page, own_daemon, words, "9999")
    watched.shows(words.tries_left)
    _open_card(page, own_daemon, words, "1234")
    page.wait_for_url("**/demander")

    page.locator(".choices a", has_text="ORG").first.click()
    page.locator(".choices a", has_text="AUTH_CLI").click()
    page.locator("#service").fill("INSI-AUTO")
    page.locator("#contacts").fill("not an address")
    _send(page, words.order)
    sync_api.expect(page.locator("#contacts")).to_have_attribute("aria-invalid", "true")
    assert page.locator("#service").input_value() == "INSI-AUTO"
    page.locator("#contacts").fill("tests@example.org")
    _send(page, words.order)
    page.wait_for_url("**/retirer/*")

    page.locator("#revocation_code").fill(CODE)
    page.locator("#confirmation").fill(CODE)
    page.locator("#accept_terms").check()
    _send(page, words.retrieve)
    page.wait_for_url("**/suivre/certificats/*")
    serial = page.url.rsplit("/", 1)[1]
    with page.expect_download() as downloading:
        page.locator("a[href$='chaine.pem']").click()
    assert Path(downloading.value.path()).read_text().count("BEGIN CERTIFICATE") == 3

    page.goto(f"{address}/suivre?q=insi-auto")
    sync_api.expect(page.locator(f"a[href='/suivre/certificats/{serial}']")).to_be_visible()

    page.goto(f"{address}/revoquer/{serial}")
    page.locator("input[value=superseded]").check()
    page.locator("#confirmation").fill("INSI-AUTO")
    _send(page, words.revoke)
    page.wait_for_url(f"**/suivre/certificats/{serial}")
    watched.shows(words.revoked)
    assert own_daemon.call("GET", f"/api/v1/certificates/{serial}").json["state"] == "revoked"

    _send(page, words.sign_out)
    page.goto(f"{address}/suivre")
    watched.shows("cardd open")
    assert watched.complaints == []
    assert {url for url in watched.requested if not url.startswith(address)} == set()
    page.context.close()


def test_a_pulled_card_vanishes_from_the_page_and_its_session_ends(
    chromium: sync_api.Browser, own_daemon: RunningDaemon
) -> None:
    watched = _visit(chromium, own_daemon, locale="fr-FR")
    _open_card(watched.page, own_daemon, FRENCH, "1234")
    watched.page.wait_for_url("**/demander")
    with watched.page.expect_response("**/nouvelles"):
        watched.page.goto(f"{own_daemon.address}/")
    serial = _serial(own_daemon)
    tile = watched.page.locator(f"a[href='/cartes?carte={serial}']")
    sync_api.expect(tile).to_be_visible()
    own_daemon.call("POST", f"/api/v1/test-cards/{serial}/remove", {})
    sync_api.expect(tile).to_be_hidden()
    watched.shows(FRENCH.no_session)
    watched.shows(FRENCH.ended)
    own_daemon.call("POST", f"/api/v1/test-cards/{serial}/insert", {})
    sync_api.expect(tile).to_be_visible()
    assert watched.complaints == []
    watched.page.context.close()


def test_without_scripts_the_pages_read_and_forms_work(
    chromium: sync_api.Browser, own_daemon: RunningDaemon
) -> None:
    context = chromium.new_context(locale="fr-FR", java_script_enabled=False)
    page = context.new_page()
    page.goto(own_daemon.cli("open", "--print-only").stdout.strip())
    _open_card(page, own_daemon, FRENCH, "1234")
    page.wait_for_url("**/demander")
    assert page.locator(".choices a").count() > 0
    context.close()


def test_a_page_of_the_disk_signs_in_as_cardd_open_makes_it(
    chromium: sync_api.Browser, own_daemon: RunningDaemon, tmp_path: Path
) -> None:
    link = own_daemon.cli("open", "--print-only").stdout.strip()
    file = tmp_path / "open.html"
    file.write_text(
        f'<!doctype html><meta http-equiv="refresh" content="0;url={link}"><a href="{link}">cardd</a>'
    )
    context = chromium.new_context(locale="fr-FR")
    page = context.new_page()
    page.goto(file.as_uri())
    page.wait_for_url(f"{own_daemon.address}/")
    assert page.locator("nav").is_visible()
    page.goto(link)
    assert "Ce lien n’ouvre plus rien" in page.locator("h1").inner_text()
    context.close()


@pytest.mark.parametrize("width", [320, 1280])
def test_no_page_is_wider_than_the_window(
    chromium: sync_api.Browser, own_daemon: RunningDaemon, width: int
) -> None:
    watched = _visit(chromium, own_daemon, locale="fr-FR")
    watched.page.set_viewport_size({"width": width, "height": 700})
    for path in PAGES:
        watched.page.goto(own_daemon.address + path)
        shown = watched.page.evaluate("document.documentElement.scrollWidth")
        assert shown <= width, path
    assert watched.complaints == []
    watched.page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_on_any_page(
    chromium: sync_api.Browser, own_daemon: RunningDaemon, scheme: Literal["light", "dark"]
) -> None:
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="axe-core: pip install axe-playwright-python"
    )
    watched = _visit(chromium, own_daemon, locale="fr-FR")
    page, found = watched.page, {}
    page.emulate_media(color_scheme=scheme)
    _open_card(page, own_daemon, FRENCH, "9999")
    found["wrong PIN"] = axe.Axe().run(page)
    _open_card(page, own_daemon, FRENCH, "1234")
    page.wait_for_url("**/demander")
    page.locator(".choices a").first.click()
    found["usage"] = axe.Axe().run(page)
    page.locator(".choices a").first.click()
    page.locator("#service").fill("INSI-AUTO")
    page.locator("#contacts").fill("x")
    _send(page, FRENCH.order)
    page.wait_for_selector(".trouble")
    found["order with errors"] = axe.Axe().run(page)
    page.locator("#contacts").fill("tests@example.org")
    _send(page, FRENCH.order)
    page.wait_for_url("**/retirer/*")
    found["retrieval"] = axe.Axe().run(page)
    certificates = own_daemon.call("GET", "/api/v1/certificates?limit=1").json["items"]
    serial = certificates[0]["serial"]
    habilitation = own_daemon.call("GET", "/api/v1/habilitations").json["items"][0]["id"]
    for path in (*PAGES, f"/suivre/certificats/{serial}", f"/revoquer/{serial}", f"/habilitations/{habilitation}",
                 "/suivre/certificats/00"):  # fmt: skip
        page.goto(own_daemon.address + path)
        found[path] = axe.Axe().run(page)
    violations = {
        place: [
            (each["id"], [node["html"] for node in each["nodes"]]) for each in result.response["violations"]
        ]
        for place, result in found.items()
        if result.response["violations"]
    }
    assert all(result.response["passes"] for result in found.values())
    assert violations == {}
    page.context.close()
