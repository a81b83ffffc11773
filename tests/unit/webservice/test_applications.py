"""Pairing and consent as applications and owners call them."""

import asyncio
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import aiohttp

from cardd.applications.types import Scope
from cardd.clock import ManualClock
from cardd.events import EventType
from cardd_webservice.guard.policy import POLICY
from cardd_webservice.streams import StreamPolicy
from tests.support.browsing import signed_in
from tests.support.pairing import ORIGIN, paired
from tests.support.webservice import CARD, PIN, Running

PAIRINGS = "/api/v1/pairings"
ASK = {"name": "Logiciel", "scopes": ["read", "sign"], "origin": ORIGIN}
SIGN = {"role": "signature", "data": "AAAA"}


async def test_an_application_is_paired_listed_renamed_and_revoked(service: Running) -> None:
    status, ticket = await service.json("POST", PAIRINGS, token=None, json=ASK)
    assert (status, ticket["state"]) == (201, "pending")
    path, secret = f"{PAIRINGS}/{ticket['id']}", {"secret": ticket["secret"]}
    assert (await service.json("POST", f"{path}/token", token=None, json=secret))[1]["state"] == "pending"
    _, listed = await service.json("GET", PAIRINGS)
    assert [(each["code"], each["name"]) for each in listed["items"]] == [(ticket["code"], "Logiciel")]
    allowing = {"code": f"{ticket['code'][:3]} {ticket['code'][3:]}", "scopes": ["read"], "days": 3}
    status, application = await service.json("POST", f"{path}/approval", json=allowing)
    assert (status, application["scopes"], application["state"]) == (201, ["read"], "waiting")
    status, outcome = await service.json("POST", f"{path}/token", token=None, json=secret)
    assert (status, outcome["state"]) == (200, "allowed")
    token = outcome["token"]
    assert (await service.json("GET", "/api/v1/cards", token=token))[0] == 200
    status, again = await service.json("POST", f"{path}/token", token=None, json=secret)
    assert (status, again["state"]) == (410, "completed")
    name = f"/api/v1/applications/{application['id']}"
    assert (await service.json("PUT", name, json={"name": "Autre"}))[1]["name"] == "Autre"
    _, all_of_them = await service.json("GET", "/api/v1/applications")
    assert [each["name"] for each in all_of_them["items"]] == ["Autre"]
    assert token not in str(all_of_them)
    assert (await service.json("DELETE", name))[0] == 204
    assert (await service.json("GET", "/api/v1/cards", token=token))[0] == 401
    assert (await service.json("DELETE", name))[0] == 409


async def test_what_an_application_does_is_journalled_under_its_name(service: Running) -> None:
    token = await paired(service, Scope.ORDER)
    _, own = await service.json("GET", "/api/v1/applications/self", token=token)
    async with service.call(
        "POST", f"/api/v1/cards/{CARD}/session", token=token, json={"pin": PIN}
    ) as response:
        session = (await response.json())["id"]
    body = {
        "offer": "ORG", "usage": "AUTH_CLI", "structure": "318751275100020", "service": "S",
        "contacts": ["tests@example.org"],
    }  # fmt: skip
    headers = {"Card-Session": session}
    assert (await service.json("POST", "/api/v1/orders", token=token, json=body, headers=headers))[0] == 201
    line = (await service.services.store.journal(limit=1))[0]
    assert (line.action, line.actor) == ("order.create", f"card:{CARD}")
    assert line.details == {"by_application": own["id"]}


async def test_a_second_request_of_one_origin_and_too_many_are_refused(service: Running) -> None:
    assert (await service.json("POST", PAIRINGS, token=None, json=ASK))[0] == 201
    status, problem = await service.json("POST", PAIRINGS, token=None, json=ASK)
    assert (status, problem["type"]) == (409, "urn:cardd:error:pairing_pending")
    statuses = [(await service.json("POST", PAIRINGS, token=None, json=ASK))[0] for _ in range(10)]
    assert statuses[-1] == 429


async def test_one_key_of_two_callers_names_two_requests(service: Running) -> None:
    headers = {"Idempotency-Key": "same", "Sec-Fetch-Site": "cross-site"}
    tickets = []
    for origin in (ORIGIN, "https://other.example"):
        sent = {**headers, "Origin": origin}
        status, ticket = await service.json(
            "POST", PAIRINGS, token=None, json={"name": "x", "scopes": ["read"]}, headers=sent
        )
        assert status == 201
        tickets.append(ticket["secret"])
    assert tickets[0] != tickets[1]


async def _asked(service: Running) -> str:
    with service.services.bus.subscribe() as subscription:
        while (event := await subscription.next()).type is not EventType.CONSENT_ASKED:
            pass
    return str(event.data["consent"])


def _sign(service: Running, token: str, session: str) -> asyncio.Task[tuple[int, Any]]:
    path, headers = f"/api/v1/cards/{CARD}/sign", {"Card-Session": session}
    return asyncio.create_task(service.json("POST", path, token=token, json=SIGN, headers=headers))


