"""The applications that the owner let in."""

from http import HTTPMethod, HTTPStatus
from typing import Any

from cardd.applications.errors import ApplicationEndedError
from cardd.applications.types import ApplicationView, RenameRequest
from cardd.errors import NotFoundError
from cardd.orders.paging import Page, PageRequest
from cardd.text import Text
from cardd_webservice.guard.policy import ANY_SCOPE
from cardd_webservice.operations import Call, Nothing, Operation, Parameter, Reply
from cardd_webservice.paging import page_of

_TAG = "Applications"
_ID = Parameter("id", "The application.")


async def list_applications(call: Call[PageRequest]) -> Reply:
    """Answer a page of the applications; tokens are never shown."""
    return Reply(page_of(await call.services.applications.list(), lambda each: each.id, call.given))


async def get_own_application(call: Call[Nothing]) -> Reply:
    """Answer the application whose token came with the request: its scopes, and how long it is let in."""
    application = call.caller.application
    if application is None:
        raise NotFoundError(
            Text(
                "The owner's token is no application's.",
                "Le jeton du propriétaire n’est à aucune application.",
            ),
            advice=Text("Send the token of a pairing.", "Envoyez le jeton d’un appairage."),
        )
    return Reply(await call.services.applications.get(application.id))


async def get_application(call: Call[Nothing]) -> Reply:
    """Answer one application."""
    return Reply(await call.services.applications.get(call.path("id")))


async def rename_application(call: Call[RenameRequest]) -> Reply:
    """Call an application by another name."""
    return Reply(await call.services.applications.rename(call.path("id"), call.given.name))


async def revoke_application(call: Call[Nothing]) -> Reply:
    """Let an application in no more; its token is worth nothing from this moment."""
    await call.services.applications.revoke(call.path("id"))
    return Reply(status=HTTPStatus.NO_CONTENT)


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method=HTTPMethod.GET,
        path="/applications",
        handler=list_applications,
        takes=PageRequest,
        answers=Page[ApplicationView],
        summary="List applications",
        tag=_TAG,
    ),
    Operation(
        method=HTTPMethod.GET,
        path="/applications/self",
        handler=get_own_application,
        scopes=ANY_SCOPE,
        takes=Nothing,
        answers=ApplicationView,
        summary="Show the application that asks",
        tag=_TAG,
        errors=(NotFoundError,),
    ),
    Operation(
        method=HTTPMethod.GET,
        path="/applications/{id}",
        handler=get_application,
        takes=Nothing,
        answers=ApplicationView,
        summary="Show an application",
        tag=_TAG,
        parameters=(_ID,),
        errors=(NotFoundError,),
    ),
    Operation(
        method=HTTPMethod.PUT,
        path="/applications/{id}",
        handler=rename_application,
        takes=RenameRequest,
        answers=ApplicationView,
        summary="Rename an application",
        tag=_TAG,
        parameters=(_ID,),
        errors=(NotFoundError, ApplicationEndedError),
    ),
    Operation(
        method=HTTPMethod.DELETE,
        path="/applications/{id}",
        handler=revoke_application,
        takes=Nothing,
        answers=None,
        summary="Revoke an application",
        tag=_TAG,
        status=HTTPStatus.NO_CONTENT,
        parameters=(_ID,),
        errors=(NotFoundError, ApplicationEndedError),
    ),
)
