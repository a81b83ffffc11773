"""The OpenAPI 3.1 document, generated from the declared operations and their types."""

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

import msgspec

from cardd.applications.types import Scope
from cardd.errors import CarddError
from cardd_webservice.guard.policy import OWNER_SCOPE, Access
from cardd_webservice.operations import JSON, SESSION_HEADER, Nothing, Operation, Parameter
from cardd_webservice.problems import MEDIA_TYPE as PROBLEM
from cardd_webservice.problems import ProblemDocument

_REFERENCES = "#/components/schemas/{name}"
_BINARY = {"type": "string", "format": "binary"}

#: What the guard and the daemon's parts may answer to any call.
_ALWAYS = {
    400: "The request is malformed.",
    401: "No token, or a wrong one.",
    429: "Too many attempts; `retry_after` says how long to wait, in seconds.",
    403: "The guard or the rules refuse the caller.",
    404: "Nothing is known under this identifier.",
    421: "The `Host` is not this daemon's.",
    422: "Fields, parameters or headers break a rule; `fields` names them.",
    500: "The daemon met an error of its own.",
    502: "The token refused or failed.",
    503: "A part of the daemon does not answer now.",
}
_WITH_BODY = {
    408: "The body did not arrive in time.",
    413: "The body is too large.",
    415: "The body is not JSON.",
}
_WITH_SESSION = {409: "The request does not fit the present state, or the card session is over."}
_IDEMPOTENCY_KEY = Parameter(
    "Idempotency-Key",
    "Names this request, so that it may be sent again: it then has no second effect and gets the same answer.",
    pattern="^[!-~]{1,255}$",
)
_CARD_SESSION = Parameter(
    SESSION_HEADER,
    "The open card session that authorises the call.",
    pattern="^[!-~]{1,255}$",
)

Json = dict[str, Any]


def openapi_document(operations: Iterable[Operation[Any]], version: str) -> Json:
    """Return the document, ready to be encoded."""
    declared = tuple(operations)
    kinds = [kind for operation in declared for kind in _kinds(operation)]
    schemas, components = msgspec.json.schema_components([*kinds, ProblemDocument], ref_template=_REFERENCES)
    schema_of = dict(zip([*map(_key, kinds), _key(ProblemDocument)], schemas, strict=True))
    paths: dict[str, Json] = {}
    for operation in declared:
        methods = paths.setdefault(operation.full_path, {})
        methods[operation.method.lower()] = _operation(operation, schema_of, components)
    return {
        "openapi": "3.1.0",
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "info": {
            "title": "cardd",
            "version": version,
            "description": "Test cards and test certificates of a health PKI on this machine.",
        },
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The token in the file `token` of the state directory, which may do everything, "
                    "or that of a paired application, for which an operation names the scopes of which one is needed.",
                }
            },
        },
    }


def _kinds(operation: Operation[Any]) -> list[Any]:
    return [
        kind for kind in (operation.takes, operation.answers, *operation.also.values()) if kind is not None
    ]


def _key(kind: Any) -> str:
    return repr(kind)


def _operation(
    operation: Operation[Any], schema_of: Mapping[str, Json], components: Mapping[str, Json]
) -> Json:
    described: Json = {
        "operationId": operation.handler.__name__,
        "summary": operation.summary,
        "description": (operation.handler.__doc__ or operation.summary).strip(),
        "tags": [operation.tag],
        "parameters": _parameters(operation, schema_of, components),
        "responses": _responses(operation, schema_of),
    }
    described["security"] = _security(operation)
    if operation.has_body:
        optional = not _required(operation.takes)
        described["requestBody"] = {
            "required": not optional,
            "content": {JSON: {"schema": schema_of[_key(operation.takes)]}},
        }
    return described


def _security(operation: Operation[Any]) -> list[Json]:
    """Return what a caller needs; roles of bearer tokens are OpenAPI 3.1's (§4.8.30)."""
    if operation.access in (Access.PUBLIC, Access.PAIRING):
        return [{}, {"bearer": []}]
    if operation.access is Access.IN_PERSON:
        return [{"bearer": ["in_person"]}]
    scopes = [scope.value for scope in Scope if scope in operation.scopes | OWNER_SCOPE]
    return [{"bearer": [scope]} for scope in scopes]


