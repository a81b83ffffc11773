"""Signing a browser in to the daemon's own pages."""

from datetime import datetime, timedelta
from http import HTTPMethod, HTTPStatus
from typing import Any

import msgspec

from cardd_webservice.guard.browsers import BROWSERS
from cardd_webservice.guard.policy import Access
from cardd_webservice.operations import Call, Keeping, Nothing, Operation, Reply

#: Where links lead; their secret is in the query parameter `lien`.
SIGN_IN_PATH = "/ouvrir"


class SignInLink(msgspec.Struct, frozen=True, kw_only=True):
    """A link that signs one browser in, once; `path` is to be opened at the daemon's address."""

    path: str
    expires_at: datetime


async def make_link(call: Call[Nothing]) -> Reply:
    """Make a link that works once, within two minutes."""
    browsers = call.request.app[BROWSERS]
    link = SignInLink(
        path=f"{SIGN_IN_PATH}?lien={browsers.new_link()}",
        expires_at=call.services.clock.now() + timedelta(seconds=browsers.policy.link_seconds),
    )
    return Reply(link, status=HTTPStatus.CREATED)


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method=HTTPMethod.POST,
        path="/ihm/links",
        handler=make_link,
        access=Access.IN_PERSON,
        takes=Nothing,
        answers=SignInLink,
        summary="Make a one-time link to the pages",
        tag="Service",
        status=HTTPStatus.CREATED,
        keeping=Keeping.MEMORY,
    ),
)
