"""Questions to the holder of a card whose key an application wants to use."""

from http import HTTPMethod, HTTPStatus
from typing import Any

from cardd.applications.types import ConsentView
from cardd.errors import NotFoundError
from cardd.orders.paging import Page, PageRequest
from cardd_webservice.guard.policy import Access
from cardd_webservice.operations import Call, Nothing, Operation, Parameter, Reply
from cardd_webservice.paging import page_of

_TAG = "Applications"
_ID = Parameter("id", "The question.")


async def list_consents(call: Call[PageRequest]) -> Reply:
    """Answer the questions that wait for the holder."""
    return Reply(page_of(call.services.consents.pending, lambda each: each.id, call.given))


async def grant_consent(call: Call[Nothing]) -> Reply:
    """Agree to what is asked, for the length of the card session."""
    await call.services.consents.decide(call.path("id"), agreed=True)
    return Reply(status=HTTPStatus.NO_CONTENT)


async def deny_consent(call: Call[Nothing]) -> Reply:
    """Refuse what is asked, for the length of the card session."""
    await call.services.consents.decide(call.path("id"), agreed=False)
    return Reply(status=HTTPStatus.NO_CONTENT)


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method=HTTPMethod.GET,
        path="/consents",
        handler=list_consents,
        access=Access.IN_PERSON,
        takes=PageRequest,
        answers=Page[ConsentView],
        summary="List questions to the holder",
        tag=_TAG,
    ),
    Operation(
        method=HTTPMethod.POST,
        path="/consents/{id}/approval",
        handler=grant_consent,
        access=Access.IN_PERSON,
        takes=Nothing,
        answers=None,
        summary="Agree to the use of a card",
        tag=_TAG,
        status=HTTPStatus.NO_CONTENT,
        parameters=(_ID,),
        errors=(NotFoundError,),
    ),
    Operation(
        method=HTTPMethod.POST,
        path="/consents/{id}/denial",
        handler=deny_consent,
        access=Access.IN_PERSON,
        takes=Nothing,
        answers=None,
        summary="Refuse the use of a card",
        tag=_TAG,
        status=HTTPStatus.NO_CONTENT,
        parameters=(_ID,),
        errors=(NotFoundError,),
    ),
)
