"""The calls of the API, as a client meets them."""

import re
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cardd.audit import current_actor
from cardd.health import HealthPart
from cardd.orders.filters import OrderFilters
from cardd.orders.paging import PageRequest
from cardd.orders.types import Offer
from cardd_webservice.api import OPERATIONS
from cardd_webservice.errors import NotAcceptableError
from cardd_webservice.negotiation import preferred
from cardd_webservice.openapi import openapi_document
from tests.support.webservice import CARD, CERTIFICATE, Running, order_request

CERTIFICATES = "/api/v1/certificates/4f1c0b2dab"


async def test_readers_are_a_list_and_cards_a_page(service: Running) -> None:
    status, readers = await service.json("GET", "/api/v1/readers")
    assert status == 200
    assert readers == [
        {
            "name": f"cardd SoftHSM {CARD}",
            "state": "present",
            "card": CARD,
            "generation": None,
            "atr": None,
        }
    ]
    _, page = await service.json("GET", "/api/v1/cards?limit=2")
    assert [card["serial"] for card in page["items"]] == ["00000017", "00000025"]
    _, rest = await service.json("GET", f"/api/v1/cards?cursor={page['next_cursor']}")
    assert [card["serial"] for card in rest["items"]] == ["00000033"]
    assert rest["next_cursor"] is None


async def test_a_card_s_keys_are_used_in_a_session_and_its_pin_unblocked_without(service: Running) -> None:
    headers = {"Card-Session": await service.session()}
    challenge = {"challenge": "AAAAAAAAAAAAAAAAAAAAAA=="}
    path = f"/api/v1/cards/{CARD}"
    status, answer = await service.json("POST", f"{path}/authenticate", json=challenge, headers=headers)
    assert (status, sorted(answer)) == (200, ["certificate", "mechanism", "signature", "signed"])
    status, answer = await service.json(
        "POST", f"{path}/decrypt", json={"ciphertext": "AAAA"}, headers=headers
    )
    assert (status, answer) == (200, {"plaintext": "cGxhaW4=", "mechanism": "rsa_pkcs"})
    for name, body in (("authenticate", challenge), ("decrypt", {"ciphertext": "AAAA"})):
        status, problem = await service.json("POST", f"{path}/{name}", json=body)
        assert (status, problem["type"]) == (403, "urn:cardd:error:card_session_required")
    codes = {"puk": "12345678", "new": "4321"}
    assert (await service.json("PUT", f"{path}/pin/unblock", json=codes))[0] == 204
    status, problem = await service.json("PUT", f"{path}/pin/unblock", json={"puk": "12345678"})
    assert (status, problem["fields"][0]["field"]) == (422, "new")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"), ("limit=501", "limit"), ("limit=x", "limit"), ("limit=", "limit"),
        ("limit=1&limit=2", "limit"),
        ("limit=1.5", "limit"), ("limit=99999999999999999999999", "limit"), ("page=2", "page"), ("cursor=é", "cursor"),
        ("cursor=%FF", "cursor"), ("cursor=____", "cursor"), ("cursor=a", "cursor"),
    ],
)  # fmt: skip
async def test_a_wrong_parameter_is_named(service: Running, query: str, field: str) -> None:
    for path in ("/api/v1/cards", "/api/v1/audit"):
        status, problem = await service.json("GET", f"{path}?{query}")
        assert status == 422, problem
        assert [found["field"] for found in problem["fields"]] == [field]


async def test_filters_reach_the_room_as_types(service: Running) -> None:
    assert (await service.json("GET", "/api/v1/orders?offer=ORG&q=insi&limit=7"))[1]["items"] == []
    filters, page, session = service.orders.asked[0]
    assert filters == OrderFilters(offer=Offer.ORG, q="insi")
    assert page == PageRequest(limit=7)
    assert session is None


