"""`/applications` and the questions to the holder, in a signed-in browser."""

import asyncio

import pytest

from cardd.applications.types import Scope
from cardd.events import EventType
from tests.support.browsing import Browser, signed_in
from tests.support.pairing import ORIGIN, paired
from tests.support.webservice import CARD, Running

PAGE = "/applications"


@pytest.fixture
async def browser(service: Running) -> Browser:
    return await signed_in(service)


async def _ask(service: Running, *scopes: str) -> dict[str, str]:
    body = {"name": "<b>Logiciel</b>", "scopes": scopes, "origin": ORIGIN}
    status, ticket = await service.json("POST", "/api/v1/pairings", token=None, json=body)
    assert status == 201
    return dict(ticket)


async def _outcome(service: Running, ticket: dict[str, str]) -> tuple[int, dict[str, str]]:
    path = f"/api/v1/pairings/{ticket['id']}/token"
    status, outcome = await service.json("POST", path, token=None, json={"secret": ticket["secret"]})
    return status, outcome


async def test_an_empty_page_says_what_will_be_there(browser: Browser) -> None:
    _, body = await browser.get(PAGE)
    assert "Aucune application ne demande à être admise" in body
    assert "Aucune application n’a encore été admise" in body


async def test_an_application_is_let_in_for_what_is_ticked(service: Running, browser: Browser) -> None:
    ticket = await _ask(service, "read", "order", "owner")
    _, body = await browser.get(PAGE)
    assert f"{ticket['code'][:3]}&#8239;{ticket['code'][3:]}" in body
    assert "&lt;b&gt;Logiciel&lt;/b&gt;" in body
    assert "<b>Logiciel" not in body
    assert ORIGIN in body
    assert 'value="read" checked' in body
    assert 'value="owner" checked' not in body, "everything is given only by a tick of one's own"
    path = f"{PAGE}/demandes/{ticket['id']}/admettre"
    form = {"_jeton": await browser.token(), "code": ticket["code"], "days": "7"}
    status, body, _ = await browser.post(path, form)
    assert status == 422
    assert "il faut en cocher au moins une" in body
    status, _, location = await browser.post(path, form | {"scopes": "read"})
    assert (status, location) == (303, PAGE)
    status, outcome = await _outcome(service, ticket)
    assert status == 200
    _, own = await service.json("GET", "/api/v1/applications/self", token=outcome["token"])
    assert own["scopes"] == ["read"]
    _, body = await browser.get(PAGE)
    assert "Admise" in body
    assert outcome["token"] not in body


async def test_an_application_is_turned_away(service: Running, browser: Browser) -> None:
    ticket = await _ask(service, "read")
    form = {"_jeton": await browser.token()}
    assert (await browser.post(f"{PAGE}/demandes/{ticket['id']}/refuser", form))[0] == 303
    assert (await _outcome(service, ticket))[0] == 403
    status, body, _ = await browser.post(f"{PAGE}/demandes/{ticket['id']}/refuser", form)
    assert status == 410
    assert "Cet appairage est terminé" in body


async def test_an_application_is_renamed_and_revoked(service: Running, browser: Browser) -> None:
    token = await paired(service, Scope.READ)
    _, own = await service.json("GET", "/api/v1/applications/self", token=token)
    form = {"_jeton": await browser.token()}
    assert (await browser.post(f"{PAGE}/{own['id']}/renommer", form | {"name": "Bureau"}))[0] == 303
    assert "Bureau" in (await browser.get(PAGE))[1]
    assert (await browser.post(f"{PAGE}/{own['id']}/revoquer", form))[0] == 303
    assert (await service.json("GET", "/api/v1/cards", token=token))[0] == 401
    assert "Révoquée" in (await browser.get(PAGE))[1]


@pytest.mark.parametrize(("answer", "expected"), [("accepter", 200), ("refuser", 403)])
async def test_the_holder_is_asked_on_every_page(
    service: Running, browser: Browser, answer: str, expected: int
) -> None:
    token, session = await paired(service, Scope.SIGN), await service.session()
    with service.services.bus.subscribe() as subscription:
        signing = asyncio.create_task(
            service.json(
                "POST", f"/api/v1/cards/{CARD}/sign", token=token,
                json={"role": "signature", "data": "AAAA"}, headers={"Card-Session": session},
            )
        )  # fmt: skip
        while (event := await subscription.next()).type is not EventType.CONSENT_ASKED:
            pass
    consent = event.data["consent"]
    for path in ("/", "/cartes", "/journal", PAGE):
        _, body = await browser.get(path)
        assert f"/applications/usages/{consent}/{answer}" in body
        assert f"veut utiliser la carte {CARD}" in body
        assert "clé de signature" in body
    _, english = await browser.get("/cartes?lang=en")
    assert f"wants to use card {CARD}" in english
    form = {"_jeton": await browser.token()}
    assert (await browser.post(f"/applications/usages/{consent}/{answer}", form))[0] == 303
    assert (await signing)[0] == expected
    assert "veut utiliser" not in (await browser.get("/cartes"))[1]
