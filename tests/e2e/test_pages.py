"""Every page and state in a real Chromium: live, without scripts, narrow, enlarged, still, and judged by axe-core."""

import subprocess
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.running import RunningDaemon

pytest.importorskip("playwright", reason="playwright drives the browser: pip install playwright")

from playwright import sync_api

from tests.support.chromium import CHROMIUM, MISSING, Watched, launched, violations

PAGES = (
    "/", "/cartes", "/cartes/nouvelle", "/demander", "/retirer", "/suivre", "/suivre?q=nothing", "/suivre/commandes",
    "/suivre/commandes?etat=cancelled", "/revoquer", "/revoquer?etat=renewable", "/habilitations",
    "/habilitations/nouvelle", "/crl", "/crl?liste=ACR-EL-TEST", "/journal", "/journal?verifier=1", "/diagnostic",
    "/applications", "/PC", "/suivre/certificats/00",
)  # fmt: skip
WRONG = "9999"

pytestmark = pytest.mark.skipif(not CHROMIUM, reason=MISSING)


@pytest.fixture(scope="module")
def chromium() -> Iterator[sync_api.Browser]:
    """One browser for this module."""
    sync_api.expect.set_options(timeout=30_000)
    with launched() as browser:
        yield browser


@pytest.fixture
def card(browsed_daemon: RunningDaemon) -> str:
    """The demonstration's card, in its reader and with all its tries."""
    found = next(
        each
        for each in browsed_daemon.call("GET", "/api/v1/cards").json["items"]
        if each["medium"] == "softhsm"
    )
    serial = str(found["serial"])
    if not found["present"]:
        browsed_daemon.call("POST", f"/api/v1/test-cards/{serial}/insert", {})
    body = {"pin": "1234", "accept_final_try": True}
    assert browsed_daemon.call("POST", f"/api/v1/cards/{serial}/session", body).status == 201
    return serial


def _open_card(watched: Watched, card: str, pin: str = "1234") -> None:
    watched.go("/cartes")
    field = watched.page.locator(f"#pin-{card}")
    field.fill(pin)
    final = watched.page.locator(f"#carte-{card} form.pin input[name=accept_final_try]")
    if final.count():
        final.check()
    field.press("Enter")
    if pin != WRONG:
        watched.page.wait_for_url("**/demander")
    else:
        watched.page.wait_for_selector("#erreur")


def _made_card(daemon: RunningDaemon) -> str:
    habilitation = daemon.call("GET", "/api/v1/habilitations").json["items"][0]["id"]
    made = daemon.call("POST", "/api/v1/test-cards", {"habilitation": habilitation})
    return str(made.of(201).json["serial"])


def test_a_pulled_card_vanishes_from_the_page_and_comes_back(
    chromium: sync_api.Browser, browsed_daemon: RunningDaemon, card: str
) -> None:
    watched = Watched(chromium, browsed_daemon, locale="fr-FR").sign_in()
    _open_card(watched, card)
    watched.go("/")
    tile = watched.page.locator(f"a[href='/cartes?carte={card}']")
    sync_api.expect(tile).to_be_visible()
    browsed_daemon.call("POST", f"/api/v1/test-cards/{card}/remove", {})
    sync_api.expect(tile).to_be_hidden()
    watched.shows("Aucune session de carte")
    watched.shows("La session de carte est terminée")
    browsed_daemon.call("POST", f"/api/v1/test-cards/{card}/insert", {})
    sync_api.expect(tile).to_be_visible()
    watched.close()


def test_a_page_that_lost_the_daemon_says_so_until_it_is_found_again(
    chromium: sync_api.Browser, browsed_daemon: RunningDaemon
) -> None:
    watched = Watched(chromium, browsed_daemon, locale="fr-FR").sign_in()
    watched.page.route("**/nouvelles?*", lambda route: route.abort("connectionrefused"))
    watched.go("/suivre")
    watched.shows("Le démon ne répond plus")
    watched.page.unroute_all()
    sync_api.expect(watched.page.locator("#sans-nouvelles")).to_have_count(0)
    watched.context.clear_cookies()
    watched.page.evaluate(
        "dispatchEvent(new Event('pagehide')); document.dispatchEvent(new Event('visibilitychange'))"
    )
    watched.shows("Ce navigateur n’est plus connecté")
    watched.context.close()


