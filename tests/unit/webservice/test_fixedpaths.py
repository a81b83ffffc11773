"""Fixed paths are answered as the framework's router would have them answered."""

import asyncio
from urllib.parse import urlsplit

from yarl import URL

from tests.support.webservice import Running

CARDS = "/api/v1/cards"
#: The same path in words that only the router understands.
IN_OTHER_WORDS = "/api/v1/c%61rds"


async def _get(service: Running, path: str, token: str | None) -> tuple[int, bytes]:
    """Ask for a path, sent as it is written."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    async with service.http.get(URL(service.address + path, encoded=True), headers=headers) as response:
        return response.status, await response.read()


async def test_a_path_is_answered_and_guarded_however_it_is_written(service: Running) -> None:
    for token, status in ((service.token, 200), (None, 401), ("wrong", 401)):
        plain, other = [await _get(service, path, token) for path in (CARDS, IN_OTHER_WORDS)]
        assert plain[0] == status
        assert plain == other


async def test_both_ways_are_counted_under_one_route_and_what_leads_nowhere_under_none(
    service: Running,
) -> None:
    for path in (CARDS, CARDS, IN_OTHER_WORDS):
        assert (await _get(service, path, service.token))[0] == 200
    for path in ("/api/v1/x", "/api/v1/y"):
        assert (await service.json("GET", path))[0] == 404
    counted = service.services.metrics.get_sample_value
    of_cards = {"method": "GET", "route": CARDS, "status": "200"}
    assert counted("cardd_http_requests_total", of_cards) == 3
    assert counted("cardd_http_request_seconds_count", {"route": CARDS}) == 3
    assert counted("cardd_http_requests_total", {"method": "GET", "route": "none", "status": "404"}) == 2


async def test_another_method_of_a_fixed_path_is_not_allowed(service: Running) -> None:
    async with service.call("DELETE", CARDS) as response:
        assert response.status == 405
        assert response.headers["Content-Type"].startswith("application/problem+json")
    async with service.call("DELETE", CARDS, token=None) as response:
        assert response.status == 401


async def test_a_caller_that_waits_to_be_told_to_go_on_is_told(service: Running) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(service.address).port)
    try:
        head = (
            f"Host: 127.0.0.1\r\nAuthorization: Bearer {service.token}\r\nContent-Type: application/json\r\n"
        )
        writer.write(
            f"POST /api/v1/status HTTP/1.1\r\n{head}Expect: 100-continue\r\nContent-Length: 12\r\n\r\n".encode()
        )
        async with asyncio.timeout(20):
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
            writer.write(b'{"items":[]}')
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
    finally:
        writer.close()
