"""The one place where errors become `application/problem+json` (RFC 9457)."""

import errno
import secrets
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
import structlog
from aiohttp import hdrs, web

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


async def told(request: web.Request, error: Exception) -> web.Response:
    """Return the problem document that tells of an error, in the caller's language.

    Raises `error` itself where it is none, but an answer of the framework such as a redirection.
    """
    language = preferred_language(request.headers.get(hdrs.ACCEPT_LANGUAGE, ""))
    match error:
        case CarddError():
            if isinstance(error, RefusedError):
                await request.app[REFUSALS].note(error.reason)
            elif error.status == HTTPStatus.TOO_MANY_REQUESTS:
                await request.app[REFUSALS].note(error.code)
            if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                _log.warning("request_failed", path=request.path, code=error.code, detail=error.detail.en)
            return problem(error, language)
        case web.HTTPRequestEntityTooLarge():
            await request.app[REFUSALS].note(BodyTooLargeError.reason)
            too_large = BodyTooLargeError(Text("The body is too large.", "Contenu trop volumineux."))
            return problem(too_large, language)
        case web.HTTPException():
            if error.status < HTTPStatus.BAD_REQUEST:
                raise error
            return _http_problem(error, language)
        case OSError() if error.errno in _RUN_OUT:
            _log.error("resources_exhausted", path=request.path, why=error.strerror)
            return problem(ResourcesExhaustedError.of(error), language)
        case _:
            return _unexpected(request, language, error)


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


def _unexpected(request: web.Request, language: Language, error: Exception) -> web.Response:
    """Log what nobody foresaw and answer with its reference only."""
    reference = secrets.token_hex(4)
    _log.error(
        "unexpected_error", reference=reference, method=request.method, path=request.path, exc_info=error
    )
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
