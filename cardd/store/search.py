"""Text found anywhere in orders and certificates, at a million rows as at a thousand.

Both databases find three characters in a row from an index: SQLite in an FTS5 table with its trigram tokenizer,
PostgreSQL with pg_trgm. SQLite's is kept by triggers, over a narrow copy of the text that is numbered in the order in
which rows came: hits are read from it newest first and no further than a page needs, however many there are.
"""

from dataclasses import dataclass
from functools import cache

import sqlalchemy as sa

#: What an index finds has at least so many characters.
_TRIGRAM = 3


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


@cache
def searched(table: sa.Table) -> Searched:
    """Return where the text of a table is looked in on SQLite."""
    (identifier,) = table.primary_key.columns
    name = f"{table.name}_search"
    columns = (sa.column("number", sa.Integer), sa.column("row", sa.Text), sa.column("search", sa.Text))
    return Searched(
        identifier, sa.table(name, *columns), sa.table(f"{name}_index", sa.column("rowid", sa.Integer))
    )


def entries_with(table: sa.Table, words: tuple[str, ...]) -> sa.Select[tuple[int, str]]:
    """Select number and identifier of the rows in whose text every word occurs, on SQLite.

    Sorted by number, either way, they come from the index itself.
    """
    found = searched(table)
    entries, index = found.entries, found.index
    long = [word for word in words if len(word) >= _TRIGRAM]
    short = [word for word in words if len(word) < _TRIGRAM]
    selected = sa.select(entries.c.number, entries.c.row)
    if long:
        # A phrase of FTS5: quotes inside are doubled.
        phrases = " AND ".join('"' + word.replace('"', '""') + '"' for word in long)
        selected = (
            sa.select(index.c.rowid.label("number"), entries.c.row)
            .select_from(index.join(entries, entries.c.number == index.c.rowid))
            .where(found.match.op("MATCH")(phrases))
        )
    return selected.where(*(entries.c.search.contains(word, autoescape=True) for word in short))


def mentions(table: sa.Table, words: tuple[str, ...]) -> list[sa.ColumnElement[bool]]:
    """Return the conditions that every word occurs in a row's text, for databases that find the index by themselves."""
    identifier = searched(table).identifier
    return [
        sa.or_(table.c.search.contains(word, autoescape=True), identifier.contains(word, autoescape=True))
        for word in words
    ]