async def test_the_holder_agrees_once_a_session(service: Running) -> None:
    token, session = await paired(service, Scope.SIGN), await service.session()
    asked = asyncio.create_task(_asked(service))
    signing = _sign(service, token, session)
    consent = await asked
    _, waiting = await service.json("GET", "/api/v1/consents")
    (question,) = waiting["items"]
    assert (question["id"], question["card"], question["use"]["role"]) == (consent, CARD, "signature")
    assert (await service.json("POST", f"/api/v1/consents/{consent}/approval"))[0] == 204
    assert (await signing)[0] == 200
    assert (await _sign(service, token, session))[0] == 200
    assert (await service.json("POST", f"/api/v1/consents/{consent}/approval"))[0] == 404


async def test_an_application_cannot_agree_in_the_holders_place(service: Running) -> None:
    token, session = await paired(service, Scope.OWNER), await service.session()
    asked = asyncio.create_task(_asked(service))
    signing = _sign(service, token, session)
    consent = await asked
    status, problem = await service.json("POST", f"/api/v1/consents/{consent}/approval", token=token)
    assert (status, problem["type"]) == (403, "urn:cardd:error:owner_required")
    assert (await service.json("POST", f"/api/v1/consents/{consent}/denial"))[0] == 204
    status, problem = await signing
    assert (status, problem["type"]) == (403, "urn:cardd:error:consent_denied")


async def test_the_owner_needs_no_consent(service: Running) -> None:
    assert (await _sign(service, "", await service.session()))[0] == 200


async def test_an_application_ends_the_session_that_it_names_only(service: Running) -> None:
    token, session = await paired(service, Scope.SIGN), await service.session()
    path = f"/api/v1/cards/{CARD}/session"
    assert (await service.json("DELETE", path, token=token))[0] == 403
    assert (await service.json("DELETE", path, token=token, headers={"Card-Session": session}))[0] == 204


async def test_consent_that_comes_after_a_revocation_is_worth_nothing(service: Running) -> None:
    token, session = await paired(service, Scope.SIGN), await service.session()
    _, own = await service.json("GET", "/api/v1/applications/self", token=token)
    asked = asyncio.create_task(_asked(service))
    signing = _sign(service, token, session)
    consent = await asked
    assert (await service.json("DELETE", f"/api/v1/applications/{own['id']}"))[0] == 204
    assert (await service.json("POST", f"/api/v1/consents/{consent}/approval"))[0] == 204
    assert (await signing)[0] == 401


async def _rest_of_stream(response: aiohttp.ClientResponse) -> bytes:
    async with asyncio.timeout(20):
        return await response.content.read()


async def test_who_is_revoked_hears_no_more(service: Running) -> None:
    token = await paired(service, Scope.READ)
    _, own = await service.json("GET", "/api/v1/applications/self", token=token)
    async with service.call("GET", "/api/v1/events", token=token) as response:
        assert await response.content.readline() == b": connected\n"
        await service.json("DELETE", f"/api/v1/applications/{own['id']}")
        assert b"event: application.revoked\n" in await _rest_of_stream(response)


async def test_a_stream_under_the_old_token_ends_with_it(service: Running) -> None:
    async with service.call("GET", "/api/v1/events") as response:
        assert await response.content.readline() == b": connected\n"
        assert (await service.json("POST", "/api/v1/owner/token-rotation"))[0] == 204
        assert b"event: owner.token_rotated\n" in await _rest_of_stream(response)
    assert (await service.json("GET", "/api/v1/cards"))[0] == 401


async def test_one_application_does_not_take_every_stream(service: Running) -> None:
    token = await paired(service, Scope.READ)
    async with AsyncExitStack() as stack:
        for _ in range(StreamPolicy().most_of_one):
            opened = await stack.enter_async_context(service.call("GET", "/api/v1/events", token=token))
            assert opened.status == 200
        async with service.call("GET", "/api/v1/events", token=token) as response:
            assert response.status == 503
        owner = await stack.enter_async_context(service.call("GET", "/api/v1/events"))
        assert owner.status == 200


async def test_a_new_owners_token_signs_every_browser_out(service: Running) -> None:
    browser = await signed_in(service)
    _, made = await service.json("POST", "/api/v1/ihm/links", json={})
    assert (await service.json("POST", "/api/v1/owner/token-rotation"))[0] == 204
    assert (await browser.get("/cartes"))[0].status == 403
    async with service.call("GET", made["path"], token=None, allow_redirects=False) as response:
        assert response.status == 403


async def test_wrong_tokens_are_slowed_down_and_the_right_one_never(service: Running) -> None:
    statuses = [
        (await service.json("GET", "/api/v1/cards", token=f"guess{number}"))[0]
        for number in range(POLICY.wrong_tokens.most + 1)
    ]
    assert set(statuses[:-1]) == {401}
    assert statuses[-1] == 429
    assert (await service.json("GET", "/api/v1/cards"))[0] == 200
    clock = service.services.clock
    assert isinstance(clock, ManualClock)
    clock.advance(timedelta(seconds=POLICY.wrong_tokens.seconds))
    assert (await service.json("GET", "/api/v1/cards", token="guess"))[0] == 401
