"""Bodies: their kind, size and depth."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cardd_webservice.errors import MalformedJsonError
from cardd_webservice.guard.bodies import check_depth
from tests.support.webservice import Running, form, order_request

JSON = {"Content-Type": "application/json"}
PATH = "/api/v1/habilitations"


@given(st.binary(max_size=200))
def test_measuring_the_depth_never_fails_on_shallow_garbage(garbage: bytes) -> None:
    if garbage.count(b"[") + garbage.count(b"{") <= 32:
        check_depth(garbage, 32)


def test_brackets_inside_strings_are_not_nesting() -> None:
    check_depth(b'{"a": "' + b"[" * 1000 + b'", "b\\"[": "\\\\"}', 2)
    check_depth(b"[]" * 1000, 1)
    with pytest.raises(MalformedJsonError):
        check_depth(b'["\\"", [[]]]', 2)


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/jsonp",
        "",
    ],
)
async def test_only_json_is_taken(service: Running, content_type: str) -> None:
    headers = {"Content-Type": content_type}
    status, problem = await service.json("POST", PATH, data=b"{}", headers=headers)
    assert status == 415
    assert problem["type"] == "urn:cardd:error:unsupported_media_type"
    assert "application/json" in problem["advice"]


async def test_a_charset_beside_json_is_taken(service: Running) -> None:
    headers = {"Content-Type": "application/json; charset=utf-8"}
    status, _ = await service.json("POST", PATH, json=form(), headers=headers)
    assert status == 201


async def test_a_compressed_body_is_refused(service: Running) -> None:
    status, _ = await service.json("POST", PATH, data=b"x", headers=JSON | {"Content-Encoding": "gzip"})
    assert status == 415


async def test_ten_megabytes_are_refused_announced_or_not(service: Running) -> None:
    async def unannounced() -> object:
        for _ in range(10):
            yield b" " * 1024 * 1024

    for data in (io.BytesIO(b" " * 10 * 1024 * 1024), unannounced()):
        status, problem = await service.json("POST", PATH, data=data, headers=JSON)
        assert status == 413
        assert problem["type"] == "urn:cardd:error:body_too_large"


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'{"form":[{"x":'])
@pytest.mark.parametrize("repeats", [40, 70_000])
async def test_deep_json_is_answered_400(service: Running, opening: bytes, repeats: int) -> None:
    status, problem = await service.json("POST", PATH, data=io.BytesIO(opening * repeats), headers=JSON)
    assert status == 400
    assert problem["type"] == "urn:cardd:error:malformed_json"


@pytest.mark.parametrize("body", [b"{", b"{} x", b"\xff", b'{"a":"\\ud800"}', b"nul", b'{"a":1,}'])
async def test_what_is_not_json_is_answered_400(service: Running, body: bytes) -> None:
    status, problem = await service.json("POST", PATH, data=body, headers=JSON)
    assert status == 400
    assert problem["type"] == "urn:cardd:error:malformed_json"


@pytest.mark.parametrize("body", [b"[]", b"1", b"null", b'"text"'])
async def test_json_that_is_no_object_is_answered_422(service: Running, body: bytes) -> None:
    status, problem = await service.json("POST", PATH, data=body, headers=JSON)
    assert status == 422
    assert problem["fields"][0]["field"] == "body"


async def test_an_absent_body_is_an_empty_object(service: Running) -> None:
    status, _ = await service.json("POST", f"{PATH}/h1/approval")
    assert status == 200
    status, problem = await service.json("POST", PATH)
    assert status == 422
    assert problem["fields"] == [{"field": "structure_name", "problem": "is required"}]


async def test_headers_beyond_the_limit_are_refused(service: Running) -> None:
    for headers in ({"X-Long": "x" * 9000}, {f"X-{n}": "x" for n in range(200)}):
        async with service.call("GET", "/api/v1/health", headers=headers) as response:
            assert response.status == 400


async def test_a_query_beside_a_body_is_refused(service: Running) -> None:
    status, problem = await service.json("POST", "/api/v1/orders?x=1", json=order_request())
    assert status == 422
    assert problem["fields"][0]["field"] == "x"