def test_what_happens_between_a_page_and_its_news_is_shown(
    chromium: sync_api.Browser, browsed_daemon: RunningDaemon, card: str
) -> None:
    watched = Watched(chromium, browsed_daemon, locale="fr-FR").sign_in()
    page = watched.page
    made: list[str] = []

    def make_a_card_first(route: sync_api.Route) -> None:
        if not made and route.request.frame.url.endswith("/cartes"):
            made.append(_made_card(browsed_daemon))
        route.continue_()

    page.route("**/nouvelles?*", make_a_card_first)
    with page.expect_response(lambda response: "/nouvelles?" in response.url and bool(made)):
        watched.go("/cartes")
    sync_api.expect(page.locator(f"#carte-{made[0]}")).to_be_visible()
    watched.close()


def test_the_focus_stays_where_it_was_when_a_part_of_the_page_changes(
    chromium: sync_api.Browser, browsed_daemon: RunningDaemon, card: str
) -> None:
    watched = Watched(chromium, browsed_daemon, locale="fr-FR").sign_in()
    page = watched.page
    for selector in (
        f"#carte-{card} details summary",
        "form[action$='/inserer'] button, form[action$='/retirer'] button",
    ):
        watched.go("/cartes")
        page.locator(selector).first.focus()
        part = page.locator("section[data-live='card reader']").element_handle()
        made = _made_card(browsed_daemon)
        sync_api.expect(page.locator(f"#carte-{made}")).to_be_visible()
        assert not part.evaluate("part => part.isConnected")
        sync_api.expect(page.locator(selector).first).to_be_focused()
    watched.close()


def test_without_scripts_the_pages_read_and_forms_work(
    chromium: sync_api.Browser, browsed_daemon: RunningDaemon, card: str
) -> None:
    watched = Watched(chromium, browsed_daemon, locale="fr-FR", java_script_enabled=False).sign_in()
    _open_card(watched, card)
    assert watched.page.locator(".choices a").count() > 0
    watched.close()


def test_a_page_of_the_disk_signs_in_as_cardd_open_makes_it(
    chromium: sync_api.Browser, browsed_daemon: RunningDaemon, tmp_path: Path
) -> None:
    link = browsed_daemon.cli("open", "--print-only").stdout.strip()
    file = tmp_path / "open.html"
    file.write_text(
        f'<!doctype html><meta http-equiv="refresh" content="0;url={link}"><a href="{link}">cardd</a>'
    )
    context = chromium.new_context(locale="fr-FR")
    page = context.new_page()
    page.goto(file.as_uri())
    page.wait_for_url(f"{browsed_daemon.address}/")
    assert page.locator("nav").is_visible()
    page.goto(link)
    assert "Ce lien n’ouvre plus rien" in page.locator("h1").inner_text()
    context.close()


def test_a_csr_s_key_proves_itself_on_the_page(
    chromium: sync_api.Browser, browsed_daemon: RunningDaemon, card: str, tmp_path: Path
) -> None:
    def openssl(*arguments: str) -> bytes:
        return subprocess.run(["openssl", *arguments], cwd=tmp_path, check=True, capture_output=True).stdout

    openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", "mine.key")
    csr = openssl("req", "-new", "-key", "mine.key", "-subj", "/CN=x")
    watched = Watched(chromium, browsed_daemon, locale="fr-FR").sign_in()
    page = watched.page
    _open_card(watched, card)
    page.locator(".choices a[href*='offer=ORG']").first.click()
    page.locator(".choices a[href*='usage=AUTH_CLI']").click()
    page.locator("#service").fill("MA-CLE")
    page.locator("#contacts").fill("tests@example.org")
    page.locator("input[name=source][value=csr]").check()
    page.locator("details summary").first.click()
    page.locator("#csr").fill(csr.decode())
    watched.send("Passer la commande")
    page.wait_for_url("**/retirer/*")
    with page.expect_download() as downloading:
        page.locator("a[download='message.bin']").click()
    downloading.value.save_as(tmp_path / "message.bin")
    openssl("dgst", "-sha256", "-sign", "mine.key", "-out", "signature", "message.bin")
    page.locator("#signature").fill("pas du base64")
    watched.send("Envoyer la preuve")
    watched.shows("n’est pas du base64")
    page.locator("#signature").fill(openssl("base64", "-in", "signature").decode())
    watched.send("Envoyer la preuve")
    watched.shows("sa détention est prouvée")
    sync_api.expect(page.locator("#revocation_code")).to_be_visible()
    watched.close()


