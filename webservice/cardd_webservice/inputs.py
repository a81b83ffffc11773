"""Decoding what a request carries into its declared type."""

from functools import cache
from typing import Any, TypeVar

import msgspec
from aiohttp import web
from multidict import MultiMapping

from cardd.errors import FieldProblem, InvalidFieldsError
from cardd.text import Text
from cardd_webservice.errors import MalformedJsonError
from cardd_webservice.guard.bodies import read_json_body
from cardd_webservice.validation import invalid_fields

T = TypeVar("T", bound=msgspec.Struct)

_ONCE = Text("may be given once only", "ne peut être donné qu’une fois")


async def decoded_body(request: web.Request, kind: type[T]) -> tuple[T, bytes]:
    """Return the JSON body as a `kind`, and as it came; query parameters are refused beside it.

    Raises `MalformedJsonError` (400) for what is not JSON, `InvalidFieldsError` (422) for what is not a `kind`.
    """
    raw = await read_json_body(request)
    decoded_query(request, _NoParameters)
    try:
        return _decoded(raw, kind), raw
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        reason = str(error)[:200]
        raise MalformedJsonError(
            Text(f"The body cannot be read: {reason}.", f"Le contenu est illisible : {reason}.")
        ) from None


def decoded_query(request: web.Request, kind: type[T]) -> T:
    """Return the query parameters as a `kind`; raises `InvalidFieldsError` naming the parameter."""
    values = _parameters(request)
    for name in _whole_numbers(kind):
        if name in values:
            values[name] = _plain(values[name])
    try:
        return msgspec.convert(values, kind)
    except msgspec.ValidationError as error:
        raise invalid_fields(error, kind) from None


def _parameters(request: web.Request) -> dict[str, Any]:
    """Return the parameters of the query; raises `InvalidFieldsError` where one is given twice."""
    text = request.rel_url.raw_query_string
    if "%" in text or "+" in text:
        return _each_once(request.query)
    # Nothing is encoded: to take the text apart here costs a third of the framework's own reading.
    values: dict[str, Any] = {}
    for part in text.split("&"):
        name, _, value = part.partition("=")
        if name in values:
            return _each_once(request.query)
        if part:
            values[name] = value
    return values


def _each_once(query: MultiMapping[str]) -> dict[str, Any]:
    values = dict(query)
    if len(query) > len(values):
        repeated = sorted(name for name in values if len(query.getall(name)) > 1)
        raise InvalidFieldsError([FieldProblem(name, _ONCE) for name in repeated])
    return values


def _decoded(raw: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError as error:
        # What is not JSON at all is told first, wherever in the body it is.
        msgspec.json.decode(raw)
        raise invalid_fields(error, kind) from None


class _NoParameters(msgspec.Struct, forbid_unknown_fields=True):
    pass


@cache
def _whole_numbers(kind: type[msgspec.Struct]) -> frozenset[str]:
    """Return the fields that are whole numbers; values of all others stay text until they are checked."""
    described = msgspec.inspect.type_info(kind)
    if not isinstance(described, msgspec.inspect.StructType):
        return frozenset()
    return frozenset(field.encode_name for field in described.fields if _is_whole_number(field.type))


def _is_whole_number(described: msgspec.inspect.Type) -> bool:
    if isinstance(described, msgspec.inspect.Metadata):
        return _is_whole_number(described.type)
    return isinstance(described, msgspec.inspect.IntType)


def _plain(value: str) -> int | str:
    return int(value) if value.isascii() and value.isdecimal() and len(value) < 19 else value
