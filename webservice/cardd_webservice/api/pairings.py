"""Pairing: how an application asks to be let in, and how the owner decides."""

from http import HTTPMethod, HTTPStatus
from typing import Any

from aiohttp import web

from cardd.applications.errors import (
    PairingCodeIncorrectError,
    PairingDeniedError,
    PairingEndedError,
    PairingPendingError,
    TooManyPairingsError,
)
from cardd.applications.types import (
    ApplicationView,
    ApprovalRequest,
    PairingOutcome,
    PairingRequest,
    PairingTicket,
    PairingView,
    TokenRequest,
)
from cardd.errors import NotFoundError
from cardd.orders.paging import Page, PageRequest
from cardd.text import Text
from cardd_webservice.errors import TooManyAttemptsError
from cardd_webservice.guard.limits import Attempts
from cardd_webservice.guard.policy import Access
from cardd_webservice.operations import Call, Keeping, Nothing, Operation, Parameter, Reply
from cardd_webservice.paging import page_of

_TAG = "Applications"
_ID = Parameter("id", "The pairing.")
PAIRING_REQUESTS: web.AppKey[Attempts] = web.AppKey("pairing_requests", Attempts)


async def ask_pairing(call: Call[PairingRequest]) -> Reply:
    """Ask the owner to let an application in: show `code`, keep `secret`, and ask for the token every `interval`."""
    origin = call.request.headers.get("Origin")
    requests = call.request.app[PAIRING_REQUESTS]
    account = origin or "programs"
    wait = requests.wait(account)
    if wait:
        raise TooManyAttemptsError(
            Text("Too many pairings were asked for.", "Trop d’appairages ont été demandés."), retry_after=wait
        )
    requests.count(account)
    return Reply(await call.services.pairings.ask(call.given, origin), status=HTTPStatus.CREATED)


async def fetch_token(call: Call[TokenRequest]) -> Reply:
    """Answer what the owner decided; once allowed, with a token, until one is used."""
    return Reply(await call.services.pairings.fetch(call.path("id"), call.given.secret))


async def list_pairings(call: Call[PageRequest]) -> Reply:
    """Answer what waits for the owner's decision."""
    return Reply(page_of(await call.services.pairings.pending(), lambda each: each.id, call.given))


async def get_pairing(call: Call[Nothing]) -> Reply:
    """Answer one pairing, decided or not."""
    return Reply(await call.services.pairings.get(call.path("id")))


async def approve_pairing(call: Call[ApprovalRequest]) -> Reply:
    """Let an application in; `code` is what the application shows, `scopes` some of those that it asked for."""
    return Reply(await call.services.pairings.allow(call.path("id"), call.given), status=HTTPStatus.CREATED)


async def deny_pairing(call: Call[Nothing]) -> Reply:
    """Turn an application away."""
    await call.services.pairings.deny(call.path("id"))
    return Reply(status=HTTPStatus.NO_CONTENT)


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method=HTTPMethod.POST,
        path="/pairings",
        handler=ask_pairing,
        access=Access.PAIRING,
        takes=PairingRequest,
        answers=PairingTicket,
        summary="Ask to be paired",
        tag=_TAG,
        status=HTTPStatus.CREATED,
        errors=(PairingPendingError, TooManyPairingsError, TooManyAttemptsError),
        keeping=Keeping.MEMORY,
    ),
    Operation(
        method=HTTPMethod.POST,
        path="/pairings/{id}/token",
        handler=fetch_token,
        access=Access.PAIRING,
        takes=TokenRequest,
        answers=PairingOutcome,
        summary="Fetch the token of a pairing",
        tag=_TAG,
        parameters=(_ID,),
        errors=(NotFoundError, PairingCodeIncorrectError, PairingDeniedError, PairingEndedError),
        keeping=Keeping.MEMORY,
    ),
    Operation(
        method=HTTPMethod.GET,
        path="/pairings",
        handler=list_pairings,
        access=Access.IN_PERSON,
        takes=PageRequest,
        answers=Page[PairingView],
        summary="List pairings that wait for a decision",
        tag=_TAG,
    ),
    Operation(
        method=HTTPMethod.GET,
        path="/pairings/{id}",
        handler=get_pairing,
        access=Access.IN_PERSON,
        takes=Nothing,
        answers=PairingView,
        summary="Show a pairing",
        tag=_TAG,
        parameters=(_ID,),
        errors=(NotFoundError,),
    ),
    Operation(
        method=HTTPMethod.POST,
        path="/pairings/{id}/approval",
        handler=approve_pairing,
        access=Access.IN_PERSON,
        takes=ApprovalRequest,
        answers=ApplicationView,
        summary="Let an application in",
        tag=_TAG,
        status=HTTPStatus.CREATED,
        parameters=(_ID,),
        errors=(NotFoundError, PairingCodeIncorrectError, PairingEndedError),
    ),
    Operation(
        method=HTTPMethod.POST,
        path="/pairings/{id}/denial",
        handler=deny_pairing,
        access=Access.IN_PERSON,
        takes=Nothing,
        answers=None,
        summary="Turn an application away",
        tag=_TAG,
        status=HTTPStatus.NO_CONTENT,
        parameters=(_ID,),
        errors=(NotFoundError, PairingEndedError),
    ),
)
