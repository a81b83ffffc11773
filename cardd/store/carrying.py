"""Rows on their way from one database to another: in batches, whose they are, and summed up to be compared."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from cardd.store import tables
from cardd.store.backend import ONLY_MACHINE

#: Rows read and written at once.
BATCH: Final = 500

#: Facts about one machine alone, which carry its name where others have such facts too (`Store.own_name`).
_OWN_FACTS = frozenset({"http_port", "demonstration", "virtual_cards_inserted", "token_module"})


class CarriedTable(msgspec.Struct, frozen=True, kw_only=True):
    """A table that was carried; the hash is the sum of its rows' SHA-256, modulo 2²⁵⁶."""

    name: str
    rows: int
    sha256: str


class Tally:
    """Sums up a table without regard to the order of its rows, which is each database's own."""

    def __init__(self, table: sa.Table) -> None:
        self._name = table.name
        self._rows = self._total = 0

    def count(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Count rows in."""
        for row in rows:
            encoded = msgspec.json.encode({key: _plain(value) for key, value in row.items()}, order="sorted")
            self._total = (self._total + int.from_bytes(hashlib.sha256(encoded).digest())) % (1 << 256)
            self._rows += 1

    @property
    def sum(self) -> CarriedTable:
        """What was counted."""
        return CarriedTable(name=self._name, rows=self._rows, sha256=self._total.to_bytes(32).hex())


def tallied(table: sa.Table, rows: Iterable[Mapping[str, Any]]) -> CarriedTable:
    """Sum up all rows of a table."""
    tally = Tally(table)
    tally.count(rows)
    return tally.sum


def rows_of(source: sa.Connection, table: sa.Table) -> Iterator[dict[str, Any]]:
    """Read a table in batches."""
    for row in source.execute(sa.select(table)).yield_per(BATCH):
        yield row._asdict()


def of_machine(table: sa.Table, row: dict[str, Any], machine: str) -> dict[str, Any]:
    """Return a row of a state that one machine had alone as it is among those of others: that machine's."""
    if row.get("machine") == ONLY_MACHINE:
        row["machine"] = machine
    if table is tables.instance and row["name"] in _OWN_FACTS:
        row["name"] = f"{row['name']}@{machine}"
    if table is tables.idempotency and "@" not in row["caller"]:
        row["caller"] = f"{row['caller']}@{machine}"
    return row


def give_to_only_machine(target: sa.Connection, machine: str) -> None:
    """Turn what is `machine`'s into what is the only machine's; the rows of others stay theirs."""
    for table in tables.metadata.sorted_tables:
        if "machine" in table.c:
            own = sa.update(table).where(table.c.machine == machine)
            target.execute(own.values(machine=ONLY_MACHINE))
    suffix = f"@{machine}"
    for column in (tables.instance.c.name, tables.idempotency.c.caller):
        own = sa.update(column.table).where(column.endswith(suffix, autoescape=True))
        target.execute(own.values({column: sa.func.substr(column, 1, sa.func.length(column) - len(suffix))}))


@contextmanager
def opened_file(file: Path) -> Iterator[sa.Connection]:
    """Open a SQLite database for one transaction, which may be worked on in threads, one at a time."""
    engine = sa.create_engine(
        f"sqlite:///{file}", connect_args={"check_same_thread": False}, poolclass=sa.StaticPool
    )
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


def _plain(value: Any) -> Any:
    return value.timestamp() if isinstance(value, datetime) else value
