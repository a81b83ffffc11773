"""Pages of other origins: nothing but for paired ones, and for those exactly what was granted."""

import pytest

from cardd.applications.types import Scope
from tests.support.pairing import ORIGIN, paired
from tests.support.webservice import Running

PAGE = {"Origin": ORIGIN, "Sec-Fetch-Site": "cross-site"}
CARDS = "/api/v1/cards"
PREFLIGHT = {
    **PAGE,
    "Access-Control-Request-Method": "GET",
    "Access-Control-Request-Headers": "authorization",
}


def _cors(headers: object) -> dict[str, str]:
    assert hasattr(headers, "items")
    return {
        name.lower(): value for name, value in headers.items() if name.lower().startswith("access-control")
    }


async def test_a_paired_page_reads_answers_and_errors_without_credentials(service: Running) -> None:
    token = await paired(service, Scope.READ, origin=ORIGIN)
    for path, status in ((CARDS, 200), ("/api/v1/cards/99999999", 404), ("/api/v1/audit", 403)):
        async with service.call("GET", path, token=token, headers=PAGE) as response:
            assert response.status == status
            cors = _cors(response.headers)
            assert cors["access-control-allow-origin"] == ORIGIN
            assert "access-control-allow-credentials" not in cors
            assert "Origin" in response.headers["Vary"]


async def test_the_preflight_of_a_paired_page_is_answered(service: Running) -> None:
    await paired(service, Scope.READ, origin=ORIGIN)
    async with service.call("OPTIONS", CARDS, token=None, headers=PREFLIGHT) as response:
        assert response.status == 204
        cors = _cors(response.headers)
        assert cors["access-control-allow-origin"] == ORIGIN
        assert "Authorization" in cors["access-control-allow-headers"]
        assert "access-control-allow-private-network" not in cors
    private = {**PREFLIGHT, "Access-Control-Request-Private-Network": "true"}
    async with service.call("OPTIONS", CARDS, token=None, headers=private) as response:
        assert response.headers["Access-Control-Allow-Private-Network"] == "true"


@pytest.mark.parametrize(
    "origin",
    ["null", "https://app.example.evil", "https://app.exampl", "http://app.example", "https://app.example:444",
     "https://sub.app.example", "https://other.example", "HTTPS://app.example", "https://app.example/", ""],
)  # fmt: skip
async def test_no_other_page_gets_a_preflight_or_an_answer(service: Running, origin: str) -> None:
    token = await paired(service, Scope.READ, origin=ORIGIN)
    for method, headers in (("OPTIONS", PREFLIGHT), ("GET", PAGE)):
        async with service.call(
            method, CARDS, token=token, headers={**headers, "Origin": origin}
        ) as response:
            assert response.status == 403
            assert _cors(response.headers) == {}


async def test_a_revoked_application_takes_its_origin_along(service: Running) -> None:
    token = await paired(service, Scope.READ, origin=ORIGIN)
    _, own = await service.json("GET", "/api/v1/applications/self", token=token)
    status, _ = await service.json("DELETE", f"/api/v1/applications/{own['id']}")
    assert status == 204
    async with service.call("OPTIONS", CARDS, token=None, headers=PREFLIGHT) as response:
        assert response.status == 403
        assert _cors(response.headers) == {}


async def test_a_token_works_in_pages_of_its_own_origin_only(service: Running) -> None:
    ours = await paired(service, Scope.READ, origin=ORIGIN)
    other = await paired(service, Scope.READ, origin="https://other.example")
    program = await paired(service, Scope.READ)
    for token in (other, program, service.token):
        async with service.call("GET", CARDS, token=token, headers=PAGE) as response:
            assert response.status == 403
            assert (await response.json(content_type=None))["type"] == "urn:cardd:error:origin_refused"
    async with service.call("GET", CARDS, token=ours, headers=PAGE) as response:
        assert response.status == 200


@pytest.mark.parametrize("path", ["/cartes", "/", "/ouvrir?lien=x", "/nouvelles", "/static/cardd.css"])
async def test_a_paired_page_gets_none_of_our_pages(service: Running, path: str) -> None:
    await paired(service, Scope.OWNER, origin=ORIGIN)
    async with service.call("OPTIONS", path, token=None, headers=PREFLIGHT) as response:
        assert "access-control-allow-origin" not in _cors(response.headers) or path in (
            "/",
            "/static/cardd.css",
        )
        if path not in ("/", "/static/cardd.css"):
            assert response.status in (403, 405)


@pytest.mark.parametrize(
    "path", ["/api/v1/pairings/x/approval", "/api/v1/ihm/links", "/api/v1/owner/token-rotation"]
)
async def test_what_the_owner_does_in_person_no_page_does(service: Running, path: str) -> None:
    await paired(service, Scope.OWNER, origin=ORIGIN)
    wanted = {**PREFLIGHT, "Access-Control-Request-Method": "POST"}
    async with service.call("OPTIONS", path, token=None, headers=wanted) as response:
        assert response.status == 403
        assert _cors(response.headers) == {}


async def test_any_protected_page_may_ask_to_be_paired_and_nothing_else(service: Running) -> None:
    wanted = {**PREFLIGHT, "Access-Control-Request-Method": "POST"}
    async with service.call("OPTIONS", "/api/v1/pairings", token=None, headers=wanted) as response:
        assert response.status == 204
        assert response.headers["Access-Control-Allow-Origin"] == ORIGIN
    for path in ("/api/v1/orders", "/api/v1/pairings/x/denial", "/api/v1/status"):
        async with service.call("OPTIONS", path, token=None, headers=wanted) as response:
            assert response.status == 403
            assert _cors(response.headers) == {}
    for origin in ("null", "http://app.example", "file://"):
        headers = {**wanted, "Origin": origin}
        async with service.call("OPTIONS", "/api/v1/pairings", token=None, headers=headers) as response:
            assert response.status == 403
    async with service.call("OPTIONS", "/api/v1/pairings", token=None, headers=PREFLIGHT) as response:
        assert response.status == 403, "pairings are listed for the owner only"
