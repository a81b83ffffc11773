"""The journal and its verification."""

from http import HTTPMethod
from typing import Any

from cardd.audit import ChainReport, JournalEntry
from cardd.orders.paging import Page, PageRequest
from cardd_webservice.operations import Call, Nothing, Operation, Reply
from cardd_webservice.paging import decode_cursor, encode_cursor, invalid_cursor

_TAG = "Service"
_MOST_DIGITS = 18


async def list_entries(call: Call[PageRequest]) -> Reply:
    """Answer a page of the journal, newest line first."""
    page = call.given
    before = _line_number(page.cursor) if page.cursor is not None else None
    entries = await call.services.store.journal(before=before, limit=page.limit)
    more = bool(entries) and len(entries) == page.limit and entries[-1].seq > 1
    cursor = encode_cursor(str(entries[-1].seq)) if more else None
    return Reply(Page(items=tuple(entries), next_cursor=cursor))


async def verify(call: Call[Nothing]) -> Reply:
    """Check every line of the journal against the one before it."""
    return Reply(await call.services.store.verify_journal())


def _line_number(cursor: str) -> int:
    position = decode_cursor(cursor)
    if not (position.isascii() and position.isdecimal() and len(position) <= _MOST_DIGITS):
        raise invalid_cursor()
    return int(position)


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method=HTTPMethod.GET,
        path="/audit",
        handler=list_entries,
        takes=PageRequest,
        answers=Page[JournalEntry],
        summary="Read the journal",
        tag=_TAG,
    ),
    Operation(
        method=HTTPMethod.GET,
        path="/audit/verification",
        handler=verify,
        takes=Nothing,
        answers=ChainReport,
        summary="Verify the journal",
        tag=_TAG,
    ),
)
