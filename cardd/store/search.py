"""Text found anywhere in orders and certificates, at a million rows as at a thousand.

Both databases find three characters in a row from an index: SQLite in an FTS5 table with its trigram tokenizer,
PostgreSQL with pg_trgm. SQLite's is kept by triggers, over a narrow copy of the text that is numbered in the order in
which rows came: hits are read from it newest first and no further than a page needs, however many there are.

On SQLite what a search costs is the length of the lists it reads of rows with three characters in a row: those of a
serial are in one row of a hundred, those of an e-mail domain in all. So the rarest are read, and the text of the few
rows that have them is looked at; the index keeps no places within a text (`detail=none`), which nobody asks for.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

#: What an index finds has so many characters.
_TRIGRAM = 3

#: How rare a trigram is, is told from how far its first rows, so many, reach.
_SAMPLE = 200

#: What reading on in a list costs, beside looking at the text of a row.
_STEP = 0.002

#: Trigrams of one word that are in a greater share of the rows than that are taken to be in the same rows.
_COMMON = 0.1

#: Of more texts than that, of which one must occur, the index is not asked.
_MOST_ALTERNATIVES = 16


@dataclass(frozen=True)
class Searched:
    """A table with the text that is looked in, on SQLite."""

    identifier: sa.Column[str]
    entries: sa.TableClause
    """`number` rises with each row that is added; `row` is its identifier."""
    index: sa.TableClause

    @property
    def match(self) -> sa.ColumnElement[str]:
        """What stands left of MATCH."""
        return sa.literal_column(self.index.name)


class Sought(NamedTuple):
    """What a row's text must mention: every word, and one of `any_of` where there are such."""

    words: tuple[str, ...]
    any_of: tuple[str, ...] = ()


class _Clue(NamedTuple):
    """What the index is asked, and the share of rows that it finds, between 0 and 1."""

    share: float
    asked: str


@cache
def searched(table: sa.Table) -> Searched:
    """Return where the text of a table is looked in on SQLite."""
    (identifier,) = table.primary_key.columns
    name = f"{table.name}_search"
    columns = (sa.column("number", sa.Integer), sa.column("row", sa.Text), sa.column("search", sa.Text))
    return Searched(
        identifier, sa.table(name, *columns), sa.table(f"{name}_index", sa.column("rowid", sa.Integer))
    )


async def entries_with(
    connection: AsyncConnection, table: sa.Table, sought: Sought
) -> sa.Select[tuple[int, str]]:
    """Select number and identifier of the rows that mention what is sought, on SQLite.

    Sorted by number, either way, they come from the index itself. Rows that mention none of `any_of` may be among
    them: it narrows what is looked at, where the index can.
    """
    found = searched(table)
    entries, index = found.entries, found.index
    clues = _telling(sought, await _shares(connection, table, sought))
    if clues:
        selected = (
            sa.select(index.c.rowid.label("number"), entries.c.row)
            .select_from(index.join(entries, entries.c.number == index.c.rowid))
            .where(found.match.op("MATCH")(" AND ".join(clues)))
        )
    else:
        selected = sa.select(entries.c.number, entries.c.row)
    return selected.where(*(sa.func.instr(entries.c.search, word) > 0 for word in sought.words))


def mentions(
    table: sa.Table, words: tuple[str, ...], *, by_index: bool = True
) -> list[sa.ColumnElement[bool]]:
    """Return the conditions that every word occurs in a row's text.

    PostgreSQL answers them from its index of trigrams, but for short words, and where rows are looked at one by one.
    """
    indexed: list[sa.ColumnElement[str]] = [table.c.search, searched(table).identifier]
    alone = [sa.func.coalesce(column, "") for column in indexed]
    return [
        sa.or_(
            *(
                column.contains(word, autoescape=True)
                for column in (indexed if by_index and len(word) >= _TRIGRAM else alone)
            )
        )
        for word in words
    ]


async def _shares(connection: AsyncConnection, table: sa.Table, sought: Sought) -> dict[str, float]:
    """Estimate in which share of the rows each trigram of what is sought occurs, from the first that have it."""
    trigrams = sorted(set().union(*map(_trigrams, (*sought.words, *sought.any_of))))
    if not trigrams:
        return {}
    entries, index = searched(table).entries.name, searched(table).index.name
    statement = sa.text(
        f"""
        SELECT value, (SELECT min(number) FROM {entries}), (SELECT max(number) FROM {entries}),
               (SELECT rowid FROM {index} WHERE {index} MATCH '"' || replace(value, '"', '""') || '"'
                ORDER BY rowid LIMIT 1 OFFSET {_SAMPLE})
        FROM json_each(:trigrams)
        """  # noqa: S608 (our own names)
    )
    asked = {"trigrams": msgspec.json.encode(trigrams).decode()}
    rows = (await connection.execute(statement, asked)).all()
    return {
        trigram: min(1.0, _SAMPLE / max(1, (reached or newest or 0) - (oldest or 0)))
        for trigram, oldest, newest, reached in rows
    }


def _telling(sought: Sought, shares: dict[str, float]) -> list[str]:
    """Return what the index is asked, the rarest first, for as long as it spares more than it costs."""
    words = [sorted(_clues(word, shares)) for word in sought.words if len(word) >= _TRIGRAM]
    clues = [
        clue for word in words for clue in (word[0], *(each for each in word[1:] if each.share < _COMMON))
    ]
    if 0 < len(sought.any_of) <= _MOST_ALTERNATIVES:
        clues.append(_either([min(_clues(text, shares)) for text in sought.any_of]))
    chosen: list[str] = []
    left = 1.0
    for clue in sorted(clues):
        if not chosen or clue.share * _STEP < left * (1 - clue.share):
            chosen.append(clue.asked)
            left *= clue.share
    return chosen


def _clues(text: str, shares: dict[str, float]) -> Iterable[_Clue]:
    # A phrase of FTS5: quotes inside are doubled.
    return (_Clue(shares[each], '"' + each.replace('"', '""') + '"') for each in _trigrams(text))


def _either(clues: Sequence[_Clue]) -> _Clue:
    return _Clue(
        min(1.0, sum(clue.share for clue in clues)), f"({' OR '.join(clue.asked for clue in clues)})"
    )


def _trigrams(text: str) -> set[str]:
    return {text[at : at + _TRIGRAM] for at in range(len(text) - _TRIGRAM + 1)}
