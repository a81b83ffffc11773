"""The tokens of this machine, for programs that use their keys themselves."""

from http import HTTPMethod
from typing import Any

from cardd.orders.paging import Page, PageRequest
from cardd_webservice.operations import Call, Operation, Reply
from cardd_webservice.paging import page_of
from cardd_webservice.services import TokenView


async def list_tokens(call: Call[PageRequest]) -> Reply:
    """Answer a page of the daemon's tokens, by serial; PINs are in the files named, never here."""
    return Reply(page_of(await call.services.tokens(), lambda token: token.serial, call.given))


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method=HTTPMethod.GET,
        path="/tokens",
        handler=list_tokens,
        takes=PageRequest,
        answers=Page[TokenView],
        summary="List tokens",
        tag="Keys",
    ),
)
