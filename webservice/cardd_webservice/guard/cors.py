"""What pages of other origins may do: those of paired applications, exactly, and never with cookies (Fetch §3.2).

Chrome's Local Network Access asks the user, and needs nothing of us. Browsers that still follow its
predecessor, Private Network Access, ask by a header of the preflight, which is answered too.
"""

from http import HTTPMethod, HTTPStatus

from aiohttp import hdrs, web
from multidict import CIMultiDict, istr

from cardd_webservice.guard.policy import POLICY

#: The origin that a request was let in with; its answer names it.
LET_IN: web.RequestKey[str] = web.RequestKey("let_in", str)

_PRIVATE_NETWORK_ASKED = istr("Access-Control-Request-Private-Network")
_PRIVATE_NETWORK_GRANTED = istr("Access-Control-Allow-Private-Network")
_METHODS = (HTTPMethod.GET, HTTPMethod.POST, HTTPMethod.PUT, HTTPMethod.DELETE)
_REQUEST_HEADERS = (
    "Accept", "Accept-Language", "Authorization", "Card-Session", "Content-Type", "Idempotency-Key",
    "If-Modified-Since", "If-None-Match", "Last-Event-ID", "Range",
)  # fmt: skip
_ANSWER_HEADERS = (
    "Content-Disposition", "Content-Language", "ETag", "Idempotent-Replayed", "Last-Modified", "Retry-After",
    "WWW-Authenticate",
)  # fmt: skip


def wanted_method(request: web.Request) -> str | None:
    """Return the method that a preflight asks for; nothing where the request is no preflight."""
    if request.method != hdrs.METH_OPTIONS or hdrs.ORIGIN not in request.headers:
        return None
    return request.headers.get(hdrs.ACCESS_CONTROL_REQUEST_METHOD)


def preflight_answer(request: web.Request) -> web.Response:
    """Answer the preflight of an origin that is let in."""
    headers = {
        hdrs.ACCESS_CONTROL_ALLOW_METHODS: ", ".join(_METHODS),
        hdrs.ACCESS_CONTROL_ALLOW_HEADERS: ", ".join(_REQUEST_HEADERS),
        hdrs.ACCESS_CONTROL_MAX_AGE: str(POLICY.preflight_seconds),
    }
    if request.headers.get(_PRIVATE_NETWORK_ASKED, "").strip().lower() == "true":
        headers[_PRIVATE_NETWORK_GRANTED] = "true"
    return web.Response(status=HTTPStatus.NO_CONTENT, headers=headers)


def add_cors(request: web.Request, headers: CIMultiDict[str]) -> None:
    """Complete an answer: the origin let in, and that the answer is another for other origins."""
    if request.path.startswith(POLICY.guarded_prefixes):
        named = [hdrs.ORIGIN]
        if request.method == hdrs.METH_OPTIONS:
            named += [
                hdrs.ACCESS_CONTROL_REQUEST_METHOD,
                hdrs.ACCESS_CONTROL_REQUEST_HEADERS,
                _PRIVATE_NETWORK_ASKED,
            ]
        headers[hdrs.VARY] = ", ".join([*headers.getall(hdrs.VARY, []), *named])
    origin = request.get(LET_IN)
    if origin is not None:
        headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin
        headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = ", ".join(_ANSWER_HEADERS)
