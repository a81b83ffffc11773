"""The guard at work: every request passes here before anything else reads it. The rules are in `policy`."""

from collections.abc import Awaitable, Callable

from aiohttp import hdrs, web

from cardd.applications.identity import is_web_origin
from cardd.applications.registry import Applications
from cardd.applications.types import ApplicationView
from cardd.audit import current_actor, current_application
from cardd.text import Text
from cardd_webservice.errors import (
    ForeignOriginError,
    ForeignPeerError,
    OwnerRequiredError,
    ScopeMissingError,
    UnauthenticatedError,
)
from cardd_webservice.guard.browsers import BROWSER, admit_browser
from cardd_webservice.guard.callers import ANONYMOUS, ANOTHER_USER, CALLER, CALLERS, Caller
from cardd_webservice.guard.connections import Ends, keep_judgement, known_peer, last_judgement, peer_of
from cardd_webservice.guard.cors import LET_IN, add_cors, preflight_answer, wanted_method
from cardd_webservice.guard.judgements import Judgement
from cardd_webservice.guard.origins import Origin, check_host, foreign, origin_of, own_origin
from cardd_webservice.guard.policy import (
    ANY_SCOPE,
    LET_IN_KINDS,
    PAGE_ACCESS,
    POLICY,
    RULES,
    SECURITY_HEADERS,
    TOKEN_ACCESS,
    WITHOUT_CORS,
    Access,
    CallerKind,
    Demand,
    OriginKind,
)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

#: What pages may say for themselves.
_OWN_OF_PAGES = (hdrs.CONTENT_SECURITY_POLICY, hdrs.REFERRER_POLICY)

_NO_PAGE = Origin(OriginKind.NONE)

#: What each route asks of its callers; a route that is not here is guarded by its path.
DEMANDS: web.AppKey[dict[web.AbstractRoute, Demand]] = web.AppKey("demands")
APPLICATIONS: web.AppKey[Applications] = web.AppKey("applications", Applications)


async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let the request pass, with its caller known, or refuse it."""
    application = request.app
    demand = application[DEMANDS].get(request.match_info.route) or _demand_of_path(request.path)
    last, callers = last_judgement(request), application[CALLERS]
    if last is not None and last.covers(request, demand) and callers.still_good(last.caller, last.rotations):
        caller = last.caller
    else:
        judged = await _judged(request, demand)
        if judged is None:
            return preflight_answer(request)
        caller = judged
    request[CALLER] = caller
    acting = current_actor.set(caller.name)
    # Before a request no application acts: each puts back what it has set.
    through = current_application.set(caller.application.id) if caller.application is not None else None
    try:
        return await handler(request)
    finally:
        if through is not None:
            current_application.reset(through)
        current_actor.reset(acting)


async def _judged(request: web.Request, demand: Demand) -> Caller | None:
    """Return who calls, nothing where the preflight of an origin that is let in has to be answered; raises refusals."""
    application, headers = request.app, request.headers
    rotations = application[CALLERS].rotations
    ends, is_ours = known_peer(request) or await peer_of(request)
    name = check_host(POLICY, headers.getall(hdrs.HOST, ()), request.raw_path, ends.port)
    wanted = wanted_method(request)
    if wanted is not None:
        route = (await application.router.resolve(request.clone(method=wanted))).route
        demand = application[DEMANDS].get(route) or _demand_of_path(request.path)
    origin = _NO_PAGE
    if hdrs.ORIGIN in headers or hdrs.SEC_FETCH_SITE in headers:
        origin = await _origin_of(application, request, ends, name)
    if origin.kind not in RULES[demand.access].origins:
        raise foreign(origin)
    if origin.kind in LET_IN_KINDS and demand.access not in WITHOUT_CORS:
        request[LET_IN] = origin.value or ""
        if wanted is not None and is_ours:
            return None
    caller = await _caller(application, request, demand, origin, ends, is_ours=is_ours)
    if origin is _NO_PAGE and demand.access in TOKEN_ACCESS:
        keep_judgement(request, Judgement(request.raw_headers, demand, rotations, caller))
    return caller


async def add_security_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Complete an answer that is about to be sent; an application's `on_response_prepare`."""
    headers = response.headers
    own = [(name, headers[name]) for name in _OWN_OF_PAGES if name in headers]
    headers.update(SECURITY_HEADERS)
    headers.update(own)
    add_cors(request, headers)


