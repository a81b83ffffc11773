"""The rows of one page of a list: narrowed, searched and sorted."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from cardd.orders.paging import PageRequest, Position, after_cursor, decode_cursor, paged, up_to
from cardd.orders.sorting import Sorting
from cardd.store import search
from cardd.store.tables import UtcDateTime

Rows = Sequence[sa.Row[Any]]

#: So many rows of a structure are sorted for each page; where there are more, the list is read until a page is full.
_SMALL = 1000

#: So many rows of a list are looked at one by one before an index is asked that finds all hits at once.
_NEAR = 2000

#: So many hits are sorted by something else than their age; where there are more, a list is read until a page is full.
_FEW = 5000


async def rows_of_page(
    connection: AsyncConnection,
    selection: sa.Select[Any],
    page: PageRequest,
    sorting: Sorting,
    *,
    conditions: Sequence[sa.ColumnElement[bool]],
    confines: Sequence[sa.ColumnElement[bool]],
    sought: search.Sought,
) -> Rows:
    """Return the rows of `selection` that a page shows, and one row more; each mentions what is sought.

    `confines` follow from `conditions`, and are answered by an index: where they leave few rows, these are taken.
    """
    table = sorting.identifier.table
    if not isinstance(table, sa.Table):
        raise TypeError("a list is of a table")
    if confines and await _is_few(connection, table, confines):
        mentioned = search.mentions(table, sought.words, by_index=False)
        statement = paged(selection, page, sorting, [*confines, *conditions, *mentioned])
    elif not sought.words:
        statement = paged(selection, page, sorting, conditions)
    elif connection.dialect.name != "sqlite":
        near = await _near(connection, selection, page, sorting, conditions=conditions, words=sought.words)
        if near is not None:
            return near
        statement = paged(selection, page, sorting, [*conditions, *search.mentions(table, sought.words)])
    else:
        found = await search.entries_with(connection, table, sought)
        if sorting.by_age:
            statement = _by_age(selection, page, sorting, conditions, found)
        else:
            hits = await _hits(connection, table, sought.words, found)
            statement = paged(selection, page, sorting, [*conditions, *hits])
    rows: Rows = (await connection.execute(statement)).all()
    return rows


async def _is_few(
    connection: AsyncConnection, table: sa.Table, confines: Sequence[sa.ColumnElement[bool]]
) -> bool:
    within = sa.select(sa.literal(1)).select_from(table).where(*confines).limit(_SMALL + 1)
    count = sa.select(sa.func.count()).select_from(within.subquery())
    return ((await connection.execute(count)).scalar() or 0) <= _SMALL


async def _near(
    connection: AsyncConnection,
    selection: sa.Select[Any],
    page: PageRequest,
    sorting: Sorting,
    *,
    conditions: Sequence[sa.ColumnElement[bool]],
    words: tuple[str, ...],
) -> Rows | None:
    """Return the rows of a page where they are among the next of the list, looked at one by one; else None.

    For databases whose index finds all hits before the first: where hits are many, it would take longer.
    """
    table: Any = sorting.identifier.table
    following = sa.select(sorting.key, sorting.identifier).where(*after_cursor(page, sorting))
    last = (await connection.execute(following.order_by(*sorting.by).offset(_NEAR).limit(1))).first()
    within = [up_to(sorting, Position(*last))] if last is not None else []
    looked_at = [*conditions, *search.mentions(table, words, by_index=False), *within]
    rows: Rows = (await connection.execute(paged(selection, page, sorting, looked_at))).all()
    return rows if last is None or len(rows) > page.limit else None


def _by_age(
    selection: sa.Select[Any],
    page: PageRequest,
    sorting: Sorting,
    conditions: Sequence[sa.ColumnElement[bool]],
    found: sa.Select[tuple[int, str]],
) -> sa.Select[Any]:
    """Return hits in the order in which the rows came, which the index of words has by itself."""
    table: Any = sorting.identifier.table
    entries = search.searched(table).entries
    number = found.selected_columns["number"]
    shown = found.join(table, sorting.identifier == entries.c.row).where(*conditions)
    if page.cursor is not None:
        last = decode_cursor(page.cursor, by_name=not isinstance(sorting.key.type, UtcDateTime))
        place = sa.select(entries.c.number).where(entries.c.row == last.id).scalar_subquery()
        shown = shown.where(number < place if sorting.descending else number > place)
    shown = shown.order_by(number.desc() if sorting.descending else number).limit(page.limit + 1)
    chosen = shown.subquery("chosen")
    ordered = chosen.c.number.desc() if sorting.descending else chosen.c.number
    return selection.join(chosen, chosen.c.row == sorting.identifier).order_by(ordered)


async def _hits(
    connection: AsyncConnection,
    table: sa.Table,
    words: tuple[str, ...],
    found: sa.Select[tuple[int, str]],
) -> list[sa.ColumnElement[bool]]:
    """Return the conditions of hits sorted by name or by end: few are found first, many while the list is read."""
    identifier = search.searched(table).identifier
    count = sa.select(sa.func.count()).select_from(found.limit(_FEW + 1).subquery())
    if ((await connection.execute(count)).scalar() or 0) > _FEW:
        return search.mentions(table, words)
    return [identifier.in_(sa.select(found.subquery().c.row))]
