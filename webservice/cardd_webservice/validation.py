"""msgspec's complaints about requests, as problems of named fields in both languages."""

import re
from typing import Any, NamedTuple

import msgspec
import msgspec.inspect

from cardd.errors import FieldProblem, InvalidFieldsError
from cardd.text import Text

_PLACE = re.compile(r"^(?P<what>.*?)(?: - at `(?P<path>(?:key in )?\$[^`]*)`)?$", re.DOTALL)

_STEP = re.compile(r"\.\w+|\[[^\]]*\]")


class _Rule(NamedTuple):
    """A form of complaint; groups of `pattern` fill the sentences, `field` is added to the path."""

    pattern: re.Pattern[str]
    en: str
    fr: str


_RULES = (
    _Rule(re.compile(r"Object missing required field `(?P<field>.*)`"), "is required", "est obligatoire"),
    _Rule(
        re.compile(r"Object contains unknown field `(?P<field>.*)`", re.DOTALL),
        "is not a known name here",
        "n’est pas un nom connu ici",
    ),
    _Rule(
        re.compile(r"Invalid enum value (?P<value>.*)", re.DOTALL),
        "{value} is not one of: {allowed}",
        "{value} n’est pas dans la liste : {allowed}",
    ),
    _Rule(
        re.compile(r"Expected `str` of length >= (?P<length>\d+)"),
        "must have at least {length} character(s)",
        "doit avoir au moins {length} caractère(s)",
    ),
    _Rule(
        re.compile(r"Expected `str` of length <= (?P<length>\d+)"),
        "must have at most {length} characters",
        "doit avoir au plus {length} caractères",
    ),
    _Rule(
        re.compile(r"Expected `array` of length >= (?P<length>\d+)"),
        "must have at least {length} element(s)",
        "doit avoir au moins {length} élément(s)",
    ),
    _Rule(
        re.compile(r"Expected `array` of length <= (?P<length>\d+)"),
        "must have at most {length} elements",
        "doit avoir au plus {length} éléments",
    ),
    _Rule(
        re.compile(r"Expected `int` (?P<bound>[<>]=? -?\d+)"),
        "must be a whole number {bound}",
        "doit être un entier {bound}",
    ),
    _Rule(
        re.compile(r"Expected `str` matching regex (?P<regex>.*)", re.DOTALL),
        "must match {regex}",
        "doit être de la forme {regex}",
    ),
    _Rule(
        re.compile(r"Expected `(?P<wanted>[^`]*)`, got `(?P<got>[^`]*)`"),
        "must be of type {wanted}, not {got}",
        "doit être de type {wanted}, non {got}",
    ),
    _Rule(
        re.compile(r"Invalid base64 encoded string"),
        "must be base64 (RFC 4648 §4)",
        "doit être en base64 (RFC 4648 §4)",
    ),
    _Rule(
        re.compile(r"Invalid RFC3339 encoded datetime|Expected `datetime` with a timezone component"),
        "must be a time of RFC 3339 with its zone, such as 2026-01-31T12:00:00Z",
        "doit être une date RFC 3339 avec son fuseau, telle que 2026-01-31T12:00:00Z",
    ),
    _Rule(re.compile(r"Integer value out of range"), "is too large a number", "est un nombre trop grand"),
)


def invalid_fields(error: msgspec.ValidationError, expected: Any) -> InvalidFieldsError:
    """Return the error that names the field msgspec complains about, `key.source` from `$.key.source`.

    `expected` is the type that was decoded, which tells the values allowed.
    """
    found = _PLACE.match(str(error))
    what, path = (found["what"], found["path"] or "$") if found else (str(error), "$")
    parts = [part for part in [path.removeprefix("key in ").removeprefix("$").removeprefix(".")] if part]
    for rule in _RULES:
        match = rule.pattern.fullmatch(what)
        if match is None:
            continue
        values = match.groupdict() | {"allowed": ", ".join(_allowed(expected, path))}
        if "field" in values:
            parts.append(values["field"][:100])
        return _error(".".join(parts), Text(_filled(rule.en, values), _filled(rule.fr, values)))
    return _error(".".join(parts), Text(what, what))


def _allowed(expected: Any, path: str) -> list[str]:
    """Return the values of the enum or literal at `path` of a type."""
    places: list[msgspec.inspect.Type] = [msgspec.inspect.type_info(expected)]
    for step in _STEP.findall(path):
        places = [inner for place in places for inner in _inside(place, step)]
    return [value for outer in places for place in _members(outer) for value in _values(place)]


def _values(place: msgspec.inspect.Type) -> list[str]:
    if isinstance(place, msgspec.inspect.EnumType):
        return [str(member.value) for member in place.cls]
    if isinstance(place, msgspec.inspect.LiteralType):
        return [str(value) for value in place.values]
    return []


def _inside(place: msgspec.inspect.Type, step: str) -> list[msgspec.inspect.Type]:
    """Return the types that one step of a path, `.name` or `[…]`, may lead to."""
    inner: list[msgspec.inspect.Type] = []
    for member in _members(place):
        if isinstance(member, msgspec.inspect.StructType):
            inner += [field.type for field in member.fields if f".{field.encode_name}" == step]
        elif isinstance(member, msgspec.inspect.VarTupleType | msgspec.inspect.ListType):
            inner.append(member.item_type)
    return inner


def _members(place: msgspec.inspect.Type) -> list[msgspec.inspect.Type]:
    if isinstance(place, msgspec.inspect.Metadata):
        return _members(place.type)
    if isinstance(place, msgspec.inspect.UnionType):
        return [member for each in place.types for member in _members(each)]
    return [place]


def _error(field: str, problem: Text) -> InvalidFieldsError:
    return InvalidFieldsError([FieldProblem(field or "body", problem)])


def _filled(sentence: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        sentence = sentence.replace(f"{{{name}}}", value[:200])
    return sentence
