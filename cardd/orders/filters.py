"""What lists are narrowed by, and who sees which part of them, as conditions of SQL."""

import unicodedata
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, NamedTuple

import msgspec
import sqlalchemy as sa
from msgspec import Meta
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from cardd.orders.sorting import CertificateSort, OrderSort
from cardd.orders.types import CertificateState, Offer, OrderState, StructureId
from cardd.store.search import Sought
from cardd.store.tables import certificates, orders
from cardd.vocabulary import Usage

Search = Annotated[str, Meta(max_length=200)]
Identifier = Annotated[str, Meta(max_length=64)]

#: The kinds of certificate that lists show; those of CAs and responders are published, not managed.
MANAGED_KINDS = ("order", "card")


class OrderFilters(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a list of orders is narrowed and sorted by; `q` is looked for in names, contacts and identifiers."""

    offer: Offer | None = None
    usage: Usage | None = None
    structure: Identifier | None = None
    state: OrderState | None = None
    q: Search | None = None
    sort: OrderSort = OrderSort.NEWEST


class CertificateFilters(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a list of certificates is narrowed and sorted by; `q` is looked for in serials, too."""

    state: CertificateState | None = None
    q: Search | None = None
    expires_before: Annotated[datetime, Meta(tz=True)] | None = None
    offer: Offer | None = None
    usage: Usage | None = None
    structure: Identifier | None = None
    card: Identifier | None = None
    sort: CertificateSort = CertificateSort.NEWEST


class Grant(NamedTuple):
    """What one habilitation covers of one offer."""

    habilitation_id: str
    structure_id: StructureId
    offer: Offer
    usages: tuple[Usage, ...]


class Scope(NamedTuple):
    """What a card may see and manage: what its habilitations cover, and its own certificates."""

    card_serial: str
    grants: tuple[Grant, ...]

    def habilitation_for(self, structure_id: str, offer: str, usage: str) -> str | None:
        """Return the habilitation that covers a structure, an offer and a usage, None where none does."""
        for grant in self.grants:
            if grant.structure_id == structure_id and grant.offer == offer and usage in grant.usages:
                return grant.habilitation_id
        return None


def order_conditions(
    filters: OrderFilters, scope: Scope | None, now: datetime
) -> list[sa.ColumnElement[bool]]:
    """Return the conditions of a list of orders."""
    found = _common(orders, filters.offer, filters.usage, filters.structure)
    if filters.state is not None:
        found.append(_order_state(filters.state, now))
    if scope is not None:
        found.append(_covered(orders, scope.grants))
    return found


def certificate_conditions(
    filters: CertificateFilters, scope: Scope | None, now: datetime, notice: timedelta
) -> list[sa.ColumnElement[bool]]:
    """Return the conditions of a list of certificates; computed states become bounds on notAfter."""
    table = certificates
    found: list[sa.ColumnElement[bool]] = [_as_it_comes(table.c.kind).in_(MANAGED_KINDS)]
    found += _common(table, filters.offer, filters.usage, filters.structure)
    if filters.state is not None:
        found.append(_certificate_state(filters.state, now, notice))
    if filters.expires_before is not None:
        found.append(table.c.not_after < filters.expires_before)
    if filters.card is not None:
        found.append(table.c.card_serial == filters.card)
    if scope is not None:
        own = _as_it_comes(table.c.card_serial) == scope.card_serial
        found.append(sa.or_(_covered(table, scope.grants), own))
    return found


def confines_of(table: sa.Table, structure: str | None, scope: Scope | None) -> list[sa.ColumnElement[bool]]:
    """Return in which structures the rows are that a list may show, as conditions that the structure's index answers.

    They follow from the list's conditions, which say the same row by row; none where rows of any structure may do.
    """
    found: list[sa.ColumnElement[bool]] = []
    if structure is not None:
        found.append(table.c.structure_id == structure)
    if scope is not None:
        covered = table.c.structure_id.in_({grant.structure_id for grant in scope.grants})
        own = table.c.card_serial == scope.card_serial
        found.append(sa.or_(covered, own) if table is certificates else covered)
    return found


def sought_by(q: str | None, scope: Scope | None) -> Sought:
    """Return what is looked for: each word by itself, without regard to case, in rows that the scope may hold.

    The text of an order and of its certificate names its structure, that of a card's certificates the card.
    """
    words = tuple(_folded(q).split()) if q else ()
    if scope is None:
        return Sought(words)
    return Sought(words, (scope.card_serial, *sorted({grant.structure_id for grant in scope.grants})))


def search_text(parts: Sequence[str | None]) -> str:
    """Return what `q` is looked for in: the parts, one a line, without regard to case."""
    return "\n".join(_folded(part) for part in parts if part)


def _common(
    table: sa.Table, offer: Offer | None, usage: Usage | None, structure: str | None
) -> list[sa.ColumnElement[bool]]:
    equal: dict[str, Any] = {"offer": offer, "usage": usage, "structure_id": structure}
    return [_as_it_comes(table.c[name]) == str(value) for name, value in equal.items() if value is not None]


class _as_it_comes(FunctionElement[str]):  # noqa: N801 (a function of SQL)
    """A column that is compared row by row, in the order of the list.

    A list is read from the index of its order (`cardd.orders.sorting`), which ends as soon as the page is full. An
    index of the column would find half the table, to be sorted for one page of it. PostgreSQL knows that by itself,
    from how often each value occurs.
    """

    inherit_cache = True
    type = sa.Text()


@compiles(_as_it_comes)
def _not_from_an_index(element: _as_it_comes, compiler: SQLCompiler, **options: Any) -> str:
    return f"coalesce({compiler.process(element.clauses, **options)}, '')"


@compiles(_as_it_comes, "postgresql")
def _as_is(element: _as_it_comes, compiler: SQLCompiler, **options: Any) -> str:
    return compiler.process(element.clauses, **options)


def _order_state(state: OrderState, now: datetime) -> sa.ColumnElement[bool]:
    waits = orders.c.state == OrderState.TO_RETRIEVE.value
    match state:
        case OrderState.TO_RETRIEVE:
            return sa.and_(waits, orders.c.expires_at > now)
        case OrderState.EXPIRED:
            return sa.or_(orders.c.state == state.value, sa.and_(waits, orders.c.expires_at <= now))
        case _:
            return _as_it_comes(orders.c.state) == state.value


def _certificate_state(state: CertificateState, now: datetime, notice: timedelta) -> sa.ColumnElement[bool]:
    revoked_at, not_after = certificates.c.revoked_at, certificates.c.not_after
    # Written so that no index of revoked_at is taken: nearly every row is not revoked.
    stands = sa.func.coalesce(revoked_at, revoked_at).is_(None)
    match state:
        case CertificateState.REVOKED:
            return revoked_at.is_not(None)
        case CertificateState.EXPIRED:
            return sa.and_(stands, not_after < now)
        case CertificateState.RENEWABLE:
            return sa.and_(stands, not_after >= now, not_after <= now + notice)
        case CertificateState.ACTIVE:
            return sa.and_(stands, not_after > now + notice)


def _covered(table: sa.Table, grants: Sequence[Grant]) -> sa.ColumnElement[bool]:
    return sa.or_(
        sa.false(),
        *(
            sa.and_(
                _as_it_comes(table.c.structure_id) == grant.structure_id,
                table.c.offer == grant.offer.value,
                table.c.usage.in_([usage.value for usage in grant.usages]),
            )
            for grant in grants
        ),
    )


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", text.replace("\x00", "")).casefold()
