"""The application: middlewares, routes and what each of them asks of its callers."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable

import structlog
from aiohttp import hdrs, web

from cardd import __version__
from cardd.errors import CarddError
from cardd_webservice import documents, publication
from cardd_webservice.api import OPERATIONS
from cardd_webservice.api.pairings import PAIRING_REQUESTS
from cardd_webservice.dispatch import KEEPER, handler_of
from cardd_webservice.fixedpaths import FIXED_PATHS, FixedPaths
from cardd_webservice.guard.browsers import BROWSERS, Browsers
from cardd_webservice.guard.callers import CALLERS, Callers
from cardd_webservice.guard.limits import Attempts
from cardd_webservice.guard.middleware import (
    APPLICATIONS,
    DEMANDS,
    add_security_headers,
    guarded,
)
from cardd_webservice.guard.policy import ANY_SCOPE, POLICY, Access, Demand
from cardd_webservice.guard.refusals import REFUSALS, Refusals
from cardd_webservice.idempotency import IdempotencyKeeper
from cardd_webservice.ihm import add_pages, told_on_page
from cardd_webservice.metrics import METRICS, Metrics
from cardd_webservice.openapi import openapi_document
from cardd_webservice.operations import READ, SERVICES
from cardd_webservice.problems import told
from cardd_webservice.services import Services
from cardd_webservice.streams import STREAMS, StreamPolicy, Streams

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_log = structlog.get_logger(__name__)


def create_application(services: Services, *, streams: StreamPolicy | None = None) -> web.Application:
    """Build the application over the daemon's rooms; it is served by `server.serving`."""
    application = web.Application(middlewares=(_answer_middleware,))
    metrics = Metrics(services.metrics)
    application[SERVICES] = services
    application[APPLICATIONS] = services.applications
    application[CALLERS] = Callers(
        services.token,
        services.applications,
        Attempts(services.clock, POLICY.wrong_tokens),
        others_may_hold_tokens=services.settings.web.other_users == "applications",
    )
    application[PAIRING_REQUESTS] = Attempts(services.clock, POLICY.pairing_requests)
    application[BROWSERS] = Browsers(services.clock)
    application[METRICS] = metrics
    application[REFUSALS] = Refusals(services.store, services.clock, metrics)
    application[STREAMS] = Streams(streams or StreamPolicy(), metrics)
    application[KEEPER] = IdempotencyKeeper(services.store, services.clock, services.request_secret)
    application[documents.OPENAPI] = documents.encoded(openapi_document(OPERATIONS, __version__))
    application[DEMANDS] = _add_routes(application)
    application[FIXED_PATHS] = FixedPaths(application, _answer_middleware)
    application.on_response_prepare.append(add_security_headers)
    application.on_shutdown.append(_end_streams)
    application.cleanup_ctx.append(_keep_books)
    return application


def _add_routes(application: web.Application) -> dict[web.AbstractRoute, Demand]:
    """Add every route, and return what each asks of its callers."""
    router = application.router
    demands: dict[web.AbstractRoute, Demand] = {}
    for operation in OPERATIONS:
        handler = handler_of(operation)
        # Of a file its validators and its size may be asked for alone (RFC 9110 §9.3.2).
        methods = (hdrs.METH_GET, hdrs.METH_HEAD) if operation.answers is bytes else (operation.method,)
        for method in methods:
            demands[router.add_route(method, operation.full_path, handler)] = operation.demand
    for path, document, scopes in (
        (documents.OPENAPI_PATH, documents.openapi, ANY_SCOPE),
        (documents.METRICS_PATH, documents.metrics, READ),
    ):
        demands[router.add_route(hdrs.METH_GET, path, document)] = Demand(Access.TOKEN, scopes)
    demands |= dict.fromkeys(publication.add_publication(router), Demand(Access.PUBLICATION))
    demands |= {route: Demand(access) for route, access in add_pages(application).items()}
    return demands


@web.middleware
async def _answer_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let the guard look at every request, and count every answer and its time, under its route's template."""
    started = time.monotonic()
    try:
        response = await guarded(request, handler)
    except Exception as error:  # noqa: BLE001 (the one place that turns what went wrong into an answer)
        response = await _told(request, error)
    route = request.match_info.route
    request.app[METRICS].answered(request.method, route, response.status, time.monotonic() - started)
    return response


async def _told(request: web.Request, error: Exception) -> web.Response:
    """Tell of what went wrong: on a page below a page, elsewhere as a problem document."""
    try:
        return await told_on_page(request, error)
    except Exception as still:  # noqa: BLE001 (as above)
        return await told(request, still)


async def _end_streams(application: web.Application) -> None:
    await application[STREAMS].close()


async def _keep_books(application: web.Application) -> AsyncIterator[None]:
    """Drop old answers at the start, and journal the last refusals at the end."""
    try:
        await application[KEEPER].forget_old()
    except CarddError:
        _log.warning("old_answers_not_dropped", exc_info=True)
    yield
    await application[REFUSALS].finish()
