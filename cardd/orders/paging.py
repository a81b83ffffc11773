"""Pages of lists: newest first, with an opaque cursor that stays right while the list grows."""

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Generic, NamedTuple, TypeVar

import msgspec
import sqlalchemy as sa
from msgspec import Meta

from cardd.errors import FieldProblem, InvalidFieldsError
from cardd.text import Text

DEFAULT_LIMIT = 50
GREATEST_LIMIT = 500

T = TypeVar("T")
R = TypeVar("R", bound=sa.Row[Any])


class PageRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which part of a list is asked for; `cursor` is the `next_cursor` of the page before."""

    limit: Annotated[int, Meta(ge=1, le=GREATEST_LIMIT)] = DEFAULT_LIMIT
    cursor: Annotated[str, Meta(max_length=256)] | None = None


class Page(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """A part of a list; `next_cursor` is None on the last page."""

    items: tuple[T, ...]
    next_cursor: str | None


class Position(NamedTuple):
    """The place of the last item of a page."""

    at: datetime
    id: str


class _Cursor(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    at: Annotated[datetime, Meta(tz=True)]
    id: Annotated[str, Meta(pattern=r"^[0-9A-Za-z_.:-]{1,64}$")]


def encode_cursor(position: Position) -> str:
    """Return the opaque cursor of a position: base64url without padding."""
    encoded = msgspec.json.encode(_Cursor(position.at.astimezone(UTC), position.id))
    return urlsafe_b64encode(encoded).decode().rstrip("=")


def decode_cursor(cursor: str) -> Position:
    """Return the position that a cursor stands for; raises `InvalidFieldsError` naming `cursor`."""
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        decoded = msgspec.json.decode(urlsafe_b64decode(padded), type=_Cursor)
        return Position(decoded.at.astimezone(UTC), decoded.id)
    except (ValueError, OverflowError, binascii.Error, msgspec.DecodeError):
        raise InvalidFieldsError([FieldProblem("cursor", _INVALID)]) from None


def paged(
    statement: sa.Select[Any], page: PageRequest, at: sa.ColumnElement[Any], identifier: sa.ColumnElement[Any]
) -> sa.Select[Any]:
    """Return `statement` limited to a page and one row more, newest first."""
    if page.cursor is not None:
        last = decode_cursor(page.cursor)
        statement = statement.where(sa.or_(at < last.at, sa.and_(at == last.at, identifier < last.id)))
    return statement.order_by(at.desc(), identifier.desc()).limit(page.limit + 1)


def page_of(
    rows: Sequence[R], page: PageRequest, view: Callable[[R], T], position: Callable[[R], Position]
) -> Page[T]:
    """Return the page made of the rows that `paged` selected."""
    shown = rows[: page.limit]
    more = len(rows) > page.limit
    return Page(
        items=tuple(view(row) for row in shown),
        next_cursor=encode_cursor(position(shown[-1])) if more else None,
    )


_INVALID = Text(
    "must be the `next_cursor` of a page of this list",
    "doit être le « next_cursor » d’une page de cette liste",
)
