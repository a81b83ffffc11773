"""The tokens of this machine: listed, their PINs exported for programs, and copies of them decided about."""

from http import HTTPMethod
from typing import Any

from cardd.custody.chain import NotQuarantinedError
from cardd.custody.tokens import PinNotExportableError
from cardd.custody.types import QuarantineOutcome, QuarantineRequest
from cardd.errors import NotFoundError
from cardd.orders.keycustody import CaTokenNotRevocableError
from cardd.orders.paging import Page, PageRequest
from cardd_webservice.operations import READ, Call, Nothing, Operation, Parameter, Reply
from cardd_webservice.paging import page_of
from cardd_webservice.services import TokenView

_TAG = "Keys"
_TOKEN = Parameter("serial", "The token: its serial, or its label.")


async def list_tokens(call: Call[PageRequest]) -> Reply:
    """Answer a page of the daemon's tokens, by serial; an exported PIN is in the file named, never here."""
    return Reply(page_of(await call.services.tokens(), lambda token: token.serial, call.given))


async def export_pin(call: Call[Nothing]) -> Reply:
    """Write a token's PIN into a file (0600), which `pkcs11_uri` names from then on; its level drops to `software`."""
    record = await call.services.keys.export_pin(call.path("serial"))
    return await _token(call, record.serial)


async def withdraw_pin(call: Call[Nothing]) -> Reply:
    """Give the token a new, sealed PIN and remove the file; copies made before still open with the old one."""
    record = await call.services.keys.withdraw_pin(call.path("serial"))
    return await _token(call, record.serial)


async def decide_quarantine(call: Call[QuarantineRequest]) -> Reply:
    """Decide about a token of which a copy was noticed: revoke what is on it, or release it."""
    return Reply(await call.services.keys.decide(call.path("serial"), call.given.decision))


async def _token(call: Call[Any], serial: str) -> Reply:
    return Reply(next(each for each in await call.services.tokens() if each.serial == serial))


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method=HTTPMethod.GET,
        path="/tokens",
        handler=list_tokens,
        scopes=READ,
        takes=PageRequest,
        answers=Page[TokenView],
        summary="List tokens",
        tag=_TAG,
    ),
    Operation(
        method=HTTPMethod.POST,
        path="/tokens/{serial}/pin-file",
        handler=export_pin,
        takes=Nothing,
        answers=TokenView,
        summary="Export a token's PIN for programs",
        tag=_TAG,
        parameters=(_TOKEN,),
        errors=(NotFoundError, PinNotExportableError),
    ),
    Operation(
        method=HTTPMethod.POST,
        path="/tokens/{serial}/pin-withdrawal",
        handler=withdraw_pin,
        takes=Nothing,
        answers=TokenView,
        summary="Take an exported PIN back",
        tag=_TAG,
        parameters=(_TOKEN,),
        errors=(NotFoundError, PinNotExportableError),
    ),
    Operation(
        method=HTTPMethod.POST,
        path="/tokens/{serial}/quarantine",
        handler=decide_quarantine,
        takes=QuarantineRequest,
        answers=QuarantineOutcome,
        summary="Decide about a token in quarantine",
        tag=_TAG,
        parameters=(_TOKEN,),
        errors=(NotFoundError, NotQuarantinedError, CaTokenNotRevocableError),
    ),
)
