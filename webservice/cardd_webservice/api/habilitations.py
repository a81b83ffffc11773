"""The administrative phase: form F414, its decision, and the structures it makes known."""

from http import HTTPMethod, HTTPStatus
from typing import Any

from cardd.errors import NotFoundError
from cardd.orders.errors import HabilitationDecidedError
from cardd.orders.paging import Page, PageRequest
from cardd.orders.types import HabilitationForm, HabilitationView, RefusalRequest, StructureView
from cardd_webservice.operations import ORDER, READ, Call, Nothing, Operation, Parameter, Reply
from cardd_webservice.paging import page_of

_TAG = "Administrative phase"
_ID = Parameter("id", "The habilitation.")


async def submit(call: Call[HabilitationForm]) -> Reply:
    """Submit form F414."""
    return Reply(await call.services.habilitations.submit(call.given), status=HTTPStatus.CREATED)


async def list_habilitations(call: Call[PageRequest]) -> Reply:
    """Answer a page of habilitations, newest first."""
    return Reply(await call.services.habilitations.list(call.given.limit, call.given.cursor))


async def get_habilitation(call: Call[Nothing]) -> Reply:
    """Answer one habilitation with its history."""
    return Reply(await call.services.habilitations.get(call.path("id")))


async def approve(call: Call[Nothing]) -> Reply:
    """Approve a submitted habilitation."""
    return Reply(await call.services.habilitations.approve(call.path("id")))


async def refuse(call: Call[RefusalRequest]) -> Reply:
    """Refuse a submitted habilitation."""
    return Reply(await call.services.habilitations.refuse(call.path("id"), call.given.reason))


async def withdraw(call: Call[Nothing]) -> Reply:
    """Withdraw a habilitation; its cards lose at once what it gave them."""
    return Reply(await call.services.habilitations.withdraw(call.path("id")))


async def list_structures(call: Call[PageRequest]) -> Reply:
    """Answer a page of the structures known, by identifier."""
    structures = await call.services.habilitations.structures()
    return Reply(page_of(structures, lambda structure: structure.id, call.given))


def _decision(path: str, handler: Any, takes: Any, summary: str) -> Operation[Any]:
    return Operation(
        method=HTTPMethod.POST,
        path=f"/habilitations/{{id}}/{path}",
        handler=handler,
        takes=takes,
        answers=HabilitationView,
        summary=summary,
        tag=_TAG,
        parameters=(_ID,),
        errors=(NotFoundError, HabilitationDecidedError),
    )


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method=HTTPMethod.POST,
        path="/habilitations",
        handler=submit,
        takes=HabilitationForm,
        answers=HabilitationView,
        summary="Submit form F414",
        tag=_TAG,
        status=HTTPStatus.CREATED,
    ),
    Operation(
        method=HTTPMethod.GET,
        path="/habilitations",
        handler=list_habilitations,
        scopes=READ,
        takes=PageRequest,
        answers=Page[HabilitationView],
        summary="List habilitations",
        tag=_TAG,
    ),
    Operation(
        method=HTTPMethod.GET,
        path="/habilitations/{id}",
        handler=get_habilitation,
        scopes=READ,
        takes=Nothing,
        answers=HabilitationView,
        summary="Show a habilitation",
        tag=_TAG,
        parameters=(_ID,),
        errors=(NotFoundError,),
    ),
    _decision("approval", approve, Nothing, "Approve a habilitation"),
    _decision("refusal", refuse, RefusalRequest, "Refuse a habilitation"),
    _decision("withdrawal", withdraw, Nothing, "Withdraw a habilitation"),
    Operation(
        method=HTTPMethod.GET,
        path="/structures",
        handler=list_structures,
        scopes=READ | ORDER,
        takes=PageRequest,
        answers=Page[StructureView],
        summary="List structures",
        tag=_TAG,
    ),
)
