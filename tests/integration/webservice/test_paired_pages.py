"""A page of the Internet in a real Chromium: nothing before it is paired, then what was granted, then nothing again."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cardd.client import Client
from tests.support.served import Served, served
from tests.support.webservice import CARD

pytest.importorskip("playwright", reason="playwright drives the browser: pip install playwright")

from playwright import sync_api

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""
ORIGIN = "https://app.example"

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="pages are opened in Chromium: apt install chromium")

#: What a page does: a call with a token, of which it gets status and body, or the word of the browser that it may not.
_CALL = """async ([url, method, token, body]) => {
  const headers = {"Content-Type": "application/json"};
  if (token) headers.Authorization = `Bearer ${token}`;
  try {
    const answer = await fetch(url, {method, headers, body: body ? JSON.stringify(body) : undefined});
    return [answer.status, await answer.json()];
  } catch (error) {
    return [0, String(error)];
  }
}"""

Calling = Callable[..., tuple[int, Any]]


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path) as found:
        yield found


@pytest.fixture(scope="module")
def chromium() -> Iterator[sync_api.Browser]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def _page(chromium: sync_api.Browser, daemon: Served, *permissions: str) -> Calling:
    """Open a page of an application on the Internet, and return how it calls the daemon."""
    context = chromium.new_context(permissions=permissions)
    context.route(
        f"{ORIGIN}/**", lambda route: route.fulfill(content_type="text/html", body="<!doctype html>")
    )
    page = context.new_page()
    page.goto(ORIGIN)

    def call(method: str, path: str, token: str | None = None, body: Any = None) -> tuple[int, Any]:
        status, answer = page.evaluate(_CALL, [f"{daemon.address}/api/v1{path}", method, token, body])
        return int(status), answer

    return call


def test_a_paired_page_does_what_was_granted_and_nothing_else(
    chromium: sync_api.Browser, daemon: Served
) -> None:
    call, owner = _page(chromium, daemon, "local-network-access"), Client(daemon.address, daemon.token)
    assert call("GET", "/cards", daemon.token)[0] == 0, "a page that is not paired reads nothing"
    status, ticket = call("POST", "/pairings", None, {"name": "Page", "scopes": ["read", "sign"]})
    assert status == 201
    (asking,) = owner.get("/pairings").json()["items"]
    assert (asking["origin"], asking["code"]) == (ORIGIN, ticket["code"])
    path = f"/pairings/{ticket['id']}"
    assert call("POST", f"{path}/approval", daemon.token, {"code": ticket["code"]})[0] == 0
    owner.post(f"{path}/approval", {"code": ticket["code"], "scopes": ["read"]})
    status, outcome = call("POST", f"{path}/token", None, {"secret": ticket["secret"]})
    assert status == 200
    token = outcome["token"]
    status, cards = call("GET", "/cards", token)
    assert (status, cards["items"][0]["serial"]) == (200, CARD)
    for method, beyond in (
        ("GET", "/audit"),
        ("DELETE", "/orders/o1"),
        ("POST", f"/test-cards/{CARD}/remove"),
    ):
        status, problem = call(method, beyond, token, {} if method == "POST" else None)
        assert (status, problem["type"]) == (403, "urn:cardd:error:insufficient_scope")
    assert call("GET", "/cards", daemon.token)[0] == 403, "the owner's token is none for pages"
    owner.delete(f"/applications/{outcome['application']['id']}")
    assert call("GET", "/cards", token)[0] == 0


def test_without_its_users_permission_a_page_does_not_reach_this_machine(
    chromium: sync_api.Browser, daemon: Served
) -> None:
    if int(chromium.version.partition(".")[0]) < 142:
        pytest.skip("Chromium asks its user since version 142 only")
    call = _page(chromium, daemon)
    assert call("POST", "/pairings", None, {"name": "Page", "scopes": ["read"]})[0] == 0
    assert Client(daemon.address, daemon.token).get("/pairings").json()["items"] == []
