"""The guard at work: every request passes here before anything else reads it."""

import socket
from collections.abc import Awaitable, Callable

from aiohttp import web

from cardd.audit import current_actor
from cardd.text import Text
from cardd_webservice.errors import ForeignPeerError, UnauthenticatedError
from cardd_webservice.guard.origins import check_host, check_origin
from cardd_webservice.guard.peers import may_call, peer_uid
from cardd_webservice.guard.policy import POLICY, SECURITY_HEADERS, Access
from cardd_webservice.guard.tokens import OwnerToken

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_PAGE_POLICY = "Content-Security-Policy"

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
    access = _access(request)
    port = _check_connection(request)
    name = check_host(POLICY, request.headers.getall("Host", []), request.raw_path, port)
    if access is not Access.PUBLICATION:
        fetch_site = request.headers.get("Sec-Fetch-Site")
        check_origin(POLICY, request.headers.getall("Origin", []), fetch_site, name, port)
    caller = ANONYMOUS if access is Access.PUBLICATION else _caller(request, access)
    request[CALLER] = caller
    acting = current_actor.set(caller)
    try:
        return await handler(request)
    finally:
        current_actor.reset(acting)


async def add_security_headers(_request: web.Request, response: web.StreamResponse) -> None:
    """Complete an answer that is about to be sent; an application's `on_response_prepare`."""
    policy = response.headers.get(_PAGE_POLICY)
    response.headers.update(SECURITY_HEADERS)
    if policy is not None:
        response.headers[_PAGE_POLICY] = policy


def _access(request: web.Request) -> Access:
    known = request.app[ACCESS].get(request.match_info.route)
    if known is not None:
        return known
    return Access.TOKEN if request.path.startswith(POLICY.guarded_prefixes) else Access.PUBLIC


def _check_connection(request: web.Request) -> int | None:
    """Return our port, or `None` on the Unix socket, whose other end must be the owner's."""
    connection = request.get_extra_info("socket")
    if connection is None:
        raise ForeignPeerError(Text("The caller has gone.", "L’appelant est parti."))
    if connection.family != getattr(socket, "AF_UNIX", None):
        return int(connection.getsockname()[1])
    if not may_call(uid := peer_uid(connection)):
        raise ForeignPeerError(Text(f"The user {uid} calls.", f"L’appel vient de l’utilisateur {uid}."))
    return None


def _caller(request: web.Request, access: Access) -> str:
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
