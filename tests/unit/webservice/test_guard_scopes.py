"""What an application's token opens: every operation of the API by every scope."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cardd.applications.types import Scope
from cardd_webservice.api import OPERATIONS
from cardd_webservice.guard.policy import RULES, TOKEN_ACCESS, Access, CallerKind, OriginKind
from cardd_webservice.operations import Operation
from tests.support.pairing import paired
from tests.support.webservice import Running, running

_REFUSED = {"urn:cardd:error:insufficient_scope", "urn:cardd:error:owner_required"}


@pytest.fixture
async def tokens(tmp_path: Path) -> AsyncIterator[tuple[Running, dict[Scope, str]]]:
    """A service with one application a scope."""
    async with running(tmp_path) as service:
        yield service, {scope: await paired(service, scope, name=f"Logiciel {scope}") for scope in Scope}


def _path(operation: Operation[Any]) -> str:
    return operation.full_path.format(**{each.name: "0" for each in operation.parameters})


async def _is_refused(service: Running, operation: Operation[Any], token: str | None) -> bool:
    """Tell whether the guard turns a call away; what the rooms think of it does not matter."""
    options: dict[str, Any] = {"json": {}} if operation.has_body else {}
    async with service.call(operation.method, _path(operation), token=token, **options) as response:
        if response.status in (401, 421):
            return True
        if response.content_type == "text/event-stream":
            return False
        answer = await response.json(content_type=None) if response.content_type.endswith("json") else {}
        return isinstance(answer, dict) and answer.get("type") in _REFUSED


async def test_every_operation_is_open_to_its_scopes_and_to_no_other(
    tokens: tuple[Running, dict[Scope, str]],
) -> None:
    service, by_scope = tokens
    for operation in OPERATIONS:
        for scope, token in by_scope.items():
            if operation.access in (Access.PUBLIC, Access.PAIRING):
                is_open = True
            elif operation.access is Access.IN_PERSON:
                is_open = False
            else:
                is_open = scope in operation.scopes or scope is Scope.OWNER
            refused = await _is_refused(service, operation, token)
            assert refused is not is_open, (operation.method, operation.path, scope)


async def test_no_operation_but_health_and_pairing_is_open_without_a_token(service: Running) -> None:
    for operation in OPERATIONS:
        is_open = operation.access in (Access.PUBLIC, Access.PAIRING)
        assert await _is_refused(service, operation, None) is not is_open, operation.path


async def test_the_owners_token_opens_every_operation(service: Running) -> None:
    for operation in OPERATIONS:
        if operation.path != "/owner/token-rotation":
            assert not await _is_refused(service, operation, ""), operation.path


def test_what_changes_something_is_open_to_no_reader() -> None:
    for operation in OPERATIONS:
        if operation.method != "GET" and operation.access in TOKEN_ACCESS:
            assert Scope.READ not in operation.scopes, operation.path


def test_every_class_of_routes_has_its_rule_and_other_users_get_publications_only() -> None:
    assert set(RULES) == set(Access)
    open_to_others = {access for access, rule in RULES.items() if CallerKind.OTHER_USER in rule.callers}
    assert open_to_others == {Access.PUBLICATION}
    foreign = {access for access, rule in RULES.items() if OriginKind.FOREIGN in rule.origins}
    assert foreign == {Access.PUBLICATION, Access.ENTRY}


@pytest.mark.parametrize("path", ["/metrics", "/api/v1/openapi.json", "/api/v1/nothing"])
async def test_documents_are_for_applications_too(service: Running, path: str) -> None:
    token = await paired(service, Scope.READ)
    async with service.call("GET", path, token=token) as response:
        assert response.status in (200, 404)


async def test_a_scope_that_is_missing_is_named(service: Running) -> None:
    token = await paired(service, Scope.VALIDATE)
    status, problem = await service.json("GET", "/api/v1/cards", token=token)
    assert (status, problem["scopes"]) == (403, ["read"])
    assert problem["advice"]
