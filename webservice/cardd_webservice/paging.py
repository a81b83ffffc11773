"""Pages of the short lists that the rooms hand over whole."""

import base64
import binascii
from collections.abc import Callable, Iterable
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from cardd.errors import FieldProblem, InvalidFieldsError
from cardd.orders.paging import DEFAULT_LIMIT, GREATEST_LIMIT, Page, PageRequest
from cardd.text import Text

T = TypeVar("T")
F = TypeVar("F", bound=msgspec.Struct)

Limit = Annotated[int, Meta(ge=1, le=GREATEST_LIMIT, description="Most items of the page.")]
Cursor = Annotated[str, Meta(max_length=256, description="`next_cursor` of the page before.")]

_NOT_OURS = Text(
    "must be the `next_cursor` of a page of this list",
    "doit être le « next_cursor » d’une page de cette liste",
)


def page_of(items: Iterable[T], key: Callable[[T], str], page: PageRequest) -> Page[T]:
    """Cut the page asked for out of a whole list, in the order of `key`, which is unique."""
    after = decode_cursor(page.cursor) if page.cursor is not None else ""
    wanted = sorted((item for item in items if key(item) > after), key=key)
    shown = tuple(wanted[: page.limit])
    more = len(wanted) > len(shown)
    return Page(items=shown, next_cursor=encode_cursor(key(shown[-1])) if more else None)


def split_query(query: msgspec.Struct, filters: type[F]) -> tuple[F, PageRequest]:
    """Split the query of a list into its filters and the page asked for."""
    narrowed = filters(**{name: getattr(query, name) for name in filters.__struct_fields__})
    return narrowed, PageRequest(
        limit=getattr(query, "limit", DEFAULT_LIMIT), cursor=getattr(query, "cursor", None)
    )


def encode_cursor(position: str) -> str:
    """Return the opaque cursor of the page after `position`: base64url without padding."""
    return base64.urlsafe_b64encode(position.encode()).rstrip(b"=").decode()


def decode_cursor(cursor: str) -> str:
    """Return the position that `encode_cursor` was given; raises `InvalidFieldsError` naming `cursor`."""
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        return base64.b64decode(padded, altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeError):
        raise invalid_cursor() from None


def invalid_cursor() -> InvalidFieldsError:
    """Return the error of a cursor that no page of the list has given out."""
    return InvalidFieldsError([FieldProblem("cursor", _NOT_OURS)])
