"""The pages' addresses, how a request becomes a visit, and how what goes wrong becomes a page."""

import secrets
from collections.abc import Awaitable, Callable
from http import HTTPMethod
from pathlib import Path

import structlog
from aiohttp import web

from cardd.audit import current_actor
from cardd.errors import CarddError
from cardd.text import Text
from cardd_webservice.api.ihm import SIGN_IN_PATH
from cardd_webservice.errors import RefusedError, UnauthenticatedError
from cardd_webservice.guard.browsers import BROWSER, LIVE_HEADER, known_browser
from cardd_webservice.guard.connections import own_port
from cardd_webservice.guard.policy import Access
from cardd_webservice.guard.refusals import REFUSALS
from cardd_webservice.ihm import (
    applications,
    cards,
    diagnostic,
    habilitations,
    journal,
    live,
    ordering,
    possession,
    published,
    retrieval,
    revocation,
    signin,
    state,
    tracking,
)
from cardd_webservice.ihm.forms import read_form
from cardd_webservice.ihm.language import page_language
from cardd_webservice.ihm.visit import PageRoute, Visit, card_of
from cardd_webservice.operations import SERVICES
from cardd_webservice.services import Services

ROUTES: tuple[PageRoute, ...] = (
    *signin.ROUTES,
    *state.ROUTES,
    *cards.ROUTES,
    *ordering.ROUTES,
    *retrieval.ROUTES,
    *possession.ROUTES,
    *tracking.ROUTES,
    *revocation.ROUTES,
    *habilitations.ROUTES,
    *published.ROUTES,
    *applications.ROUTES,
    *journal.ROUTES,
    *diagnostic.ROUTES,
    *live.ROUTES,
)

_STATIC = Path(__file__).parent / "static"
_PAGES: web.AppKey[frozenset[web.AbstractRoute]] = web.AppKey("pages")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_log = structlog.get_logger(__name__)


def add_pages(application: web.Application) -> dict[web.AbstractRoute, Access]:
    """Add the pages and what they load; return what each route asks of its callers."""
    router = application.router
    access: dict[web.AbstractRoute, Access] = {}
    for page in ROUTES:
        handler = _handler_of(page)
        access[router.add_route(page.method, page.path, handler)] = page.access
        if page.method is HTTPMethod.GET and page.access is not Access.LIVE and page.path != SIGN_IN_PATH:
            access[router.add_route(HTTPMethod.HEAD, page.path, handler)] = page.access
    application[_PAGES] = frozenset(access)
    for route in router.add_static("/static", _STATIC, append_version=False):
        access[route] = Access.PUBLIC
    return access


async def told_on_page(request: web.Request, error: Exception) -> web.Response:
    """Return the page that tells what went wrong below a page, and what to do.

    Raises `error` itself where the request is for no page, or what went wrong has an answer of its own.
    """
    own_answer = isinstance(error, web.HTTPException | UnauthenticatedError)
    if own_answer or request.match_info.route not in request.app[_PAGES]:
        raise error
    if isinstance(error, CarddError):
        if isinstance(error, RefusedError):
            await request.app[REFUSALS].note(error.reason)
        return _trouble(request, error)
    reference = secrets.token_hex(4)
    _log.error(
        "unexpected_error", reference=reference, method=request.method, path=request.path, exc_info=error
    )
    return _trouble(request, _unexpected(reference))


def _handler_of(page: PageRoute) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        services, browser = request.app[SERVICES], request.get(BROWSER)
        if page.access is Access.PUBLIC:
            browser = known_browser(request, own_port(request), use=LIVE_HEADER not in request.headers)
        visit = Visit(request, services, page_language(request), browser)
        if browser is None:
            return await page.handler(visit)
        if page.access is Access.FORM:
            visit.form = await read_form(request, browser)
        visit.newest_event = await _newest_event(services)
        visit.card = await card_of(services, browser)
        acting = current_actor.set(f"card:{visit.card.card_serial}" if visit.card else "owner")
        try:
            return await page.handler(visit)
        finally:
            current_actor.reset(acting)

    handle.__name__ = page.handler.__name__
    return handle


async def _newest_event(services: Services) -> int | None:
    try:
        return await services.store.last_event_number()
    except CarddError:  # the page itself tells what is wrong with the store, where it needs it
        return None


def _trouble(request: web.Request, error: CarddError) -> web.Response:
    visit = Visit(request, request.app[SERVICES], page_language(request), request.get(BROWSER))
    return visit.page("trouble.html", error=error)


def _unexpected(reference: str) -> CarddError:
    return CarddError(
        Text(
            f"The daemon met an error of its own, logged as {reference}.",
            f"Le démon a rencontré une erreur interne, journalisée sous {reference}.",
        ),
        advice=Text(
            f"Report it with the log lines that name {reference}.",
            f"Signalez-la avec les lignes du journal qui nomment {reference}.",
        ),
    )
