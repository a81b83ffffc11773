"""Readers and what is in them."""

from http import HTTPMethod
from typing import Any

from cardd.cards.types import ReaderView
from cardd_webservice.operations import READ, Call, Nothing, Operation, Reply


async def list_readers(call: Call[Nothing]) -> Reply:
    """Answer the readers present, whole: there are few."""
    return Reply(await call.services.presence.readers())


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method=HTTPMethod.GET,
        path="/readers",
        handler=list_readers,
        scopes=READ,
        takes=Nothing,
        answers=tuple[ReaderView, ...],
        summary="List readers",
        tag="Cards and readers",
    ),
)
