"""Checking order forms: every problem at once, every value normalised."""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import msgspec

from cardd.errors import FieldProblem, InvalidFieldsError
from cardd.orders import identifiers
from cardd.orders.identifiers import IdentifierKind, StructureNumber
from cardd.orders.offers import DEFAULT_ALGORITHM, Field, algorithms_of, terms_of, usages_of
from cardd.orders.types import (
    KeyRequest,
    Offer,
    OrderRequest,
    Person,
    StructureId,
)
from cardd.text import Text
from cardd.vocabulary import PROFESSION_TITLES, Usage

T = TypeVar("T")

_REQUIRED = Text("is required", "est obligatoire")
_NOT_TAKEN = Text(
    "is not a field of this offer and usage", "n’est pas un champ de cette offre et de cet usage"
)

#: Kinds of structure by the digit before their number.
_KINDS_BY_PREFIX = {kind.structure_prefix: kind for kind in IdentifierKind}


class Problems:
    """Collects what is wrong with a form, to be raised together."""

    def __init__(self) -> None:
        self._found: list[FieldProblem] = []

    def add(self, field: str, problem: Text) -> None:
        """Note a problem."""
        self._found.append(FieldProblem(field, problem))

    def take(self, field: str, checked: T | Text) -> T | None:
        """Return a checked value, or note what is wrong with it and return None."""
        if isinstance(checked, Text):
            self.add(field, checked)
            return None
        return checked

    def raise_any(self) -> None:
        """Raise `InvalidFieldsError` where a problem was noted."""
        if self._found:
            raise InvalidFieldsError(self._found)