def _demand_of_path(path: str) -> Demand:
    """Return what is asked of callers where no route is."""
    if path.startswith(POLICY.guarded_prefixes):
        return Demand(Access.TOKEN, ANY_SCOPE)
    return Demand(Access.PUBLIC)


async def _origin_of(application: web.Application, request: web.Request, ends: Ends, name: str) -> Origin:
    headers = request.headers
    origins, fetch_site = headers.getall(hdrs.ORIGIN, ()), headers.get(hdrs.SEC_FETCH_SITE)
    own = None if ends.port is None else own_origin(name, ends.port, is_tls=ends.is_tls)
    origin = origin_of(POLICY, origins, fetch_site, own)
    if origin.kind is not OriginKind.FOREIGN or origin.value is None or ends.port is None:
        return origin
    if origin.value in await application[APPLICATIONS].origins():
        return Origin(OriginKind.PAIRED, origin.value)
    is_ours_elsewhere = any(
        origin.value == own_origin(each, ends.port, is_tls=ends.is_tls) for each in POLICY.hosts
    )
    is_protected = is_web_origin(origin.value) and not is_ours_elsewhere
    return Origin(OriginKind.PROTECTED, origin.value) if is_protected else origin


async def _caller(
    application: web.Application,
    request: web.Request,
    demand: Demand,
    origin: Origin,
    ends: Ends,
    *,
    is_ours: bool,
) -> Caller:
    """Return who calls, where the rules let that caller in; raises what they do not."""
    rule = RULES[demand.access]
    if demand.access is Access.PUBLICATION or (demand.access is Access.ENTRY and is_ours):
        return ANONYMOUS if is_ours else ANOTHER_USER
    if demand.access in PAGE_ACCESS and is_ours:
        request[BROWSER] = admit_browser(request, demand.access, ends.port)
        return Caller(CallerKind.BROWSER)
    page = origin.value if origin.kind in LET_IN_KINDS else None
    caller = await application[CALLERS].identify(request, is_this_user=is_ours, origin=page)
    if caller.kind is CallerKind.OTHER_USER:
        raise ForeignPeerError(
            Text("Another user of this machine calls.", "Un autre utilisateur de cette machine appelle.")
        )
    if caller.kind not in rule.callers:
        raise _not_for(caller)
    if page is not None:
        _check_own_page(caller, page)
    if demand.access in TOKEN_ACCESS and caller.application is not None:
        _check_scope(caller.application, demand)
    return caller


def _check_own_page(caller: Caller, page: str) -> None:
    """Refuse a token in a page of another origin than the one it was given to."""
    stolen = caller.application is not None and caller.application.origin != page
    if stolen or caller.kind is CallerKind.OWNER:
        raise ForeignOriginError(
            Text(
                f"The token was not given to pages of “{page[:100]}”.",
                f"Ce jeton n’a pas été donné aux pages de « {page[:100]} ».",
            )
        )


def _not_for(caller: Caller) -> UnauthenticatedError | OwnerRequiredError:
    if caller.kind is CallerKind.USER:
        return UnauthenticatedError(
            Text("The request carries no bearer token.", "La demande ne porte pas de jeton d’accès.")
        )
    return OwnerRequiredError(
        Text(
            "This is for the owner's own token, not for that of an application.",
            "Cette opération demande le jeton du propriétaire, non celui d’une application.",
        )
    )


def _check_scope(application: ApplicationView, demand: Demand) -> None:
    if application.may(demand.scopes):
        return
    needed = ", ".join(sorted(demand.scopes))
    held = ", ".join(application.scopes)
    raise ScopeMissingError(
        Text(
            f"The application holds: {held}; this needs one of: {needed}.",
            f"L’application détient : {held} ; il faut l’un de : {needed}.",
        ),
        scopes=sorted(demand.scopes),
    )
