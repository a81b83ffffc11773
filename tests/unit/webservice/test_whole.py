"""Answers sent in one piece are those that the framework would send."""

from typing import Any

import pytest
from aiohttp import hdrs

from tests.support.webservice import Running

STATUS = "/api/v1/status?issuer=" + "ab" * 32 + "&serial=01"
OF_THE_CONNECTION = {hdrs.CONNECTION, hdrs.DATE}


@pytest.mark.parametrize(
    ("method", "path", "sent"),
    [
        ("GET", STATUS, {}),
        ("POST", "/api/v1/status", {"json": {"items": []}}),
        ("POST", "/ocsp", {"data": b"x", "headers": {"Content-Type": "application/ocsp-request"}}),
    ],
)
async def test_an_answer_is_the_same_whether_or_not_the_connection_goes_on(
    service: Running, method: str, path: str, sent: dict[str, Any]
) -> None:
    async with service.call(method, path, **sent) as ordinary:
        body = await ordinary.read()
    last = sent | {"headers": sent.get("headers", {}) | {"Connection": "close"}}
    async with service.call(method, path, **last) as ending:
        assert (ending.status, await ending.read()) == (ordinary.status, body)
    assert hdrs.CONNECTION not in ordinary.headers
    assert ending.headers[hdrs.CONNECTION] == "close"
    assert {hdrs.DATE, hdrs.CONTENT_LENGTH} < ordinary.headers.keys()
    kept, ended = (
        {name: value for name, value in each.headers.items() if name not in OF_THE_CONNECTION}
        for each in (ordinary, ending)
    )
    assert kept == ended


async def test_answers_to_requests_in_a_row_come_in_their_order_on_one_connection(service: Running) -> None:
    for number in range(3):
        async with service.call("GET", STATUS) as response:
            assert (await response.json())["status"] == "good", number
        async with service.call("GET", "/api/v1/status?issuer=no&serial=01") as refused:
            assert refused.status == 422, number
