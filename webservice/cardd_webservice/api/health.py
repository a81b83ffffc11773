"""Is the daemon well? Anybody on this machine may ask; details are for holders of a token."""

import asyncio
from collections.abc import Sequence
from http import HTTPMethod, HTTPStatus
from typing import Any, Literal

import msgspec

from cardd import __version__
from cardd.alerts.alerts import AlertView
from cardd.errors import CarddError
from cardd.health import HealthPart
from cardd.text import Text
from cardd_webservice.guard.policy import ANY_SCOPE, Access
from cardd_webservice.operations import Call, Nothing, Operation, Reply
from cardd_webservice.services import Services

#: Seconds that all parts together have to answer.
_PATIENCE = 3.0
_NO_ANSWER = Text("does not answer in time", "ne répond pas à temps")


class Health(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How the daemon is; `version`, `parts` and `alerts` are for holders of a token."""

    status: Literal["ok", "failing"]
    version: str | None = None
    parts: tuple[HealthPart, ...] | None = None
    alerts: tuple[AlertView, ...] | None = None


async def get_health(call: Call[Nothing]) -> Reply:
    """Ask every part of the daemon."""
    parts = await health_parts(call.services)
    well = all(part.ok for part in parts)
    status: Literal["ok", "failing"] = "ok" if well else "failing"
    health = Health(status=status)
    if call.with_token:
        alerts = await raised_alerts(call.services)
        health = Health(status=status, version=__version__, parts=tuple(parts), alerts=alerts)
    return Reply(health, status=HTTPStatus.OK if well else HTTPStatus.SERVICE_UNAVAILABLE)


async def get_liveness(call: Call[Nothing]) -> Reply:  # noqa: ARG001  every handler is given its call
    """Answer as long as the daemon's loop turns; a monitor that gets nothing may restart it."""
    return Reply(Health(status="ok"))


async def get_readiness(call: Call[Nothing]) -> Reply:
    """Say whether the parts answer that nothing works without; a monitor that gets 503 sends callers elsewhere."""
    missing = [part for part in await health_parts(call.services) if part.needed and not part.ok]
    health = Health(
        status="failing" if missing else "ok",
        parts=tuple(missing) if call.with_token else None,
    )
    return Reply(health, status=HTTPStatus.SERVICE_UNAVAILABLE if missing else HTTPStatus.OK)


async def raised_alerts(services: Services) -> tuple[AlertView, ...]:
    """Return what is wrong now, as far as the store tells."""
    try:
        return tuple(await services.alerts.list())
    except CarddError:
        return ()


async def health_parts(services: Services) -> Sequence[HealthPart]:
    """Ask every part of the daemon; one that does not answer in time is failing."""
    try:
        async with asyncio.timeout(_PATIENCE):
            return (await _store(services), *await services.health())
    except TimeoutError:
        return (HealthPart(name="daemon", ok=False, detail=_NO_ANSWER, needed=True),)


async def _store(services: Services) -> HealthPart:
    try:
        await services.store.last_event_number()
    except CarddError as error:
        return HealthPart(name="store", ok=False, detail=error.detail, needed=True)
    return HealthPart(name="store", ok=True, needed=True)


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method=HTTPMethod.GET,
        path="/health",
        handler=get_health,
        scopes=ANY_SCOPE,
        takes=Nothing,
        answers=Health,
        summary="Health of the daemon",
        tag="Service",
        access=Access.PUBLIC,
        also={HTTPStatus.SERVICE_UNAVAILABLE: Health},
    ),
    Operation(
        method=HTTPMethod.GET,
        path="/health/live",
        handler=get_liveness,
        takes=Nothing,
        answers=Health,
        summary="Whether the daemon lives",
        tag="Service",
        access=Access.PUBLIC,
    ),
    Operation(
        method=HTTPMethod.GET,
        path="/health/ready",
        handler=get_readiness,
        takes=Nothing,
        answers=Health,
        summary="Whether the daemon can work",
        tag="Service",
        access=Access.PUBLIC,
        also={HTTPStatus.SERVICE_UNAVAILABLE: Health},
    ),
)
