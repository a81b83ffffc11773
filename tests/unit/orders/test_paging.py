"""Pages and their cursors."""

import base64
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cardd.errors import InvalidFieldsError
from cardd.orders.paging import Position, decode_cursor, encode_cursor

MOMENTS = st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(9999, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@given(MOMENTS, st.from_regex(r"[0-9a-f]{1,64}", fullmatch=True))
def test_a_cursor_leads_back_to_its_position(at: datetime, identifier: str) -> None:
    position = Position(at, identifier)
    assert decode_cursor(encode_cursor(position)) == position


@given(st.text(max_size=100) | st.binary(max_size=80).map(lambda raw: base64.urlsafe_b64encode(raw).decode()))
def test_what_is_no_cursor_is_refused_by_its_field(cursor: str) -> None:
    with pytest.raises(InvalidFieldsError) as caught:
        decode_cursor(cursor)
    assert [problem.field for problem in caught.value.fields] == ["cursor"]


@pytest.mark.parametrize(
    "inside",
    [
        b'["0001-01-01T00:00:00+23:59","a"]', b'["9999-12-31T23:59:59-23:59","a"]', b'["2026-01-01T00:00:00","a"]',
        b'["2026-01-01T00:00:00Z","a\'; --"]', b'["2026-01-01T00:00:00Z","\\u0000"]', b"[]", b"{}", b"[1,2]",
    ],
)  # fmt: skip
def test_a_forged_cursor_is_refused(inside: bytes) -> None:
    with pytest.raises(InvalidFieldsError):
        decode_cursor(base64.urlsafe_b64encode(inside).decode())
