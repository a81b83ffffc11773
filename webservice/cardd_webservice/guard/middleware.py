"""The guard at work: every request passes here before anything else reads it."""

import socket
from collections.abc import Awaitable, Callable

from aiohttp import web

from cardd.audit import current_actor
from cardd.text import Text
from cardd_webservice.errors import ForeignPeerError, UnauthenticatedError
from cardd_webservice.guard.browsers import BROWSER, admit_browser
from cardd_webservice.guard.origins import check_host, check_origin
from cardd_webservice.guard.peers import may_call, peer_uid
from cardd_webservice.guard.policy import PAGE_ACCESS, POLICY, SECURITY_HEADERS, Access
from cardd_webservice.guard.tokens import OwnerToken

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

#: What pages may say for themselves.
_OWN_OF_PAGES = ("Content-Security-Policy", "Referrer-Policy")

OWNER = "owner"
ANONYMOUS = "anonymous"

TOKEN: web.AppKey[OwnerToken] = web.AppKey("token", OwnerToken)
#: What each route asks of its callers; a route that is not here is guarded by its path.
ACCESS: web.AppKey[dict[web.AbstractRoute, Access]] = web.AppKey("access")
#: Who calls: the owner, or nobody known.
CALLER: web.RequestKey[str] = web.RequestKey("caller", str)


@web.middleware
async def guard_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let the request pass, with its caller known, or refuse it."""
    access = access_of(request)
    port = own_port(request)
    name = check_host(POLICY, request.headers.getall("Host", []), request.raw_path, port)
    if access is not Access.PUBLICATION:
        fetch_site = request.headers.get("Sec-Fetch-Site")
        check_origin(POLICY, request.headers.getall("Origin", []), fetch_site, name, port)
    caller = _caller(request, access, port)
    request[CALLER] = caller
    acting = current_actor.set(caller)
    try:
        return await handler(request)
    finally:
        current_actor.reset(acting)


async def add_security_headers(_request: web.Request, response: web.StreamResponse) -> None:
    """Complete an answer that is about to be sent; an application's `on_response_prepare`."""
    own = {name: response.headers[name] for name in _OWN_OF_PAGES if name in response.headers}
    response.headers.update(SECURITY_HEADERS | own)


def access_of(request: web.Request) -> Access:
    """Return what the route of a request asks of its callers."""
    known = request.app[ACCESS].get(request.match_info.route)
    if known is not None:
        return known
    return Access.TOKEN if request.path.startswith(POLICY.guarded_prefixes) else Access.PUBLIC


def own_port(request: web.Request) -> int | None:
    """Return our port, or `None` on the Unix socket; raises `ForeignPeerError` unless its other end is the owner's."""
    connection = request.get_extra_info("socket")
    if connection is None:
        raise ForeignPeerError(Text("The caller has gone.", "L’appelant est parti."))
    if connection.family != getattr(socket, "AF_UNIX", None):
        return int(connection.getsockname()[1])
    if not may_call(uid := peer_uid(connection)):
        raise ForeignPeerError(Text(f"The user {uid} calls.", f"L’appel vient de l’utilisateur {uid}."))
    return None


def _caller(request: web.Request, access: Access, port: int | None) -> str:
    if access is Access.PUBLICATION:
        return ANONYMOUS
    if access in PAGE_ACCESS:
        request[BROWSER] = admit_browser(request, access, port)
        return OWNER
    presented = request.headers.getall("Authorization", [])
    if not presented:
        if access is Access.PUBLIC:
            return ANONYMOUS
        raise UnauthenticatedError(
            Text("The request carries no bearer token.", "La demande ne porte pas de jeton d’accès.")
        )
    scheme, _, value = presented[0].partition(" ")
    right = request.app[TOKEN].matches(value.strip())
    if len(presented) > 1 or scheme.lower() != "bearer" or not right:
        raise UnauthenticatedError(
            Text("The token is not the owner's.", "Le jeton n’est pas celui du propriétaire."),
            presented=True,
        )
    return OWNER
