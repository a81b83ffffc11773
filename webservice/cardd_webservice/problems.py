"""The one place where errors become `application/problem+json` (RFC 9457)."""

import errno
import secrets
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any

import msgspec
import structlog
from aiohttp import web

from cardd.errors import CarddError, InvalidFieldsError
from cardd.text import Language, Text, preferred_language
from cardd_webservice.errors import (
    BodyTooLargeError,
    RefusedError,
    ResourcesExhaustedError,
    UnauthenticatedError,
)
from cardd_webservice.guard.refusals import REFUSALS

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:cardd:error:"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_log = structlog.get_logger(__name__)
_NO_SUCH_PATH = Text("Nothing is served under this path.", "Rien n’est servi sous ce chemin.")
_SEE_OPENAPI = Text(
    "The calls are listed at `/api/v1/openapi.json`.", "Les appels sont listés dans `/api/v1/openapi.json`."
)


#: What the system says when descriptors, memory, processes or disk run out, wherever in the daemon that is met.
_RUN_OUT = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.ENOSPC, errno.EDQUOT, errno.EROFS}
)


class ProblemField(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with one field; `field` is a dotted path such as `key.source`."""

    field: str
    problem: str


class ProblemDocument(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An error answer (RFC 9457); errors add members of their own, such as `tries_left` or `conflict`."""

    type: str
    title: str
    status: int
    detail: str
    advice: str
    fields: tuple[ProblemField, ...] = ()


@web.middleware
async def problem_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer every error below as a problem document in the caller's language."""
    language = preferred_language(request.headers.get("Accept-Language", ""))
    try:
        return await handler(request)
    except CarddError as error:
        if isinstance(error, RefusedError):
            await request.app[REFUSALS].note(error.reason)
        elif error.status == HTTPStatus.TOO_MANY_REQUESTS:
            await request.app[REFUSALS].note(error.code)
        if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            _log.warning("request_failed", path=request.path, code=error.code, detail=error.detail.en)
        return problem(error, language)
    except web.HTTPRequestEntityTooLarge:
        await request.app[REFUSALS].note(BodyTooLargeError.reason)
        return problem(
            BodyTooLargeError(Text("The body is too large.", "Contenu trop volumineux.")), language
        )
    except web.HTTPException as error:
        if error.status < HTTPStatus.BAD_REQUEST:
            raise
        return _http_problem(error, language)
    except Exception as error:  # noqa: BLE001 (the one place that turns what nobody foresaw into an answer)
        if isinstance(error, OSError) and error.errno in _RUN_OUT:
            _log.error("resources_exhausted", path=request.path, why=error.strerror)
            return problem(ResourcesExhaustedError.of(error), language)
        return _unexpected(request, language)


def problem(error: CarddError, language: Language) -> web.Response:
    """Return the answer that tells of `error` in `language`."""
    standard = {
        "type": TYPE_PREFIX + error.code,
        "title": error.title.in_language(language),
        "status": error.status,
        "detail": error.detail.in_language(language),
        "advice": error.advice.in_language(language),
    }
    own = {name: _localised(value, language) for name, value in error.data.items() if name not in standard}
    document = standard | own
    if isinstance(error, InvalidFieldsError):
        document["fields"] = [
            {"field": field.field, "problem": field.problem.in_language(language)} for field in error.fields
        ]
    return _answer(document, language, _headers(error))


def _headers(error: CarddError) -> dict[str, str]:
    headers = {}
    if isinstance(error, UnauthenticatedError):
        wrong = ', error="invalid_token"' if error.data.get("presented") else ""
        headers["WWW-Authenticate"] = f'Bearer realm="cardd"{wrong}'
    retry_after = error.data.get("retry_after")
    if isinstance(retry_after, int):
        headers["Retry-After"] = str(retry_after)
    return headers


def _http_problem(error: web.HTTPException, language: Language) -> web.Response:
    """Turn an answer of the framework (404, 405, 413…) into a problem document."""
    status = HTTPStatus(error.status)
    detail, headers = Text(status.description or status.phrase, status.phrase), {}
    code, title = status.phrase.lower().replace(" ", "_"), Text(status.phrase, status.phrase)
    if status == HTTPStatus.NOT_FOUND:
        title, detail = Text("Not found", "Introuvable"), _NO_SUCH_PATH
    elif isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        headers["Allow"] = allowed
        title = Text("Method not allowed", "Méthode non admise")
        detail = Text(f"This path takes {allowed} only.", f"Ce chemin n’admet que {allowed}.")
    document = {
        "type": TYPE_PREFIX + code,
        "title": title.in_language(language),
        "status": status.value,
        "detail": detail.in_language(language),
        "advice": _SEE_OPENAPI.in_language(language),
    }
    return _answer(document, language, headers)


def _unexpected(request: web.Request, language: Language) -> web.Response:
    """Log what nobody foresaw and answer with its reference only."""
    reference = secrets.token_hex(4)
    _log.exception("unexpected_error", reference=reference, method=request.method, path=request.path)
    detail = Text(
        f"The daemon met an error of its own, logged as {reference}.",
        f"Le démon a rencontré une erreur interne, journalisée sous {reference}.",
    )
    advice = Text(
        f"Report it with the log lines that name {reference}.",
        f"Signalez-la avec les lignes du journal qui nomment {reference}.",
    )
    return problem(CarddError(detail, advice=advice, reference=reference), language)


def _answer(document: dict[str, Any], language: Language, headers: Mapping[str, str]) -> web.Response:
    return web.Response(
        status=document["status"],
        body=msgspec.json.encode(document, enc_hook=str),
        content_type=MEDIA_TYPE,
        headers={"Cache-Control": "no-store", "Content-Language": language, **headers},
    )


def _localised(value: Any, language: Language) -> Any:
    """Replace every `Text` inside `value` by its sentence."""
    match value:
        case Text():
            return value.in_language(language)
        case dict():
            return {name: _localised(member, language) for name, member in value.items()}
        case list() | tuple():
            return [_localised(member, language) for member in value]
        case _:
            return value
