"""One committed state of the shared database, kept while all machines write, and copied into a SQLite file."""

import asyncio
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import REGCLASS
from sqlalchemy.ext.asyncio import AsyncConnection

from cardd.store import tables
from cardd.store.carrying import BATCH, Tally, opened_file, rows_of, tallied
from cardd.store.errors import CopyUnfaithfulError
from cardd.store.migrate import upgrade
from cardd.text import Text


class SharedSnapshot:
    """A read-only transaction that sees what was committed when it was pinned (PostgreSQL: REPEATABLE READ)."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._source = connection

    async def pin(self) -> None:
        """See from now on what is committed now; a large state may take longer than a session may stand still."""
        await self._source.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
        await self._source.execute(sa.select(tables.journal_head))

    async def copy_to(self, path: Path) -> None:
        """Copy all rows into a new SQLite file (0600), and compare what arrived with what left.

        Raises:
            CopyUnfaithfulError: it differs; the file is worth nothing.
        """
        await asyncio.to_thread(path.touch, mode=0o600, exist_ok=False)
        await asyncio.to_thread(upgrade, f"sqlite:///{path}")
        with opened_file(path) as target:
            for table in tables.metadata.sorted_tables:
                await self._copy(table, target)
            await self._note_numbers(target)
            await asyncio.to_thread(target.commit)

    async def _copy(self, table: sa.Table, target: sa.Connection) -> None:
        left = Tally(table)
        async with self._source.stream(sa.select(table).execution_options(yield_per=BATCH)) as found:
            async for batch in found.partitions():
                rows = [row._asdict() for row in batch]
                await asyncio.to_thread(target.execute, sa.insert(table), rows)
                await asyncio.to_thread(left.count, rows)
        if await asyncio.to_thread(lambda: tallied(table, rows_of(target, table))) != left.sum:
            raise CopyUnfaithfulError(
                Text(
                    f"The copy of the table {table.name} differs from it.",
                    f"La copie de la table {table.name} en diffère.",
                )
            )

    async def _note_numbers(self, target: sa.Connection) -> None:
        """Note the last numbers given out, even where what had them was pruned."""
        for table in tables.metadata.sorted_tables:
            if not table.kwargs.get("sqlite_autoincrement"):
                continue
            sequence = sa.func.pg_get_serial_sequence(table.name, "id")
            statement = sa.select(
                sa.func.coalesce(sa.func.pg_sequence_last_value(sequence.cast(REGCLASS)), 0)
            )
            last = (await self._source.execute(statement)).scalar_one()
            target.exec_driver_sql("DELETE FROM sqlite_sequence WHERE name = ?", (table.name,))
            target.exec_driver_sql(
                "INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", (table.name, last)
            )
