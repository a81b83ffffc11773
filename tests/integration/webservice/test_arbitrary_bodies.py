"""Whatever JSON or bytes a caller sends, the answer is the caller's fault or a success, never ours."""

import http.client
import json
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cardd_webservice.api import OPERATIONS
from cardd_webservice.operations import Operation
from tests.integration.webservice.conftest import SESSION
from tests.support.served import Served
from tests.support.webservice import CARD, KNOWN_ORDER, certificate_view

_WITH_BODY = [operation for operation in OPERATIONS if operation.has_body]
_bounded = settings(
    max_examples=30,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)


def _bodies(kind: type[msgspec.Struct]) -> st.SearchStrategy[dict[str, Any]]:
    """Return objects that have the right names with any values, and some wrong names."""
    names = st.sampled_from([field.encode_name for field in msgspec.structs.fields(kind)] or ["x"])
    return st.dictionaries(names | st.text(max_size=10), json_values, max_size=12)


def _post(address: Served, operation: Operation[Any], body: bytes) -> tuple[int, str, Any]:
    path = operation.full_path.format(
        serial=certificate_view().serial if "/certificates/" in operation.path else CARD,
        spki_sha256="00" * 32,
        id=KNOWN_ORDER if "/orders/" in operation.path else "h1",
        name="x",
    )
    headers = {**address.authorization, "Card-Session": SESSION, "Content-Type": "application/json"}
    connection = http.client.HTTPConnection("127.0.0.1", urlsplit(address.address).port, timeout=10)
    try:
        connection.request(operation.method, path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        return answer.status, answer.headers.get_content_type(), json.loads(content) if content else None
    finally:
        connection.close()


def _check(status: int, media_type: str, answer: Any) -> None:
    assert status < 500, answer
    if status >= 400:
        assert media_type == "application/problem+json"
        assert answer["type"].startswith("urn:cardd:error:")
        assert answer["status"] == status
        assert answer["title"]
        assert answer["detail"]
        assert answer["advice"]
    if status == 422:
        assert answer["fields"]
        assert all(found["field"] and found["problem"] for found in answer["fields"])


@pytest.mark.parametrize("operation", _WITH_BODY, ids=lambda operation: operation.handler.__name__)
@given(data=st.data())
@_bounded
def test_any_json_is_answered_without_a_5xx(
    address: Served, operation: Operation[Any], data: st.DataObject
) -> None:
    body = data.draw(_bodies(operation.takes) | json_values)
    _check(*_post(address, operation, json.dumps(body).encode()))


@given(body=st.binary(max_size=200))
@_bounded
def test_any_bytes_are_answered_without_a_5xx(address: Served, body: bytes) -> None:
    _check(*_post(address, _WITH_BODY[0], body))