@pytest.mark.parametrize("moment", ["2026", "2026-01-01", "2026-01-01T00:00:00", "tomorrow", "1"])
async def test_a_time_without_its_zone_is_refused(service: Running, moment: str) -> None:
    status, problem = await service.json("GET", f"/api/v1/certificates?expires_before={moment}")
    assert status == 422
    assert problem["fields"][0]["field"] == "expires_before"


async def test_ordering_needs_a_card_session(service: Running) -> None:
    status, problem = await service.json("POST", "/api/v1/orders", json=order_request())
    assert (status, problem["type"]) == (403, "urn:cardd:error:card_session_required")
    headers = {"Card-Session": "unknown"}
    status, problem = await service.json("POST", "/api/v1/orders", json=order_request(), headers=headers)
    assert (status, problem["type"]) == (403, "urn:cardd:error:card_session_unknown")


async def test_a_session_shows_what_its_card_is_authorised_for(service: Running) -> None:
    status, opened = await service.json("POST", f"/api/v1/cards/{CARD}/session", json={"pin": "1234"})
    assert status == 201
    assert opened["habilitations"] == [
        {
            "id": "h1",
            "structures": [{"id": "318751275100020", "name": "HOPITAL DE TEST"}],
            "offers": [{"offer": "ORG", "usages": ["AUTH_CLI"]}],
        }
    ]
    _, offers = await service.json("GET", "/api/v1/offers", headers={"Card-Session": opened["id"]})
    assert [offer["offer"] for offer in offers["items"]] == ["ORG"]
    _, offers = await service.json("GET", "/api/v1/offers")
    assert {offer["offer"] for offer in offers["items"]} == {"ORG", "SERV", "PRO", "PS"}


async def test_a_wrong_pin_says_how_many_tries_are_left(service: Running) -> None:
    status, problem = await service.json("POST", f"/api/v1/cards/{CARD}/session", json={"pin": "9999"})
    assert (status, problem["type"], problem["tries_left"]) == (403, "urn:cardd:error:pin_incorrect", 2)


async def test_who_acts_is_journalled(service: Running) -> None:
    headers = {"Card-Session": await service.session()}
    await service.json("POST", "/api/v1/orders", json=order_request(), headers=headers)
    _, page = await service.json("GET", "/api/v1/audit")
    assert page["items"][0]["actor"] == f"card:{CARD}"
    assert current_actor.get() == "daemon"
    _, report = await service.json("GET", "/api/v1/audit/verification")
    assert report["valid"] is True
    assert report["entries"] == 1


async def test_the_journal_is_read_page_by_page(service: Running) -> None:
    headers = {"Card-Session": await service.session()}
    for _ in range(5):
        await service.json("POST", "/api/v1/orders", json=order_request(), headers=headers)
    seen: list[int] = []
    cursor = ""
    while cursor is not None:
        _, page = await service.json("GET", f"/api/v1/audit?limit=2{cursor and f'&cursor={cursor}'}")
        seen += [line["seq"] for line in page["items"]]
        cursor = page["next_cursor"]
    assert seen == [5, 4, 3, 2, 1]


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("application/pkix-cert", "application/pkix-cert"),
        ("application/pem-certificate-chain, application/json;q=0.5", "application/pem-certificate-chain"),
        ("text/html, application/*;q=0.1", "application/json"),
    ],
)
async def test_a_certificate_is_handed_out_as_asked_for(
    service: Running, accept: str, media_type: str
) -> None:
    async with service.call("GET", CERTIFICATES, headers={"Accept": accept}) as response:
        assert response.status == 200
        assert response.content_type == media_type
        body = await response.read()
    if media_type == "application/pkix-cert":
        assert body == CERTIFICATE
    if media_type == "application/pem-certificate-chain":
        assert body.count(b"-----BEGIN CERTIFICATE-----\nMAMCAQU=\n-----END CERTIFICATE-----\n") == 2


@pytest.mark.parametrize("accept", ["application/x-pkcs12", "text/html, Application/PKCS12;q=0.9"])
async def test_a_pkcs12_file_is_refused_with_what_to_do_instead(service: Running, accept: str) -> None:
    status, problem = await service.json("GET", CERTIFICATES, headers={"Accept": accept})
    assert (status, problem["type"]) == (406, "urn:cardd:error:private_key_stays")
    assert "no copy of it can be made" in problem["detail"]
    assert "pkcs11_uri" in problem["advice"]