class OrderFields(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What the subject of an order's certificate is made of, checked; kept with the order."""

    service: str | None = None
    fqdn: tuple[str, ...] = ()
    email: str | None = None
    person: Person | None = None


class CheckedOrder(msgspec.Struct, frozen=True, kw_only=True):
    """An order form without faults."""

    offer: Offer
    usage: Usage
    structure: StructureNumber
    fields: OrderFields
    contacts: tuple[str, ...]
    key: KeyRequest

    @property
    def structure_id(self) -> StructureId:
        """The structure's identifier."""
        return self.structure.structure_id

    @property
    def algorithm(self) -> str:
        """The algorithm of a key to be made."""
        return self.key.algorithm or DEFAULT_ALGORITHM


def check_order(request: OrderRequest) -> CheckedOrder:
    """Check an order form; raises `InvalidFieldsError` naming every field that breaks a rule."""
    problems = Problems()
    structure = problems.take("structure", structure_number_of(request.structure))
    terms = terms_of(request.offer, request.usage)
    fields = OrderFields()
    if terms is None:
        known = ", ".join(usages_of(request.offer))
        problems.add(
            "usage",
            Text(f"must be one of {known} for this offer", f"doit être l’un de {known} pour cette offre"),
        )
    else:
        fields = _check_fields(request, terms.fields, problems)
        _check_key(request, problems)
    contacts = check_contacts(request.contacts, problems)
    problems.raise_any()
    assert structure is not None  # noqa: S101 (a missing value is a problem, raised above)
    return CheckedOrder(
        offer=request.offer,
        usage=request.usage,
        structure=structure,
        fields=fields,
        contacts=contacts,
        key=request.key,
    )


def structure_number_of(structure_id: str) -> StructureNumber | Text:
    """Check a structure's identifier: `1` + FINESS, `2` + SIREN, `3` + SIRET."""
    compact = identifiers.without_spaces(structure_id)
    kind = _KINDS_BY_PREFIX.get(compact[:1])
    checked = identifiers.structure_number(kind, compact[1:]) if kind is not None else None
    if not isinstance(checked, StructureNumber):
        return Text(
            "must be a structure's identifier: 1 and a FINESS, 2 and a SIREN, or 3 and a SIRET",
            "doit être l’identifiant d’une structure : 1 et un FINESS, 2 et un SIREN, ou 3 et un SIRET",
        )
    return checked


def check_contacts(contacts: Sequence[str], problems: Problems) -> tuple[str, ...]:
    """Check the contacts' addresses, of which one is needed; the same address counts once."""
    if not contacts:
        problems.add(
            "contacts", Text("needs at least one e-mail address", "exige au moins une adresse électronique")
        )
    return _check_each("contacts", contacts, identifiers.email, problems)


def _check_fields(request: OrderRequest, fields: Iterable[Field], problems: Problems) -> OrderFields:
    taken = {field.name: field for field in fields}
    given = {
        "service": request.service,
        "fqdn": request.fqdn,
        "email": request.email,
        "person": request.person,
    }
    for name, value in given.items():
        if name in taken and not value:
            problems.add(name, _REQUIRED)
        elif name not in taken and value:
            problems.add(name, _NOT_TAKEN)
    person = taken.get("person")
    return OrderFields(
        service=_check_service(request.service, problems) if "service" in taken else None,
        fqdn=_check_fqdn(request.fqdn, problems) if "fqdn" in taken else (),
        email=_check_email(request.email, problems) if "email" in taken else None,
        person=_check_person(request.person, person.members, problems) if person and request.person else None,
    )


def _check_service(value: str | None, problems: Problems) -> str | None:
    return problems.take("service", identifiers.common_name(value)) if value else None


def _check_fqdn(values: Sequence[str], problems: Problems) -> tuple[str, ...]:
    names = _check_each("fqdn", values, identifiers.fqdn, problems)
    if names and len(names[0]) > identifiers.NAME_LENGTH:
        problems.add(
            "fqdn.0",
            Text(
                "becomes the CN and must have at most 64 characters: put a shorter name first",
                "devient le CN et doit avoir au plus 64 caractères : placez un nom plus court en premier",
            ),
        )
    return names


def _check_email(value: str | None, problems: Problems) -> str | None:
    address = problems.take("email", identifiers.email(value)) if value else None
    if address is not None and len(address) > identifiers.NAME_LENGTH:
        problems.add(
            "email",
            Text("becomes the CN and must have at most 64 characters",
                 "devient le CN et doit avoir au plus 64 caractères"),
        )  # fmt: skip
    return address


def _check_person(person: Person, members: tuple[str, ...], problems: Problems) -> Person:
    given: dict[str, object] = {
        "rpps": person.rpps,
        "profession": person.profession,
        "register": person.register,
    }
    for member, value in given.items():
        if member in members and value is None:
            problems.add(f"person.{member}", _REQUIRED)
        elif member not in members and value is not None:
            problems.add(f"person.{member}", _NOT_TAKEN)
    last_name = problems.take("person.last_name", identifiers.name(person.last_name))
    first_name = problems.take("person.first_name", identifiers.name(person.first_name))
    return Person(
        last_name=last_name or "",
        first_name=first_name or "",
        rpps=_check_member("person.rpps", person.rpps, identifiers.rpps, problems),
        profession=_check_profession(person.profession, problems),
        register=_check_member("person.register", person.register, identifiers.register, problems),
    )


def _check_member(
    field: str, value: str | None, rule: Callable[[str], str | Text], problems: Problems
) -> str | None:
    return problems.take(field, rule(value)) if value is not None else None


def _check_profession(code: int | None, problems: Problems) -> int | None:
    if code is None or code in PROFESSION_TITLES:
        return code
    known = ", ".join(f"{known_code} ({title})" for known_code, title in PROFESSION_TITLES.items())
    problems.add("person.profession", Text(f"must be one of {known}", f"doit être l’un de {known}"))
    return None


def _check_key(request: OrderRequest, problems: Problems) -> None:
    key = request.key
    allowed = algorithms_of(request.offer, request.usage)
    if key.algorithm is not None and key.algorithm not in allowed:
        known = ", ".join(allowed)
        problems.add("key.algorithm", Text(f"must be one of {known}", f"doit être l’un de {known}"))
    if key.source == "csr" and not key.csr:
        problems.add("key.csr", _REQUIRED)
    if key.source == "csr" and key.token:
        problems.add(
            "key.token",
            Text(
                "is for keys made on a token, not for a CSR",
                "ne vaut que pour une clé créée sur un jeton, pas pour une CSR",
            ),
        )
    if key.source == "token" and key.csr:
        problems.add(
            "key.csr",
            Text("needs the key source `csr`", "exige la source de clé « csr »"),
        )


def _check_each(
    field: str, values: Sequence[str], rule: Callable[[str], str | Text], problems: Problems
) -> tuple[str, ...]:
    checked = [problems.take(f"{field}.{index}", rule(value)) for index, value in enumerate(values)]
    return tuple(dict.fromkeys(value for value in checked if value is not None))
