"""Is the daemon well? Anybody on this machine may ask; details are for holders of a token."""

import asyncio
from collections.abc import Sequence
from http import HTTPMethod, HTTPStatus
from typing import Any, Literal

import msgspec

from cardd import __version__
from cardd.errors import CarddError
from cardd.text import Text
from cardd_webservice.guard.policy import ANY_SCOPE, Access
from cardd_webservice.operations import Call, Nothing, Operation, Reply
from cardd_webservice.services import HealthPart, Services

#: Seconds that all parts together have to answer.
_PATIENCE = 3.0
_NO_ANSWER = Text("does not answer in time", "ne répond pas à temps")


class Health(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How the daemon is; `version` and `parts` are for holders of a token."""

    status: Literal["ok", "failing"]
    version: str | None = None
    parts: tuple[HealthPart, ...] | None = None


async def get_health(call: Call[Nothing]) -> Reply:
    """Ask every part of the daemon."""
    parts = await health_parts(call.services)
    well = all(part.ok for part in parts)
    status: Literal["ok", "failing"] = "ok" if well else "failing"
    health = Health(status=status)
    if call.with_token:
        health = Health(status=status, version=__version__, parts=tuple(parts))
    return Reply(health, status=HTTPStatus.OK if well else HTTPStatus.SERVICE_UNAVAILABLE)


async def health_parts(services: Services) -> Sequence[HealthPart]:
    """Ask every part of the daemon; one that does not answer in time is failing."""
    try:
        async with asyncio.timeout(_PATIENCE):
            return (await _store(services), *await services.health())
    except TimeoutError:
        return (HealthPart(name="daemon", ok=False, detail=_NO_ANSWER),)


async def _store(services: Services) -> HealthPart:
    try:
        await services.store.last_event_number()
    except CarddError as error:
        return HealthPart(name="store", ok=False, detail=error.detail)
    return HealthPart(name="store", ok=True)


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
)
