"""The owner's token, replaced."""

import asyncio
from http import HTTPMethod, HTTPStatus
from typing import Any

from cardd.events import EventType
from cardd_webservice.guard.browsers import BROWSERS
from cardd_webservice.guard.policy import Access
from cardd_webservice.operations import Call, Keeping, Nothing, Operation, Reply


async def rotate_owner_token(call: Call[Nothing]) -> Reply:
    """Write a new token into the token's file; the old one and every browser's session end at once."""
    services = call.services
    async with services.store.transaction() as tx:
        await asyncio.to_thread(services.token.rotate, services.settings.state)
        tx.journal("owner.token_rotated", "owner")
        tx.publish(EventType.OWNER_TOKEN_ROTATED, "owner")
    call.request.app[BROWSERS].leave_all()
    return Reply(status=HTTPStatus.NO_CONTENT)


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method=HTTPMethod.POST,
        path="/owner/token-rotation",
        handler=rotate_owner_token,
        access=Access.IN_PERSON,
        takes=Nothing,
        answers=None,
        summary="Replace the owner's token",
        tag="Service",
        status=HTTPStatus.NO_CONTENT,
        keeping=Keeping.MEMORY,
    ),
)
