"""Pages of sorted lists, with an opaque cursor that stays right while the list grows."""

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Generic, NamedTuple, TypeVar

import msgspec
import sqlalchemy as sa
from msgspec import Meta

from cardd.errors import FieldProblem, InvalidFieldsError
from cardd.orders.sorting import Sorting
from cardd.store.tables import UtcDateTime
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
    """The place of the last item of a page: what the list is sorted by, and the item's identifier."""

    key: datetime | str
    id: str


_Identifier = Annotated[str, Meta(pattern=r"^[0-9A-Za-z_.:-]{1,64}$")]


class _MomentCursor(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    key: Annotated[datetime, Meta(tz=True)]
    id: _Identifier


class _NameCursor(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    key: Annotated[str, Meta(pattern=r"^[^\x00]*$", max_length=256)]
    id: _Identifier


def encode_cursor(position: Position) -> str:
    """Return the opaque cursor of a position: base64url without padding."""
    key = position.key.astimezone(UTC) if isinstance(position.key, datetime) else position.key
    return urlsafe_b64encode(msgspec.json.encode((key, position.id))).decode().rstrip("=")


def decode_cursor(cursor: str, *, by_name: bool = False) -> Position:
    """Return the position that a cursor stands for, in a list sorted by time or by name.

    Raises `InvalidFieldsError` naming `cursor`.
    """
    try:
        padded = urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
        if by_name:
            name = msgspec.json.decode(padded, type=_NameCursor)
            return Position(name.key, name.id)
        moment = msgspec.json.decode(padded, type=_MomentCursor)
        return Position(moment.key.astimezone(UTC), moment.id)
    except (ValueError, OverflowError, binascii.Error, msgspec.DecodeError):
        raise InvalidFieldsError([FieldProblem("cursor", _INVALID)]) from None


def paged(
    selection: sa.Select[Any],
    page: PageRequest,
    sorting: Sorting,
    conditions: Sequence[sa.ColumnElement[bool]] = (),
) -> sa.Select[Any]:
    """Return the rows of `selection` that a page shows, and one row more.

    Which rows these are is found first, from an index alone; only they are then read whole.
    """
    shown = sa.select(sorting.identifier).where(*conditions, *after_cursor(page, sorting))
    chosen = sorting.identifier.in_(shown.order_by(*sorting.by).limit(page.limit + 1))
    return selection.where(chosen).order_by(*sorting.by)


def after_cursor(page: PageRequest, sorting: Sorting) -> list[sa.ColumnElement[bool]]:
    """Return the condition that a row comes after the page before; none on the first page.

    Raises `InvalidFieldsError` naming `cursor`.
    """
    if page.cursor is None:
        return []
    last = decode_cursor(page.cursor, by_name=not isinstance(sorting.key.type, UtcDateTime))
    place, before = _places(sorting, last)
    return [place < before if sorting.descending else place > before]


def up_to(sorting: Sorting, last: Position) -> sa.ColumnElement[bool]:
    """Return the condition that a row comes no later than another."""
    place, end = _places(sorting, last)
    return place >= end if sorting.descending else place <= end


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


def _places(sorting: Sorting, other: Position) -> tuple[sa.Tuple, sa.Tuple]:
    """Return a row's place in a list and another one, to be compared."""
    key, identifier = sorting.key, sorting.identifier
    there = sa.tuple_(sa.literal(other.key, key.type), sa.literal(other.id, identifier.type))
    return sa.tuple_(key, identifier), there


_INVALID = Text(
    "must be the `next_cursor` of a page of this list",
    "doit être le « next_cursor » d’une page de cette liste",
)