def test_no_page_is_wider_than_the_window(chromium: sync_api.Browser, browsed_daemon: RunningDaemon) -> None:
    watched = Watched(chromium, browsed_daemon, locale="fr-FR").sign_in()
    for path in PAGES:
        watched.go(path)
        # 320 px; a window of 1280 px under a zoom of 200 % (WCAG 2.2, 1.4.10); text alone at 200 % (1.4.4).
        for width, text in ((320, "100%"), (640, "100%"), (1280, "100%"), (1280, "200%")):
            watched.page.set_viewport_size({"width": width, "height": 700})
            shown = watched.page.evaluate(
                "size => (document.documentElement.style.fontSize = size, document.documentElement.scrollWidth)",
                text,
            )
            assert shown <= width, (path, width, text)
    watched.close()


def test_nothing_moves_for_who_wants_no_motion(
    chromium: sync_api.Browser, browsed_daemon: RunningDaemon
) -> None:
    watched = Watched(chromium, browsed_daemon, locale="fr-FR").sign_in()
    moving = {}
    for wish in ("no-preference", "reduce"):
        watched.page.emulate_media(reduced_motion=wish)
        moving[wish] = watched.page.evaluate(
            """() => {
                const line = document.createElement("p");
                line.className = "busy";
                document.body.append(line);
                return getComputedStyle(line, "::before").animationName;
            }"""
        )
    assert moving == {"no-preference": "turn", "reduce": "none"}
    watched.close()


#: What reaches out of a narrow window, apart from what scrolls by itself or is for screen readers.
_OUTSIDE = """() => [...document.querySelectorAll("main *")]
    .filter((each) => !each.closest(".scroll, .hidden, pre") && each.getBoundingClientRect().right > innerWidth)
    .map((each) => each.outerHTML.slice(0, 120))"""


class _Judge:
    """Has axe-core judge what a page shows now, in light and in dark, and looks whether it fits 320 px."""

    def __init__(self, watched: Watched, axe: Any) -> None:
        self.watched = watched
        self.found: dict[str, Any] = {}
        self._axe = axe

    def __call__(self, state: str) -> None:
        page = self.watched.page
        page.emulate_media(color_scheme="light")
        found = [("light", violations(page, self._axe))]
        page.emulate_media(color_scheme="dark")
        # The scheme changes colours alone.
        found.append(("dark", violations(page, self._axe, only="color-contrast")))
        page.set_viewport_size({"width": 320, "height": 700})
        found.append(("narrow", page.evaluate(_OUTSIDE)))
        page.set_viewport_size({"width": 1280, "height": 720})
        self.found |= {f"{state}, {scheme}": each for scheme, each in found if each}


