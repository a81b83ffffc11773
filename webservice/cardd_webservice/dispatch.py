"""From a declared operation to an aiohttp handler: decode, authorise, perform once, encode."""

from collections.abc import Awaitable, Callable
from functools import partial
from http import HTTPMethod, HTTPStatus
from typing import Any

import msgspec
from aiohttp import web

from cardd.applications.types import ApplicationState
from cardd.audit import current_actor
from cardd.cards.errors import CardSessionRequiredError
from cardd.cards.sessions import CardSession
from cardd.text import Text
from cardd_webservice.errors import UnauthenticatedError
from cardd_webservice.guard.callers import CALLER
from cardd_webservice.guard.policy import Access
from cardd_webservice.idempotency import REPLAYED, IdempotencyKeeper, StoredAnswer
from cardd_webservice.inputs import decoded_body, decoded_query
from cardd_webservice.operations import SERVICES, SESSION_HEADER, Answer, Call, Operation, Reply
from cardd_webservice.replays import rendered

KEEPER: web.AppKey[IdempotencyKeeper] = web.AppKey("idempotency", IdempotencyKeeper)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def handler_of(operation: Operation[Any]) -> Handler:
    """Return the aiohttp handler of an operation."""

    has_body = operation.has_body

    async def handle(request: web.Request) -> web.StreamResponse:
        if not has_body:
            return _sent(await _perform(operation, request, decoded_query(request, operation.takes)))
        given, raw = await decoded_body(request, operation.takes)
        if operation.method is HTTPMethod.POST:
            return await _perform_once(operation, request, given, raw)
        return _sent(await _perform(operation, request, given))

    handle.__name__ = operation.handler.__name__
    return handle


async def _perform_once(
    operation: Operation[Any], request: web.Request, given: msgspec.Struct, raw: bytes
) -> web.Response:
    async def perform() -> StoredAnswer:
        answer = await _perform(operation, request, given)
        if not isinstance(answer, Reply):
            raise TypeError("a POST does not answer with a stream")
        return _stored(answer)

    async def render(kind: str, subject: str) -> StoredAnswer:
        value = await rendered(request.app[SERVICES], kind, subject)
        return _stored(Reply(value, status=operation.status))

    keeper = request.app[KEEPER]
    key = keeper.request_key(request, request[CALLER].account, raw)
    if key is None:
        return _response(await perform())
    answer, repeated = await keeper.answer(key, operation.keeping, perform, render)
    response = _response(answer)
    if repeated:
        response.headers[REPLAYED] = "true"
    return response


async def _perform(operation: Operation[Any], request: web.Request, given: msgspec.Struct) -> Answer:
    session = await _session(operation, request)
    call = Call(request=request, given=given, session=session)
    if session is None:
        return await operation.handler(call)
    await _ask_holder(operation, call, session)
    acting = current_actor.set(f"card:{session.card_serial}")
    try:
        return await operation.handler(call)
    finally:
        current_actor.reset(acting)


async def _ask_holder(operation: Operation[Any], call: Call[Any], session: CardSession) -> None:
    """Have the card's holder agree to what an application does with its key; the owner needs no such consent."""
    application = call.caller.application
    if operation.uses_key is None or application is None:
        return
    use, services = operation.uses_key(call.given), call.services
    asking = partial(services.consents.require, application, session.card_serial, session.id, use)
    await services.sessions.while_present(session, asking)
    if (await services.applications.get(application.id)).state is not ApplicationState.ACTIVE:
        raise UnauthenticatedError(
            Text("The application was revoked meanwhile.", "L’application a été révoquée entre-temps."),
            presented=True,
        )


async def _session(operation: Operation[Any], request: web.Request) -> CardSession | None:
    if operation.access not in (Access.TOKEN, Access.CARD) or operation.ends_session:
        return None
    named = request.headers.getall(SESSION_HEADER, [])
    if len(named) == 1 and named[0]:
        return await request.app[SERVICES].sessions.get(named[0])
    if named or operation.access is Access.CARD:
        raise CardSessionRequiredError(
            Text(
                "The request names no card session, or several.",
                "La demande ne nomme aucune session de carte, ou plusieurs.",
            )
        )
    return None


def _stored(reply: Reply) -> StoredAnswer:
    if reply.body is not None:
        body = reply.body
    elif reply.status == HTTPStatus.NO_CONTENT:
        body = b""
    else:
        body = msgspec.json.encode(reply.value)
    return StoredAnswer(
        status=int(reply.status), media_type=reply.media_type, body=body, headers=reply.headers
    )


def _sent(answer: Answer) -> web.StreamResponse:
    return _response(_stored(answer)) if isinstance(answer, Reply) else answer


def _response(answer: StoredAnswer) -> web.Response:
    headers = {"Cache-Control": "no-store", **answer.headers}
    if answer.status == HTTPStatus.NO_CONTENT:
        return web.Response(status=answer.status, headers=headers)
    return web.Response(
        status=answer.status, body=answer.body, headers={"Content-Type": answer.media_type, **headers}
    )
