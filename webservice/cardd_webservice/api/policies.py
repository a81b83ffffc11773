"""What applications make of ageing revocation lists: the freshness policies."""

from http import HTTPMethod, HTTPStatus
from typing import Any

import msgspec

from cardd.errors import FieldProblem, InvalidFieldsError, NotFoundError
from cardd.revocation.applicationpolicies import PolicyFixedError
from cardd.revocation.types import PolicyName, PolicyRequest, PolicyView
from cardd.text import Text
from cardd_webservice.operations import READ, VALIDATE, Call, Nothing, Operation, Parameter, Reply

_TAG = "Revocation data"
_NAME = Parameter("name", "Name of the policy, or of the application it is for.", example="my-application")


class PolicyViews(msgspec.Struct, frozen=True, kw_only=True):
    """Every policy: those that are built in, then those stored."""

    items: tuple[PolicyView, ...]


async def list_policies(call: Call[Nothing]) -> Reply:
    """Answer every freshness policy."""
    return Reply(PolicyViews(items=tuple(call.services.policies.all())))


async def put_policy(call: Call[PolicyRequest]) -> Reply:
    """Store a policy. One named as an application is that application's wherever it names none."""
    return Reply(await call.services.policies.put(_name(call), call.given))


async def remove_policy(call: Call[Nothing]) -> Reply:
    """Forget a stored policy; who had it gets the settings'."""
    await call.services.policies.remove(call.path("name"))
    return Reply(status=HTTPStatus.NO_CONTENT)


def _name(call: Call[Any]) -> str:
    try:
        return msgspec.convert(call.path("name"), PolicyName)
    except msgspec.ValidationError:
        problem = Text(
            "must be 1 to 64 visible characters without slashes",
            "doit comporter de 1 à 64 caractères visibles sans barre oblique",
        )
        raise InvalidFieldsError([FieldProblem("name", problem)]) from None


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method=HTTPMethod.GET,
        path="/freshness-policies",
        handler=list_policies,
        scopes=READ | VALIDATE,
        takes=Nothing,
        answers=PolicyViews,
        summary="List the freshness policies",
        tag=_TAG,
    ),
    Operation(
        method=HTTPMethod.PUT,
        path="/freshness-policies/{name}",
        handler=put_policy,
        takes=PolicyRequest,
        answers=PolicyView,
        summary="Store a freshness policy",
        tag=_TAG,
        parameters=(_NAME,),
        errors=(PolicyFixedError,),
    ),
    Operation(
        method=HTTPMethod.DELETE,
        path="/freshness-policies/{name}",
        handler=remove_policy,
        takes=Nothing,
        answers=None,
        summary="Forget a stored freshness policy",
        tag=_TAG,
        status=HTTPStatus.NO_CONTENT,
        parameters=(_NAME,),
        errors=(NotFoundError, PolicyFixedError),
    ),
)
