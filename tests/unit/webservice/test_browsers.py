"""Signing a browser in: links work once, sessions end, and only our own pages' requests are let in."""

import re
from datetime import timedelta
from pathlib import Path

import aiohttp
import pytest

from cardd.clock import ManualClock
from cardd_webservice.guard.browsers import BrowserPolicy, Browsers, cookie_name
from tests.support.browsing import Browser, signed_in
from tests.support.webservice import CARD, PIN, START, Running, running

POLICY = BrowserPolicy()


def _browsers() -> tuple[Browsers, ManualClock]:
    clock = ManualClock(START)
    return Browsers(clock), clock


def test_a_link_works_once() -> None:
    browsers, _ = _browsers()
    link = browsers.new_link()
    assert browsers.enter(link) is not None
    assert browsers.enter(link) is None
    assert browsers.enter("never made") is None


def test_a_link_does_not_work_after_two_minutes() -> None:
    browsers, clock = _browsers()
    link = browsers.new_link()
    clock.advance(timedelta(seconds=POLICY.link_seconds + 1))
    assert browsers.enter(link) is None


def test_old_links_give_way_to_new_ones() -> None:
    browsers, _ = _browsers()
    links = [browsers.new_link() for _ in range(POLICY.most_links + 1)]
    assert browsers.enter(links[0]) is None
    assert browsers.enter(links[-1]) is not None


def _entered(browsers: Browsers) -> str:
    cookie = browsers.enter(browsers.new_link())
    assert cookie is not None
    return cookie


def test_a_session_ends_when_nobody_uses_it_for_half_an_hour() -> None:
    browsers, clock = _browsers()
    cookie = _entered(browsers)
    for _ in range(3):
        clock.advance(timedelta(seconds=POLICY.idle_seconds - 1))
        assert browsers.find(cookie) is not None
    clock.advance(timedelta(seconds=POLICY.idle_seconds - 1))
    session = browsers.find(cookie, use=False)
    assert session is not None
    clock.advance(timedelta(seconds=2))
    assert browsers.find(cookie) is None
    assert session.ended.is_set()


def test_a_busy_session_ends_too() -> None:
    browsers, clock = _browsers()
    cookie = _entered(browsers)
    for _ in range(int(POLICY.longest_seconds // POLICY.idle_seconds * 2)):
        clock.advance(timedelta(seconds=POLICY.idle_seconds / 2))
        browsers.find(cookie)
    clock.advance(timedelta(seconds=1))
    assert browsers.find(cookie) is None


def test_signing_out_ends_the_session() -> None:
    browsers, _ = _browsers()
    cookie = _entered(browsers)
    session = browsers.find(cookie)
    assert session is not None
    browsers.leave(session)
    assert browsers.find(cookie) is None
    assert browsers.seconds_left(session) == 0


def test_a_session_shows_no_secret_of_its_own() -> None:
    browsers, _ = _browsers()
    session = browsers.find(_entered(browsers))
    assert session is not None
    assert session.form_token not in repr(session)


@pytest.fixture
async def browser(service: Running) -> Browser:
    return await signed_in(service)


async def test_a_link_is_made_by_the_owner_only(service: Running) -> None:
    status, _ = await service.json("POST", "/api/v1/ihm/links", json={}, token=None)
    assert status == 401


async def test_a_used_link_says_what_to_do(service: Running) -> None:
    _, made = await service.json("POST", "/api/v1/ihm/links", json={})
    for status in (303, 403):
        async with service.call("GET", made["path"], token=None, allow_redirects=False) as response:
            assert response.status == status
            body = await response.text()
    assert "cardd open" in body
    assert "Ce lien n’ouvre plus rien" in body


async def test_a_browser_that_looks_ahead_does_not_use_a_link_up(service: Running) -> None:
    _, made = await service.json("POST", "/api/v1/ihm/links", json={})
    ahead = {"Sec-Purpose": "prefetch;prerender"}
    async with service.call("GET", made["path"], token=None, headers=ahead) as response:
        assert response.status == 403
    async with service.call("HEAD", made["path"], token=None) as response:
        assert response.status == 405
    async with service.call("GET", made["path"], token=None, allow_redirects=False) as response:
        assert response.status == 303


async def test_from_a_page_of_the_disk_the_cookie_is_set_before_our_own_page_leads_on(
    service: Running,
) -> None:
    _, made = await service.json("POST", "/api/v1/ihm/links", json={})
    from_disk = {"Sec-Fetch-Site": "cross-site"}
    async with service.call("GET", made["path"], token=None, headers=from_disk) as response:
        assert response.status == 200
        assert "Set-Cookie" in response.headers
        assert 'content="0;url=/"' in await response.text()


@pytest.mark.parametrize(
    "path",
    ["/cartes", "/demander", "/retirer", "/suivre", "/revoquer", "/habilitations", "/crl", "/journal",
     "/diagnostic", "/nouvelles"],
)  # fmt: skip
async def test_without_a_session_no_page_is_shown(service: Running, path: str) -> None:
    headers = {"Sec-Fetch-Site": "same-origin", "Cookie": f"{cookie_name(1)}=x"}
    async with service.call("GET", path, token=None, headers=headers) as response:
        assert response.status == 403
        assert CARD not in await response.text()
    async with service.call("GET", path, headers=headers) as response:
        assert response.status == 403, "a bearer token opens no page"


async def test_a_cookie_opens_no_call_of_the_api(browser: Browser) -> None:
    response, _ = await browser.get("/api/v1/cards")
    assert response.status == 401


async def test_a_page_is_refused_to_other_sites_even_with_the_cookie(browser: Browser) -> None:
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "null"}):
        response, body = await browser.get("/cartes", **headers)
        assert response.status == 403
        assert CARD not in body
    response, _ = await browser.get("/nouvelles", **{"Sec-Fetch-Site": "none"})
    assert response.status == 403


