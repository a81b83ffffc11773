"""Reading bodies: of the right kind, not too large, in time, and not too deep."""

import asyncio
import re

from aiohttp import web

from cardd.text import Text
from cardd_webservice.errors import (
    BodyTimeoutError,
    BodyTooLargeError,
    MalformedJsonError,
    UnsupportedMediaTypeError,
)
from cardd_webservice.guard.policy import POLICY

_JSON = "application/json"
_ALL_BUT_MARKS = bytes(set(range(256)) - set(b'[]{}"\\'))
_STRING_OR_BRACKET = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?|[\[\]{}]', re.DOTALL)


async def read_json_body(request: web.Request) -> bytes:
    """Return the body of a JSON request, still encoded; an absent body is an empty object."""
    raw = await read_body(request, _JSON)
    if not raw:
        return b"{}"
    check_depth(raw, POLICY.json_depth)
    return raw


async def read_body(request: web.Request, media_type: str) -> bytes:
    """Return a body of `media_type`, nothing when there is none; raises what the guard refuses."""
    if request.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
        raise UnsupportedMediaTypeError(
            Text("The body is compressed.", "Le contenu est compressé."),
            advice=Text("Send it as it is.", "Envoyez-le tel quel."),
        )
    if (request.content_length or 0) > POLICY.body_limit:
        raise _too_large()
    if request.body_exists:
        _check_media_type(request, media_type)
    return await _read(request)


def check_depth(document: bytes, most: int) -> None:
    """Raise `MalformedJsonError` where JSON is nested deeper than `most`; linear in its length."""
    if document.count(b"[") + document.count(b"{") <= most or _is_flat(document, most):
        return
    depth = 0
    for found in _STRING_OR_BRACKET.finditer(document):
        mark = found[0][:1]
        if mark in b"[{":
            depth += 1
            if depth > most:
                raise MalformedJsonError(
                    Text(
                        f"The JSON is nested more than {most} levels deep.",
                        f"Le JSON est imbriqué sur plus de {most} niveaux.",
                    )
                )
        elif mark in b"]}":
            depth -= 1


def _is_flat(document: bytes, most: int) -> bool:
    """Tell, without looking at each bracket, whether all come in pairs that are nested `most` levels deep or less.

    Strings with a bracket, a quote or a backslash in them leave more than pairs, and so nothing is told of them.
    """
    marks = document.translate(None, _ALL_BUT_MARKS).replace(b'""', b"")
    for _ in range(most):
        if not marks:
            return True
        marks = marks.replace(b"[]", b"").replace(b"{}", b"")
    return not marks


async def _read(request: web.Request) -> bytes:
    if request.content.is_eof():
        body = request.content.read_nowait()
        if len(body) > POLICY.body_limit:
            raise _too_large()
        return body
    chunks, size = [], 0
    try:
        async with asyncio.timeout(POLICY.body_seconds):
            async for chunk in request.content.iter_any():
                size += len(chunk)
                if size > POLICY.body_limit:
                    raise _too_large()
                chunks.append(chunk)
    except TimeoutError:
        raise BodyTimeoutError(
            Text(
                f"It was not there after {POLICY.body_seconds:g} s.",
                f"Il n’était pas là après {POLICY.body_seconds:g} s.",
            )
        ) from None
    return b"".join(chunks)


def _check_media_type(request: web.Request, media_type: str) -> None:
    given = request.headers.getall("Content-Type", [])
    if len(given) == 1 and given[0].partition(";")[0].strip().lower() == media_type:
        return
    shown = ", ".join(given)[:100] or "—"
    raise UnsupportedMediaTypeError(
        Text(f"The body is declared as {shown}.", f"Le contenu est déclaré comme {shown}."),
        advice=Text(f"Send `Content-Type: {media_type}`.", f"Envoyez `Content-Type: {media_type}`."),
        expected=media_type,
    )


def _too_large() -> BodyTooLargeError:
    return BodyTooLargeError(
        Text(
            f"The body exceeds {POLICY.body_limit} bytes.", f"Le contenu dépasse {POLICY.body_limit} octets."
        ),
        limit=POLICY.body_limit,
    )
