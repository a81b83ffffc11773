"""The API's description of itself, and its numbers: documents that are not operations."""

import msgspec
from aiohttp import web

from cardd_webservice.metrics import METRICS
from cardd_webservice.operations import API_PREFIX, SERVICES

OPENAPI: web.AppKey[bytes] = web.AppKey("openapi", bytes)
OPENAPI_PATH = f"{API_PREFIX}/openapi.json"
METRICS_PATH = "/metrics"


async def openapi(request: web.Request) -> web.Response:
    """Answer the OpenAPI 3.1 document."""
    return web.Response(body=request.app[OPENAPI], content_type="application/json")


async def metrics(request: web.Request) -> web.Response:
    """Answer the daemon's numbers in Prometheus' text form."""
    await request.app[SERVICES].refresh_metrics()
    body, content_type = request.app[METRICS].exposition()
    return web.Response(body=body, headers={"Content-Type": content_type, "Cache-Control": "no-store"})


def encoded(document: dict[str, object]) -> bytes:
    """Return a document as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(document), indent=1)
