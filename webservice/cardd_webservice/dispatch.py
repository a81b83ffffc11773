"""From a declared operation to an aiohttp handler: decode, authorise, perform once, encode."""

from collections.abc import Awaitable, Callable
from functools import cache, partial
from http import HTTPMethod, HTTPStatus
from typing import Any

import msgspec
from aiohttp import hdrs, web
from multidict import istr

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
from cardd_webservice.whole import AnswerKind, WholeAnswer

KEEPER: web.AppKey[IdempotencyKeeper] = web.AppKey("idempotency", IdempotencyKeeper)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_SESSION = istr(SESSION_HEADER)


def handler_of(operation: Operation[Any]) -> Handler:
    """Return the aiohttp handler of an operation."""

    has_body = operation.has_body

    async def handle(request: web.Request) -> web.StreamResponse:
        if not has_body:
            return _answered(await _perform(operation, request, decoded_query(request, operation.takes)))
        given, raw = await decoded_body(request, operation.takes)
        if operation.method is HTTPMethod.POST:
            return await _perform_once(operation, request, given, raw)
        return _answered(await _perform(operation, request, given))

    handle.__name__ = operation.handler.__name__
    return handle


async def _perform_once(
    operation: Operation[Any], request: web.Request, given: msgspec.Struct, raw: bytes
) -> web.StreamResponse:
    async def performed() -> Reply:
        answer = await _perform(operation, request, given)
        if not isinstance(answer, Reply):
            raise TypeError("a POST does not answer with a stream")
        return answer

    async def perform() -> StoredAnswer:
        return _stored(await performed())

    async def render(kind: str, subject: str) -> StoredAnswer:
        value = await rendered(request.app[SERVICES], kind, subject)
        return _stored(Reply(value, status=operation.status))

    keeper = request.app[KEEPER]
    key = keeper.request_key(request, request[CALLER].account, raw)
    if key is None:
        return _answered(await performed())
    answer, repeated = await keeper.answer(key, operation.keeping, perform, render)
    response = _response(answer)
    if repeated:
        response.headers[REPLAYED] = "true"
    return response


def _perform(operation: Operation[Any], request: web.Request, given: msgspec.Struct) -> Awaitable[Answer]:
    named, services = _session_named(operation, request), request.app[SERVICES]
    if named is None:
        return operation.handler(Call(request=request, services=services, given=given))
    return _perform_in_session(operation, request, given, named)


async def _perform_in_session(
    operation: Operation[Any], request: web.Request, given: msgspec.Struct, named: str
) -> Answer:
    services = request.app[SERVICES]
    session = await services.sessions.get(named)
    call = Call(request=request, services=services, given=given, session=session)
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


def _session_named(operation: Operation[Any], request: web.Request) -> str | None:
    """Return the card session that a request names, where the operation takes one."""
    if operation.access not in (Access.TOKEN, Access.CARD) or operation.ends_session:
        return None
    named = request.headers.getall(_SESSION, ())
    if len(named) == 1 and named[0]:
        return named[0]
    if named or operation.access is Access.CARD:
        raise CardSessionRequiredError(
            Text(
                "The request names no card session, or several.",
                "La demande ne nomme aucune session de carte, ou plusieurs.",
            )
        )
    return None


def _answered(answer: Answer) -> web.StreamResponse:
    if not isinstance(answer, Reply):
        return answer
    if answer.headers or answer.status == HTTPStatus.NO_CONTENT:
        return _response(_stored(answer))
    return WholeAnswer(_kind(answer.status, answer.media_type), _body(answer))


@cache
def _kind(status: int, media_type: str) -> AnswerKind:
    """Return the kind of the answers of a status and type; both come from the operations' declarations."""
    return AnswerKind({hdrs.CONTENT_TYPE: media_type, hdrs.CACHE_CONTROL: "no-store"}, status, guarded=True)


def _body(reply: Reply) -> bytes:
    return msgspec.json.encode(reply.value) if reply.body is None else reply.body


def _stored(reply: Reply) -> StoredAnswer:
    is_empty = reply.body is None and reply.status == HTTPStatus.NO_CONTENT
    return StoredAnswer(
        status=int(reply.status),
        media_type=reply.media_type,
        body=b"" if is_empty else _body(reply),
        headers=reply.headers,
    )


def _response(answer: StoredAnswer) -> web.Response:
    headers = {hdrs.CACHE_CONTROL: "no-store", **answer.headers}
    if answer.status == HTTPStatus.NO_CONTENT:
        return web.Response(status=answer.status, headers=headers)
    return web.Response(
        status=answer.status, body=answer.body, headers={hdrs.CONTENT_TYPE: answer.media_type, **headers}
    )
