"""The machines that share this database, and which of them may have certificates signed."""

from http import HTTPMethod
from typing import Any

from cardd.errors import NotFoundError
from cardd.machines.errors import MachineNotEnrolledError
from cardd.machines.types import MachineView
from cardd.orders.paging import Page, PageRequest
from cardd_webservice.operations import Call, Nothing, Operation, Parameter, Reply
from cardd_webservice.paging import page_of

_TAG = "Machines"
_MACHINE = Parameter("id", "The machine's identifier.", pattern="^[0-9a-f]{16}$", example="0" * 16)


async def list_machines(call: Call[PageRequest]) -> Reply:
    """Answer a page of the machines; none where the state is not shared."""
    return Reply(page_of(await call.services.machines.list(), lambda machine: machine.id, call.given))


async def enrol_machine(call: Call[Nothing]) -> Reply:
    """Let a machine have certificates signed; compare its `certificate_sha256` with what it shows itself first."""
    return Reply(await call.services.machines.enrol(call.path("id")))


async def withdraw_machine(call: Call[Nothing]) -> Reply:
    """Take a machine's enrolment back: from now on nothing is signed for it."""
    return Reply(await call.services.machines.withdraw(call.path("id")))


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method=HTTPMethod.GET,
        path="/machines",
        handler=list_machines,
        takes=PageRequest,
        answers=Page[MachineView],
        summary="List the machines that share the database",
        tag=_TAG,
    ),
    Operation(
        method=HTTPMethod.POST,
        path="/machines/{id}/enrolment",
        handler=enrol_machine,
        takes=Nothing,
        answers=MachineView,
        summary="Enrol a machine",
        tag=_TAG,
        parameters=(_MACHINE,),
        errors=(NotFoundError, MachineNotEnrolledError),
    ),
    Operation(
        method=HTTPMethod.POST,
        path="/machines/{id}/withdrawal",
        handler=withdraw_machine,
        takes=Nothing,
        answers=MachineView,
        summary="Take a machine's enrolment back",
        tag=_TAG,
        parameters=(_MACHINE,),
        errors=(NotFoundError, MachineNotEnrolledError),
    ),
)
