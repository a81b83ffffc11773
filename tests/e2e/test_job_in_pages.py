"""The whole job in a real Chromium with a virtual card in a reader: in French, in English, and by keyboard alone."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from cardd.virtualcard import ConfinedPcscd
from tests.support.running import RunningDaemon

pytest.importorskip("playwright", reason="playwright drives the browser: pip install playwright")

from playwright import sync_api

from tests.support.chromium import CHROMIUM, MISSING, Watched, launched, press_until

CODE = "code-de-revocation-1"
LIST = "ACI-EL-ORG-TEST"

pytestmark = pytest.mark.skipif(not CHROMIUM, reason=MISSING)


class Words(NamedTuple):
    """What a test clicks on and looks for, in one language."""

    locale: str
    make: str
    open: str
    tries_left: str
    order: str
    retrieve: str
    revoke: str
    revoked: str
    published: str
    sign_out: str
    no_session: str
    ended: str


FRENCH = Words(
    locale="fr-FR", make="Créer la carte", open="Ouvrir une session", tries_left="essais restants\u00a0: 2",
    order="Passer la commande", retrieve="Retirer le certificat", revoke="Révoquer définitivement",
    revoked="Révoqué le", published=f"La LCR {LIST} est publiée", sign_out="Se déconnecter",
    no_session="Aucune session de carte", ended="La session de carte est terminée",
)  # fmt: skip
ENGLISH = Words(
    locale="en-GB", make="Make the card", open="Open a session", tries_left="tries left: 2",
    order="Place the order", retrieve="Retrieve the certificate", revoke="Revoke for ever",
    revoked="Revoked on", published=f"The CRL {LIST} is published", sign_out="Sign out",
    no_session="No card session", ended="The card session is over",
)  # fmt: skip


@pytest.fixture(scope="module")
def chromium() -> Iterator[sync_api.Browser]:
    """One browser for this module."""
    sync_api.expect.set_options(timeout=30_000)
    with launched() as browser:
        yield browser


@pytest.fixture(autouse=True)
def _with_virtual_readers() -> None:
    missing = ConfinedPcscd.missing_part()
    if missing is not None:
        pytest.skip(f"no virtual reader here: {missing.en}")


def _make_card(watched: Watched, words: Words) -> str:
    """Make a virtual card in the pages, inserted at once; return its serial."""
    page = watched.page
    watched.go("/cartes/nouvelle")
    page.locator("input[name=medium][value=virtual]").check()
    page.locator("#last_name").fill("DURAND")
    watched.send(words.make)
    page.wait_for_url("**/cartes?carte=*")
    return page.url.partition("carte=")[2][:8]


def _pull(daemon: RunningDaemon, serial: str) -> None:
    """Take the card out of its reader, as a hand does: nobody tells the page."""
    answer = daemon.call("POST", f"/api/v1/test-cards/{serial}/remove", {})
    assert answer.status == 200, answer.body


def _entries(page: sync_api.Page) -> sync_api.Locator:
    """What the chart of the list says that it holds now."""
    return page.locator(".chart figcaption strong")


@pytest.mark.parametrize(
    "words", [FRENCH, pytest.param(ENGLISH, marks=pytest.mark.slow)], ids=["french", "english"]
)
def test_the_whole_job_is_done_in_the_pages(
    chromium: sync_api.Browser, browsed_daemon: RunningDaemon, words: Words
) -> None:
    watched = Watched(chromium, browsed_daemon, locale=words.locale).sign_in()
    page = watched.page
    assert page.locator("html").get_attribute("lang") == words.locale[:2]
    card = _make_card(watched, words)
    pin = page.locator(f"#pin-{card}")
    pin.fill("9999")
    pin.press("Enter")
    watched.shows(words.tries_left)
    pin.fill("1234")
    pin.press("Enter")
    page.wait_for_url("**/demander")

    page.locator(".choices a[href*='offer=ORG']").first.click()
    page.locator(".choices a[href*='usage=AUTH_CLI']").click()
    page.locator("#service").fill("INSI-AUTO")
    page.locator("#contacts").fill("not an address")
    page.locator("#service").focus()
    sync_api.expect(page.locator("#contacts")).to_have_attribute("aria-invalid", "true")
    watched.send(words.order)
    page.wait_for_selector("#erreur")
    assert page.locator("#service").input_value() == "INSI-AUTO"
    page.locator("#contacts").fill("tests@example.org")
    watched.send(words.order)
    page.wait_for_url("**/retirer/*")

    page.locator("#revocation_code").fill(CODE)
    page.locator("#confirmation").fill(CODE)
    page.locator("#accept_terms").check()
    watched.send(words.retrieve)
    page.wait_for_url("**/suivre/certificats/*")
    serial = page.url.rsplit("/", 1)[1]
    with page.expect_download() as downloading:
        page.locator("a[href$='chaine.pem']").click()
    assert Path(downloading.value.path()).read_text().count("BEGIN CERTIFICATE") == 3
    for program in ("OpenSSL", "curl", "Java", "nginx"):
        page.locator("summary", has_text=program).click()
        sync_api.expect(page.locator("details[open] pre").last).to_be_visible()

    watched.go("/suivre?q=insi-auto&tri=expiry_descending")
    sync_api.expect(page.locator(f"a[href='/suivre/certificats/{serial}']")).to_be_visible()

    lists = watched.context.new_page()
    lists.goto(f"{browsed_daemon.address}/crl?liste={LIST}")
    before = int(_entries(lists).inner_text().split()[0])
    watched.go(f"/revoquer/{serial}")
    page.locator("input[value=superseded]").check()
    page.locator("#confirmation").fill("INSI-AUTO")
    watched.send(words.revoke)
    page.wait_for_url(f"**/suivre/certificats/{serial}")
    watched.shows(words.revoked)
    sync_api.expect(_entries(lists)).to_have_text(re.compile(rf"^{before + 1}\b"))
    sync_api.expect(lists.locator("#nouvelles")).to_contain_text(words.published)
    assert browsed_daemon.call("GET", f"/api/v1/certificates/{serial}").json["state"] == "revoked"

    watched.go("/")
    tile = page.locator(f"a[href='/cartes?carte={card}']")
    sync_api.expect(tile).to_be_visible()
    _pull(browsed_daemon, card)
    sync_api.expect(tile).to_be_hidden()
    watched.shows(words.no_session)
    watched.shows(words.ended)
    watched.send(words.sign_out)
    watched.go("/suivre")
    watched.shows("cardd open")
    watched.close()


def test_the_whole_job_is_done_by_keyboard_alone(
    chromium: sync_api.Browser, browsed_daemon: RunningDaemon
) -> None:
    watched = Watched(chromium, browsed_daemon, locale="fr-FR").sign_in()
    page, keyboard = watched.page, watched.page.keyboard

    def enter(selector: str) -> None:
        press_until(page, "Tab", selector)
        keyboard.press("Enter")

    def write(selector: str, text: str) -> None:
        press_until(page, "Tab", selector)
        keyboard.type(text)

    keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "contenu"
    press_until(page, "Shift+Tab", "nav a[href='/cartes']")
    keyboard.press("Enter")
    page.wait_for_url("**/cartes")
    enter("a[href='/cartes/nouvelle']")
    page.wait_for_url("**/cartes/nouvelle")
    press_until(page, "Tab", "input[name=medium]")
    keyboard.press("ArrowDown")
    assert page.locator("input[value=virtual]").is_checked()
    enter("form[action='/cartes/nouvelle'] button")
    page.wait_for_url("**/cartes?carte=*")
    card = page.url.partition("carte=")[2][:8]
    page.wait_for_selector(f"#pin-{card}")
    write(f"#pin-{card}", "9999")
    keyboard.press("Enter")
    watched.shows(FRENCH.tries_left)
    sync_api.expect(page.locator("#erreur")).to_be_focused()
    write(f"#pin-{card}", "1234")
    keyboard.press("Enter")
    page.wait_for_url("**/demander")

    enter(".choices a[href*='offer=ORG']")
    page.wait_for_url("**offer=ORG")
    enter(".choices a[href*='usage=AUTH_CLI']")
    page.wait_for_url("**usage=AUTH_CLI")
    write("#service", "CLAVIER")
    write("#contacts", "tests@example.org")
    press_until(page, "Tab", "input[name=source]")
    keyboard.press("ArrowDown")
    assert page.locator("input[value=csr]").is_checked()
    keyboard.press("ArrowUp")
    assert page.locator("input[value=token]").is_checked()
    enter("form[action='/demander'] .actions button")
    page.wait_for_url("**/retirer/*")

    write("#revocation_code", CODE)
    write("#confirmation", CODE)
    press_until(page, "Tab", "#accept_terms")
    keyboard.press("Space")
    enter(".actions button")
    page.wait_for_url("**/suivre/certificats/*")
    serial = page.url.rsplit("/", 1)[1]
    press_until(page, "Tab", "summary")
    keyboard.press("Space")
    sync_api.expect(page.locator("details[open] pre").first).to_be_visible()

    press_until(page, "Shift+Tab", "nav a[href='/suivre']")
    keyboard.press("Enter")
    page.wait_for_url("**/suivre")
    write("#q", "clavier")
    keyboard.press("Enter")
    page.wait_for_url("**q=clavier**")
    enter("th a.sort")
    page.wait_for_url("**tri=name**")
    enter(f"a[href='/suivre/certificats/{serial}']")
    page.wait_for_url(f"**/{serial}")
    enter("a.danger")
    page.wait_for_url(f"**/revoquer/{serial}")
    press_until(page, "Tab", "input[name=reason]")
    keyboard.press("Space")
    for _ in range(3):
        keyboard.press("ArrowDown")
    assert page.locator("input[value=superseded]").is_checked()
    write("#confirmation", "clavier")
    enter("button.danger")
    page.wait_for_url(f"**/suivre/certificats/{serial}")
    watched.shows(FRENCH.revoked)

    enter("form.session button")
    page.wait_for_url("**/cartes")
    watched.shows(FRENCH.no_session)
    enter(f"form[action='/cartes/{card}/retirer'] button")
    page.wait_for_url("**/cartes")
    sync_api.expect(page.locator(f"form[action='/cartes/{card}/inserer']")).to_be_visible()
    watched.close()
