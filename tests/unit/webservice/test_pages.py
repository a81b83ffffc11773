"""The pages' language, typography, forms and weight."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

import cardd
from cardd.cards.types import CardEnvironment, CardType, CardView, PinState, PinView, TestCardRequest
from cardd.events import EventType
from cardd.orders.sorting import OrderSort
from cardd.orders.types import OrderRequest
from cardd.text import Text
from cardd_webservice import ihm
from cardd_webservice.ihm import language, words
from cardd_webservice.ihm.forms import Form
from cardd_webservice.ihm.routes import ROUTES
from tests.support.browsing import Browser, signed_in
from tests.support.webservice import CARD, PIN, Cards, Running, card_view, form, order_request

PAGES = ("/", "/cartes", "/demander", "/retirer", "/suivre", "/suivre/commandes", "/revoquer", "/habilitations",
         "/habilitations/nouvelle", "/habilitations/h1", "/crl", "/journal", "/journal?verifier=1", "/diagnostic",
         "/retirer/o1", "/suivre/commandes/o1", "/suivre/certificats/4f1c0b2dab", "/revoquer/4f1c0b2dab",
         "/demander?structure=318751275100020&offer=ORG",
         "/demander?structure=318751275100020&offer=ORG&usage=AUTH_CLI", "/cartes/nouvelle")  # fmt: skip


@pytest.fixture
async def browser(service: Running) -> Browser:
    return await signed_in(service)


@pytest.fixture
async def with_card(browser: Browser) -> Browser:
    await browser.post(f"/cartes/{CARD}/session", {"pin": PIN, "_jeton": await browser.token()})
    return browser


def test_french_typography_is_set() -> None:
    assert language.typeset("Dire : « l'essai » ; non ? 5 %", "fr") == (
        "Dire\u00a0: «\u00a0l’essai\u00a0»\u202f; non\u202f? 5\u00a0%"
    )
    assert language.typeset("It's: so", "en") == "It’s: so"


def test_prose_is_escaped_and_code_is_code() -> None:
    shown = language.prose(Text("run `a<b` & <go>", ""), "en")
    assert str(shown) == "run <code>a&lt;b</code> &amp; &lt;go&gt;"


def test_dates_and_spans_read_as_people_write_them() -> None:
    moment = datetime(2026, 8, 1, 9, 5, tzinfo=UTC).astimezone()
    assert language.day(moment, "fr") == "1er\u00a0août 2026"
    assert language.day(moment, "en") == "1\u00a0August 2026"
    assert language.span(timedelta(days=2, hours=3), "fr") == "2\u00a0jours 3\u00a0h"
    assert language.span(timedelta(days=1), "en") == "1\u00a0day"
    assert language.span(timedelta(minutes=61), "fr") == "1\u00a0h 01\u00a0min"


def test_a_form_gives_lines_and_ticks() -> None:
    given = Form({"contacts": ["a@b.fr, c@d.fr\n\n e@f.fr "], "terms": ["1"]})
    assert given.lines("contacts") == ("a@b.fr", "c@d.fr", "e@f.fr")
    assert given.ticked("terms")
    assert not given.ticked("other")
    assert given.optional("other") is None


def test_every_reason_and_state_has_words_in_both_languages() -> None:
    for texts in (words.STATES, words.REASONS, words.STEPS, words.CUSTODY):
        assert all(text.en and text.fr for text in texts.values())
    assert set(words.SHAPES) == set(words.STATES)


def test_the_script_listens_to_events_that_exist() -> None:
    script = (Path(ihm.__file__).parent / "static" / "cardd.js").read_text(encoding="utf-8")
    listed = script.split("const EVENTS = [")[1].split("]")[0]
    names = [part.strip().strip('"') for part in listed.split(",") if part.strip()]
    assert names
    assert set(names) <= {kind.value for kind in EventType}


@pytest.mark.parametrize("path", PAGES)
async def test_every_page_is_whole_in_both_languages(with_card: Browser, path: str) -> None:
    for tag, other in (("fr", "en"), ("en", "fr")):
        response, body = await with_card.get(path, **{"Accept-Language": tag})
        assert response.status == 200, body
        assert f'<html lang="{tag}">' in body
        assert f'hreflang="{other}"' in body
        assert response.headers["Content-Language"] == tag
        assert "style=" not in body
        assert "<script>" not in body
        assert "http://www.w3.org" not in body
        assert body.count("<h1>") == 1
        policy = response.headers["Content-Security-Policy"]
        assert "script-src 'self'" in policy
        assert "unsafe" not in policy
        assert response.headers["Referrer-Policy"] == "same-origin"


async def test_a_page_weighs_at_most_100_kb_in_all(with_card: Browser) -> None:
    loaded = 0
    for path in ("/static/cardd.css", "/static/cardd.js", "/static/cardd.svg"):
        response, body = await with_card.get(path)
        assert response.status == 200
        loaded += len(body.encode())
    for path in PAGES:
        assert loaded + len((await with_card.get(path))[1].encode()) <= 100_000, path


async def test_the_language_chosen_sticks(browser: Browser) -> None:
    response, body = await browser.get("/cartes?lang=en", **{"Accept-Language": "fr"})
    assert '<html lang="en">' in body
    kept = response.headers["Set-Cookie"].split(";")[0]
    _, body = await browser.get("/suivre", **{"Accept-Language": "fr", "Cookie": f"{browser.cookie}; {kept}"})
    assert '<html lang="en">' in body


async def test_a_switch_of_language_keeps_the_question(browser: Browser) -> None:
    _, body = await browser.get("/suivre?q=insi&etat=active")
    assert 'href="/suivre?q=insi&amp;etat=active&amp;lang=en"' in body


async def test_a_column_sorts_and_turns_round(browser: Browser) -> None:
    _, body = await browser.get("/suivre/commandes?q=x&suite=y")
    assert "aria-sort" not in body
    await browser.service.orders.create(msgspec.convert(order_request(), OrderRequest), None)
    _, body = await browser.get("/suivre/commandes?q=x&suite=y")
    assert 'aria-sort="descending"><a class="sort" href="/suivre/commandes?q=x&amp;tri=oldest">' in body
    _, body = await browser.get("/suivre/commandes?tri=name")
    assert browser.service.orders.asked[-1][0].sort is OrderSort.NAME
    assert 'aria-sort="ascending"><a class="sort" href="/suivre/commandes?tri=name_descending">' in body


async def test_a_wrong_pin_tells_how_many_tries_are_left(browser: Browser) -> None:
    form_ = {"pin": "9999", "_jeton": await browser.token()}
    status, body, _ = await browser.post(f"/cartes/{CARD}/session", form_)
    assert status == 403
    assert "essais restants\u00a0: 2" in body
    assert "9999" not in body


async def test_before_the_final_try_the_page_warns_and_asks(service: Running) -> None:
    class OneTryLeft(Cards):
        async def list(self) -> list:  # type: ignore[type-arg]
            view = card_view(CARD)
            changed = {name: getattr(view, name) for name in view.__struct_fields__}
            return [type(view)(**(changed | {"pin": PinView(state=PinState.FINAL, tries_left=1)}))]

    object.__setattr__(service.services, "cards", OneTryLeft())
    _, body = await (await signed_in(service)).get("/cartes")
    assert "Dernier essai." in body
    assert 'name="accept_final_try" value="1" required' in body


async def test_only_what_the_card_is_authorised_for_is_offered(with_card: Browser) -> None:
    _, body = await with_card.get("/demander")
    assert "offer=ORG" in body
    assert "offer=SERV" not in body
    _, body = await with_card.get("/demander?structure=318751275100020&offer=ORG")
    assert "usage=AUTH_CLI" in body
    assert "usage=SIGN" not in body
    _, body = await with_card.get("/demander?structure=318751275100020&offer=ORG&usage=SIGN")
    assert 'method="post" action="/demander"' not in body


def _order(token: str, **changes: str) -> dict[str, str]:
    return {"_jeton": token, "_envoi": "n1", "structure": "318751275100020", "offer": "ORG", "usage": "AUTH_CLI",
            "service": "INSI-AUTO", "contacts": "a@example.org", "source": "token", **changes}  # fmt: skip


async def test_a_form_sent_twice_orders_once(with_card: Browser, service: Running) -> None:
    token = await with_card.token()
    first = await with_card.post("/demander", _order(token))
    second = await with_card.post("/demander", _order(token))
    assert first[0] == second[0] == 303
    assert first[2] == second[2]
    assert len(service.orders.made) == 1


async def test_a_form_being_typed_is_checked_by_the_rules_of_the_order(with_card: Browser) -> None:
    token = await with_card.token()
    status, body, _ = await with_card.post("/demander/controle", _order(token, contacts="a@example.org\nx"))
    assert status == 200
    assert '"contacts"' in body
    assert (await with_card.post("/demander/controle", _order(token)))[1] == '{"problems":{}}'


async def test_what_was_typed_is_kept_and_escaped_on_error(with_card: Browser) -> None:
    token = await with_card.token()
    sent = {"_jeton": token, "structure_name": '"><script>x</script>', "identifier_kind": "siret"}
    status, body, _ = await with_card.post("/habilitations/nouvelle", sent)
    assert status == 422
    assert "&#34;&gt;&lt;script&gt;x" in body
    assert "<script>x" not in body


async def test_after_an_error_the_language_leads_back_to_the_page_of_the_form(browser: Browser) -> None:
    wrong = {"pin": "9999", "_jeton": await browser.token()}
    came_from = {"Referer": f"{browser.service.address}/demander?structure=1"}
    _, body, _ = await browser.post(f"/cartes/{CARD}/session", wrong, **came_from)
    assert 'href="/demander?structure=1&amp;lang=en"' in body
    _, body, _ = await browser.post(f"/cartes/{CARD}/session", wrong, Referer="https://evil.example/x")
    assert 'href="/?lang=en"' in body


async def test_a_card_that_says_little_of_itself_is_shown_all_the_same(service: Running) -> None:
    unread = {"type": None, "holder": None, "pin": None, "opposes_at": None, "issued_at": None,
              "medium": "pcsc", "environment": CardEnvironment.PRODUCTION,
              "problem": Text("It cannot be read.", "Elle est illisible.")}  # fmt: skip

    class Unread(Cards):
        async def list(self) -> list:  # type: ignore[type-arg]
            return [msgspec.structs.replace(card_view(CARD), **unread)]

    object.__setattr__(service.services, "cards", Unread())
    browser = await signed_in(service)
    for path in ("/", "/cartes", "/demander"):
        response, body = await browser.get(path)
        assert response.status == 200, path
    _, body = await browser.get("/cartes")
    assert "Elle est illisible." in body
    assert "Carte de production" in body
    assert f"/cartes/{CARD}/retirer" not in body


async def test_a_blocked_pin_is_opened_again_with_the_puk(service: Running) -> None:
    class Blocked(Cards):
        async def list(self) -> list:  # type: ignore[type-arg]
            locked = PinView(state=PinState.LOCKED, tries_left=0)
            return [msgspec.structs.replace(card_view(CARD), pin=locked)]

    object.__setattr__(service.services, "cards", Blocked())
    browser = await signed_in(service)
    _, body = await browser.get("/cartes")
    assert "Code porteur bloqué" in body
    assert f"/cartes/{CARD}/session" in body
    sent = {"_jeton": await browser.token(), "puk": "12345678", "new": "4321", "again": "4322"}
    status, body, _ = await browser.post(f"/cartes/{CARD}/deblocage", sent)
    assert status == 422
    assert "n’est pas le même code" in body
    assert '12345678"' not in body
    status, _, location = await browser.post(f"/cartes/{CARD}/deblocage", sent | {"again": "4321"})
    assert (status, location) == (303, "/cartes")


async def test_a_card_is_made_of_the_medium_chosen(browser: Browser) -> None:
    asked: list[TestCardRequest] = []

    class Maker(Cards):
        async def create(self, request: TestCardRequest) -> CardView:
            asked.append(request)
            return card_view(CARD)

    object.__setattr__(browser.service.services, "cards", Maker())
    _, body = await browser.get("/cartes/nouvelle")
    assert 'name="medium" value="virtual"' in body
    sent = {
        "_jeton": await browser.token(),
        "habilitation": "h1",
        "medium": "virtual",
        "type": "cpe",
        "insert": "1",
    }
    status, _, location = await browser.post("/cartes/nouvelle", sent)
    assert (status, location) == (303, f"/cartes?carte={CARD}#carte-{CARD}")
    assert (asked[0].medium, asked[0].type, asked[0].last_name) == ("virtual", CardType.CPE, None)
    status, body, _ = await browser.post("/cartes/nouvelle", sent | {"medium": "paper"})
    assert status == 422
    assert 'id="medium-probleme"' in body


async def test_an_open_page_does_not_take_what_another_is_about_to_say(browser: Browser) -> None:
    token = await browser.token()
    await browser.post(f"/cartes/{CARD}/inserer", {"_jeton": token})
    for _ in range(2):
        _, body = await browser.get("/crl", **{"Cardd-Live": "1"})
        assert "La carte est insérée." in body
    _, body = await browser.get("/cartes")
    assert "La carte est insérée." in body
    _, body = await browser.get("/cartes")
    assert "La carte est insérée." not in body


async def test_the_entries_of_a_list_are_charted_from_its_publications(browser: Browser) -> None:
    _, body = await browser.get("/crl")
    assert "pas encore été publiée" in body
    for entries in (0, 3):
        async with browser.service.services.store.transaction() as tx:
            tx.journal("crl.publish", "crl:ACR-EL-TEST", number=entries, entries=entries)
    _, body = await browser.get("/crl?liste=ACR-EL-TEST")
    assert "0 au début, 3 maintenant" in body
    assert "<strong>3 entrées</strong>" in body


def test_every_line_of_the_journal_has_words() -> None:
    written = set()
    for path in (*Path(cardd.__file__).parent.rglob("*.py"), *Path(ihm.__file__).parents[1].rglob("*.py")):
        source = path.read_text(encoding="utf-8")
        written |= set(re.findall(r'(?:journal|_record|_set)\([^()"]*"([a-z_]+(?:\.[a-z_]+)+)"', source))
    assert len(written) > 30
    assert written - set(words.STEPS) == set()


async def test_form_f414_is_submitted(browser: Browser) -> None:
    given = form()
    sent = {name: str(given[name]) for name in ("structure_name", "delivery_address", "postal_code", "town")}
    sent |= {f"recipient.{name}": value for name, value in given["recipient"].items()}
    sent |= {
        "identifier_kind": "siret",
        "identifier": given["siret"],
        "wanted": "ORG.SIGN",
        "card_quantity": "1",
    }
    status, _, location = await browser.post(
        "/habilitations/nouvelle", {"_jeton": await browser.token(), **sent}
    )
    assert (status, location) == (303, "/habilitations/h1")


async def test_a_certificate_is_revoked_only_when_its_name_is_typed(browser: Browser) -> None:
    token = await browser.token()
    path, sent = "/revoquer/4f1c0b2dab", {"_jeton": token, "reason": "superseded"}
    status, body, _ = await browser.post(path, {**sent, "confirmation": "other"})
    assert status == 422
    assert "n’est pas le nom de ce certificat" in body
    status, _, location = await browser.post(path, {**sent, "confirmation": "insi-auto"})
    assert (status, location) == (303, "/suivre/certificats/4f1c0b2dab")


async def test_downloads_are_files(browser: Browser) -> None:
    for kind, media_type in (
        ("certificat.cer", "application/pkix-cert"),
        ("certificat.pem", "application/x-pem-file"),
        ("chaine.pem", "application/pem-certificate-chain"),
    ):
        path = f"/suivre/certificats/4f1c0b2dab/{kind}"
        async with browser.service.call(
            "GET", path, token=None, headers={"Cookie": browser.cookie}
        ) as response:
            assert response.status == 200
            assert response.content_type == media_type
            assert response.headers["Content-Disposition"].startswith("attachment; filename=")
    assert (await browser.get("/suivre/certificats/4f1c0b2dab/other"))[0].status == 404


async def test_what_is_not_there_is_said_on_a_page(browser: Browser) -> None:
    response, body = await browser.get("/suivre/certificats/00", **{"Accept-Language": "en"})
    assert response.status == 404
    assert "Not found" in body
    assert "<nav" in body


def test_every_form_is_guarded_as_a_form() -> None:
    for route in ROUTES:
        assert (route.method == "POST") == (route.access.value == "form"), route.path