@pytest.mark.parametrize("ending", ["?format=p12", "?format=pfx", "?format=pkcs12", ".p12", ".pfx"])
async def test_a_pkcs12_file_asked_for_by_address_is_refused_in_the_same_words(
    service: Running, ending: str
) -> None:
    status, problem = await service.json("GET", CERTIFICATES + ending)
    assert (status, problem["type"]) == (406, "urn:cardd:error:private_key_stays")


async def test_who_takes_a_pkcs12_file_or_json_gets_json(service: Running) -> None:
    status, view = await service.json(
        "GET", CERTIFICATES, headers={"Accept": "application/x-pkcs12, application/json;q=0.1"}
    )
    assert (status, view["serial"]) == (200, "4f1c0b2dab")


async def test_a_media_type_that_does_not_exist_is_not_acceptable(service: Running) -> None:
    status, problem = await service.json("GET", CERTIFICATES, headers={"Accept": "image/png"})
    assert status == 406
    assert "application/pkix-cert" in problem["available"]


async def test_a_serial_is_found_in_either_case_and_answered_in_lower(service: Running) -> None:
    status, view = await service.json("GET", "/api/v1/certificates/4F1C0B2DAB")
    assert (status, view["serial"]) == (200, "4f1c0b2dab")


@pytest.mark.parametrize("serial", ["xyz", "00", "0x4f", "4f1c0b2dab%20", "%00", "é", "f" * 5000])
async def test_an_unknown_serial_is_not_found(service: Running, serial: str) -> None:
    status, problem = await service.json("GET", f"/api/v1/certificates/{serial}")
    assert (status, problem["type"]) == (404, "urn:cardd:error:not_found")


@given(st.text(max_size=60))
def test_no_accept_header_breaks_the_choice(accept: str) -> None:
    with suppress(NotAcceptableError):
        assert preferred(accept, ("a/b", "c/d")) in ("a/b", "c/d")


async def test_a_failing_part_is_seen_in_health(service: Running) -> None:
    await service.services.store.close()
    object.__setattr__(service.services, "health", _failing)
    status, health = await service.json("GET", "/api/v1/health", token=None)
    assert (status, health) == (503, {"status": "failing"})


async def _failing() -> tuple[Any, ...]:
    return (HealthPart(name="token host", ok=False),)


async def test_the_numbers_are_there_for_prometheus(service: Running) -> None:
    await service.json("GET", "/api/v1/orders/none")
    async with service.call("GET", "/metrics") as response:
        text = await response.text()
    assert 'route="/api/v1/orders/{id}",status="404"' in text
    assert 'none"' not in text


def test_every_operation_is_documented_once_under_a_name_of_its_own() -> None:
    document = openapi_document(OPERATIONS, "1")
    names = [call["operationId"] for path in document["paths"].values() for call in path.values()]
    assert len(names) == len(set(names)) == len(OPERATIONS)
    for path, calls in document["paths"].items():
        for call in calls.values():
            declared = {parameter["name"] for parameter in call["parameters"] if parameter["in"] == "path"}
            assert declared == set(re.findall(r"\{(\w+)\}", path))
            assert call["summary"]
            assert call["description"]
            assert any(status.startswith("2") for status in call["responses"])


async def test_the_session_named_is_closed_and_may_be_closed_again(service: Running) -> None:
    first, second = await service.session(), await service.session()
    for _ in range(2):
        headers = {"Card-Session": first}
        assert await service.json("DELETE", f"/api/v1/cards/{CARD}/session", headers=headers) == (204, None)
    assert (await service.json("GET", "/api/v1/orders", headers={"Card-Session": first}))[0] == 403
    assert (await service.json("GET", "/api/v1/orders", headers={"Card-Session": second}))[0] == 200