async def test_two_cookies_of_that_name_are_none(browser: Browser) -> None:
    response, _ = await browser.get("/cartes", Cookie=f"{browser.cookie}; {browser.cookie}")
    assert response.status == 403


async def test_a_form_needs_origin_kind_and_token(browser: Browser) -> None:
    path, form = f"/cartes/{CARD}/session", {"pin": PIN, "_jeton": await browser.token()}
    port = browser.port
    for headers in (
        {"Origin": ""},
        {"Origin": "null"},
        {"Origin": f"http://127.0.0.1:{port}.example.org"},
        {"Origin": f"http://localhost:{port}"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Cookie": ""},
    ):
        assert (await browser.post(path, form, **headers))[0] == 403, headers
    for kind in ("application/json", "text/plain", "multipart/form-data; boundary=x"):
        assert (await browser.post(path, form, **{"Content-Type": kind}))[0] == 415, kind
    for token in ("", "wrong", "é"):
        assert (await browser.post(path, {**form, "_jeton": token}))[0] == 403, token
    status, _, location = await browser.post(path, form)
    assert (status, location) == (303, "/demander")


async def test_a_form_of_another_session_is_refused(service: Running, browser: Browser) -> None:
    other = await signed_in(service)
    form = {"pin": PIN, "_jeton": await other.token()}
    assert (await browser.post(f"/cartes/{CARD}/session", form))[0] == 403


async def test_signing_out_ends_cookie_and_card_session(browser: Browser, service: Running) -> None:
    token = await browser.token()
    await browser.post(f"/cartes/{CARD}/session", {"pin": PIN, "_jeton": token})
    assert CARD in (await browser.get("/demander"))[1]
    assert (await browser.post("/quitter", {"_jeton": token}))[0] == 200
    assert (await browser.get("/demander"))[0].status == 403
    assert vars(service.services.sessions)["opened"] == {}


async def test_after_half_an_hour_the_browser_is_signed_out(tmp_path: Path) -> None:
    async with running(tmp_path) as service:
        browser = await signed_in(service)
        assert (await browser.get("/cartes"))[0].status == 200
        clock = service.services.clock
        assert isinstance(clock, ManualClock)
        clock.advance(timedelta(seconds=POLICY.idle_seconds + 1))
        response, body = await browser.get("/cartes")
        assert response.status == 403
        assert "cardd open" in body


async def test_what_a_page_does_by_itself_does_not_keep_the_session(
    browser: Browser, service: Running
) -> None:
    clock = service.services.clock
    assert isinstance(clock, ManualClock)
    for _ in range(2):
        assert (await browser.get("/", **{"Cardd-Live": "1"}))[0].status == 200
        assert (await browser.get("/cartes", **{"Cardd-Live": "1"}))[0].status == 200
        clock.advance(timedelta(seconds=POLICY.idle_seconds / 2 - 1))
    clock.advance(timedelta(seconds=3))
    assert (await browser.get("/cartes"))[0].status == 403


async def test_live_news_end_with_the_session(browser: Browser, service: Running) -> None:
    token = await browser.token()
    headers = {"Cookie": browser.cookie, "Sec-Fetch-Site": "same-origin"}
    async with service.call("GET", "/nouvelles", token=None, headers=headers) as response:
        assert response.status == 200
        assert response.content_type == "text/event-stream"
        assert await response.content.readline() == b": connected\n"
        assert (await browser.post("/quitter", {"_jeton": token}))[0] == 200
        with pytest.raises(aiohttp.ClientError):
            while await response.content.readany():
                pass


async def test_live_news_begin_after_what_the_page_shows(browser: Browser, service: Running) -> None:
    _, page = await browser.get("/cartes")
    (shown,) = re.findall(r'id="nouvelles" data-after="(\d+)"', page)
    await service.json("POST", "/api/v1/pairings", json={"name": "Logiciel", "scopes": ["read"]}, token=None)
    headers = {"Cookie": browser.cookie, "Sec-Fetch-Site": "same-origin"}
    async with service.call("GET", f"/nouvelles?apres={shown}", token=None, headers=headers) as response:
        lines = [await response.content.readline() for _ in range(4)]
    assert b"event: pairing.requested\n" in lines
    response, page = await browser.get("/nouvelles?apres=x", **{"Sec-Fetch-Site": "same-origin"})
    assert (response.status, "numéro d’un événement" in page) == (422, True)


async def test_a_form_leads_to_our_own_pages_only(browser: Browser) -> None:
    token = await browser.token()
    for back in ("https://evil.example/", "//evil.example", "/\\evil.example", "javascript:1", "/a\nb"):
        form = {"pin": PIN, "_jeton": token, "retour": back}
        assert (await browser.post(f"/cartes/{CARD}/session", form))[2] == "/demander", back