def test_axe_finds_nothing_on_any_page_or_state(
    chromium: sync_api.Browser, browsed_daemon: RunningDaemon, card: str
) -> None:
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="axe-core: pip install axe-playwright-python"
    )
    watched = Watched(chromium, browsed_daemon, locale="fr-FR")
    page, judge = watched.page, _Judge(watched, axe.Axe())
    watched.go("/")
    judge("signed out")
    watched.go("/suivre")
    judge("sign-in needed")
    watched.sign_in()
    for path in PAGES:
        watched.go(path)
        judge(f"{path} without a card session")
    for tries in ("wrong PIN", "final try"):
        _open_card(watched, card, WRONG)
        judge(tries)
    _open_card(watched, card)
    judge("structure and offer")
    page.locator(".choices a[href*='offer=ORG']").first.click()
    judge("usage")
    page.locator(".choices a[href*='usage=AUTH_CLI']").click()
    judge("fields")
    page.locator("#service").fill("INSI-AUTO")
    page.locator("#contacts").fill("x")
    watched.send("Passer la commande")
    page.wait_for_selector(".trouble")
    judge("fields with errors")
    page.locator("#contacts").fill("tests@example.org")
    watched.send("Passer la commande")
    page.wait_for_url("**/retirer/*")
    judge("retrieval")
    order = page.url.rsplit("/", 1)[1]
    watched.go(f"/suivre/commandes/{order}")
    judge("order")
    watched.go("/retirer")
    judge("orders to retrieve")
    page.locator(f"a[href='/retirer/{order}']").click()
    page.locator("#revocation_code").fill("code-de-revocation-1")
    page.locator("#confirmation").fill("another-code")
    page.locator("#accept_terms").check()
    watched.send("Retirer le certificat")
    page.wait_for_selector(".trouble")
    judge("retrieval with errors")
    for name in ("revocation_code", "confirmation"):
        page.locator(f"#{name}").fill("code-de-revocation-1")
    page.locator("#accept_terms").check()
    watched.send("Retirer le certificat")
    page.wait_for_url("**/suivre/certificats/*")
    for summary in page.locator("summary").all():
        summary.click()
    judge("certificate")
    serial = page.url.rsplit("/", 1)[1]
    for path in ("/", "/cartes", "/suivre", "/suivre/commandes", "/revoquer", "/habilitations"):
        watched.go(path)
        judge(f"{path} with a card session")
    page.locator(".choices a").first.click()
    judge("habilitation")
    watched.go("/habilitations/nouvelle")
    page.locator("form[action='/habilitations/nouvelle']").evaluate("form => { form.noValidate = true }")
    watched.send("Déposer le formulaire")
    page.wait_for_selector(".trouble")
    judge("form F414 with errors")
    watched.go(f"/revoquer/{serial}")
    judge("revocation")
    page.locator("input[value=superseded]").check()
    page.locator("#confirmation").fill("not this one")
    watched.send("Révoquer définitivement")
    page.wait_for_selector(".trouble")
    judge("revocation with errors")
    page.locator("input[value=superseded]").check()
    page.locator("#confirmation").fill("insi-auto")
    watched.send("Révoquer définitivement")
    page.wait_for_url("**/suivre/certificats/*")
    judge("revoked certificate")
    asked = {"name": "Logiciel de test", "scopes": ["read", "order", "owner"]}
    assert browsed_daemon.call("POST", "/api/v1/pairings", asked, token=None).status == 201
    watched.go("/applications")
    watched.shows("Logiciel de test")
    judge("application that asks")
    watched.send("Admettre")
    watched.go("/applications")
    judge("application let in")
    watched.go("/crl")
    page.locator("summary", has_text="Tenir une autre liste").click()
    page.locator("#url").fill("http://127.0.0.1:9/liste.crl")
    page.locator("#issuer_certificate").fill("no certificate")
    watched.send("Tenir cette liste")
    page.wait_for_selector(".trouble")
    judge("list with errors")
    issuer = browsed_daemon.call("GET", "/AC/ACI-EL-ORG-TEST.cer", token=None).body
    page.locator("#issuer_certificate").fill(b64encode(issuer).decode())
    watched.send("Tenir cette liste")
    watched.shows("Oublier")
    judge("kept list")
    page.once("dialog", lambda dialog: dialog.accept())
    page.locator("button", has_text="Oublier").click()
    watched.shows("La liste n’est plus tenue")
    watched.send("Se déconnecter")
    page.wait_for_url("**/quitter")
    judge("after sign-out")
    assert judge.found == {}
    watched.close()