def _required(kind: type[msgspec.Struct]) -> bool:
    return any(field.required for field in msgspec.structs.fields(kind))


def _parameters(
    operation: Operation[Any], schema_of: Mapping[str, Json], components: Mapping[str, Json]
) -> list[Json]:
    described = [_parameter(parameter, "path", required=True) for parameter in operation.parameters]
    headers = list(operation.headers)
    if operation.access in (Access.TOKEN, Access.CARD):
        required = operation.access is Access.CARD
        described.append(_parameter(_CARD_SESSION, "header", required=required))
    if operation.method == "POST":
        headers.append(_IDEMPOTENCY_KEY)
    described += [_parameter(parameter, "header", required=False) for parameter in headers]
    if not operation.has_body and operation.takes is not Nothing:
        name = schema_of[_key(operation.takes)]["$ref"].rpartition("/")[2]
        described += [
            {"name": parameter, "in": "query", "required": False, "schema": _without_null(schema)}
            for parameter, schema in components[name]["properties"].items()
        ]
    return described


def _parameter(parameter: Parameter, place: str, *, required: bool) -> Json:
    schema: Json = {"type": "string"}
    if parameter.pattern is not None:
        schema["pattern"] = parameter.pattern
    described: Json = {
        "name": parameter.name,
        "in": place,
        "required": required,
        "description": parameter.description,
        "schema": schema,
    }
    if parameter.example is not None:
        described["example"] = parameter.example
    return described


def _without_null(schema: Json) -> Json:
    """Return the schema of a parameter, which is left out rather than null."""
    kept = [choice for choice in schema.get("anyOf", ()) if choice != {"type": "null"}]
    rest = {name: value for name, value in schema.items() if name not in ("anyOf", "default")}
    if schema.get("default") is not None:
        rest["default"] = schema["default"]
    if not kept:
        return rest
    return {**rest, **kept[0]} if len(kept) == 1 else {**rest, "anyOf": kept}


def _responses(operation: Operation[Any], schema_of: Mapping[str, Json]) -> Json:
    responses: dict[int, Json] = {}
    problems = dict(_ALWAYS)
    if operation.has_body:
        problems |= _WITH_BODY
    if operation.access in (Access.TOKEN, Access.CARD):
        problems |= _WITH_SESSION
    problem_schema = schema_of[_key(ProblemDocument)]
    for status, description in problems.items():
        responses[status] = {"description": description, "content": {PROBLEM: {"schema": problem_schema}}}
    for status, text in _declared(operation.errors).items():
        responses[status] = {"description": text, "content": {PROBLEM: {"schema": problem_schema}}}
    for status, kind in operation.also.items():
        responses[status] = {
            "description": HTTPStatus(status).description or HTTPStatus(status).phrase,
            "content": {JSON: {"schema": schema_of[_key(kind)]}, PROBLEM: {"schema": problem_schema}},
        }
    responses[int(operation.status)] = _success(operation, schema_of)
    return {str(status): responses[status] for status in sorted(responses)}


def _declared(errors: Iterable[type[CarddError]]) -> dict[int, str]:
    texts: dict[int, list[str]] = {}
    for error in errors:
        texts.setdefault(error.status, []).append(f"`{error.code}`: {error.title.en}.")
    return {status: " ".join(lines) for status, lines in texts.items()}


def _success(operation: Operation[Any], schema_of: Mapping[str, Json]) -> Json:
    described: Json = {"description": operation.summary}
    if operation.answers is not None:
        described["content"] = {
            media_type: {"schema": schema_of[_key(operation.answers)] if media_type == JSON else _BINARY}
            for media_type in operation.media_types
        }
    if operation.method == "POST":
        described["headers"] = {
            "Idempotent-Replayed": {
                "description": "`true` where this is the answer to an earlier request of the same key.",
                "schema": {"type": "string", "enum": ["true"]},
            }
        }
    return described
