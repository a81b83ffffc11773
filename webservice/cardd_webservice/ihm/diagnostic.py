"""`/diagnostic`: how each part of the daemon is, its tokens, and what browsers ask before they call it."""

from aiohttp import web

from cardd_webservice.api.health import health_parts, raised_alerts
from cardd_webservice.ihm.visit import Visit, shown


async def show(visit: Visit) -> web.StreamResponse:
    """Show health, tokens, settings that matter here, and Chrome's Local Network Access."""
    services = visit.services
    return visit.page(
        "diagnostic.html",
        alerts=await raised_alerts(services),
        parts=await health_parts(services),
        tokens=await services.tokens(),
        address=str(visit.request.url.origin()),
        state=services.settings.state,
    )


ROUTES = (shown("/diagnostic", show),)
