"""Moving the state of one machine from SQLite to PostgreSQL, for other machines to join.

All rows go in one transaction, which commits once what arrived has been compared with what left: the rows of each
table by number and by content, the journal by its chain, and every constraint by the database itself. A move that is
cut short leaves the target empty, and the file as it was. After the commit the file is renamed, so that no daemon
takes it for the state; a move that is cut short between the two is finished by the next.
"""

import asyncio
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from cardd.audit import JournalEntry, verify_chain
from cardd.errors import ConflictError, NotFoundError
from cardd.progress import Progress, ProgressStep
from cardd.store import tables
from cardd.store.carrying import BATCH, CarriedTable, of_machine, opened_file, rows_of, tallied
from cardd.store.lock import state_of_ours
from cardd.store.machine import machine_identifier
from cardd.store.migrate import upgrade
from cardd.store.postgresql import PostgresqlBackend, SharedDatabase
from cardd.store.snapshot import DATABASE
from cardd.store.unavailability import unavailability
from cardd.text import Text

#: What the file is called once its rows are in the shared database.
MOVED = "cardd.sqlite3.moved"


class TargetNotEmptyError(ConflictError):
    """The database that is to take the state over holds another."""

    code = "target_not_empty"
    title = Text("The database is not empty", "La base de données n’est pas vide")
    default_advice = Text(
        "Name an empty database in store.url. To join the state that is there, start with an empty state directory.",
        "Indiquez une base vide dans store.url. Pour rejoindre l’état qui s’y trouve, partez d’un répertoire vide.",
    )


class MoveUnfaithfulError(ConflictError):
    """What arrived is not what left; nothing was kept."""

    code = "move_unfaithful"
    title = Text("The move would change the state", "Le transfert modifierait l’état")
    default_advice = Text(
        "Nothing was moved. Run `cardd audit verify` on the state, then report the table that is named.",
        "Rien n’a été transféré. Exécutez « cardd audit verify » sur l’état, puis signalez la table nommée.",
    )


class MoveReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was moved, and compared on both sides."""

    database: str
    machine: str
    rows: int
    journal_head: str
    tables: tuple[CarriedTable, ...]


async def move(state: Path, target: SharedDatabase, progress: Progress) -> MoveReport:
    """Move the state of a directory, which no daemon may be using, into an empty database.

    Raises:
        StateInUseError, NotFoundError: a daemon works on the state, or there is none.
        TargetNotEmptyError: the database holds another state.
        MoveUnfaithfulError: what arrived differs; nothing was kept.
        StoreUnavailableError: the database does not answer; nothing was kept.
    """
    with state_of_ours(state):
        file, moved = state / DATABASE, state / MOVED
        if not file.is_file():
            raise _nothing_to_move(state)
        await asyncio.to_thread(upgrade, f"sqlite:///{file}")
        machine = await asyncio.to_thread(machine_identifier, state)
        report = await load(file, machine, target, progress)
        for suffix in ("-wal", "-shm"):
            (state / f"{DATABASE}{suffix}").unlink(missing_ok=True)
        file.rename(moved)
    return report


async def load(file: Path, machine: str, target: SharedDatabase, progress: Progress) -> MoveReport:
    """Put the rows of a SQLite file with tables of this version into an empty database; the file stays as it is.

    What was the only machine's is `machine`'s there. Raises as `move` does.
    """
    backend = PostgresqlBackend(target, machine)
    try:
        with unavailability():
            await backend.upgrade()
            with opened_file(file) as source:
                async with backend.writer.begin() as connection:
                    return await _moved(source, connection, _Move(target.shown, machine, progress))
    finally:
        await backend.close()


class _Move(msgspec.Struct, frozen=True):
    database: str
    machine: str
    progress: Progress

    def rows_of(self, source: sa.Connection, table: sa.Table) -> Iterator[dict[str, Any]]:
        """Read a table, its rows as they are to be in the shared database."""
        return (of_machine(table, row, self.machine) for row in rows_of(source, table))


async def _moved(source: sa.Connection, target: AsyncConnection, how: _Move) -> MoveReport:
    # A large table may take longer than a session is otherwise allowed to stand still.
    for limit in ("idle_in_transaction_session_timeout", "statement_timeout"):
        await target.exec_driver_sql(f"SET LOCAL {limit} = 0")
    wanted = tables.metadata.sorted_tables
    empty = await _is_empty(target)
    found = []
    for number, table in enumerate(wanted):
        step = Text(f"Moving {table.name}", f"Transfert de {table.name}")
        how.progress(ProgressStep(number, len(wanted), step))
        left = await asyncio.to_thread(tallied, table, how.rows_of(source, table))
        if empty:
            await _copy(source, target, table, how)
        arrived = await _digest_of(target, table)
        if arrived != left:
            raise _unfaithful(table.name) if empty else _not_empty(how.database)
        found.append(left)
    head = await _verify_journal(target)
    if empty:
        await _continue_numbers(source, target)
    how.progress(ProgressStep(len(wanted), len(wanted), Text("Moved", "Transféré")))
    return MoveReport(
        database=how.database,
        machine=how.machine,
        rows=sum(each.rows for each in found),
        journal_head=head,
        tables=tuple(found),
    )


async def _is_empty(target: AsyncConnection) -> bool:
    for table in tables.metadata.sorted_tables:
        if (await target.execute(sa.select(sa.literal(1)).select_from(table).limit(1))).first() is not None:
            return False
    return True


async def _copy(source: sa.Connection, target: AsyncConnection, table: sa.Table, how: _Move) -> None:
    rows = how.rows_of(source, table)
    while batch := await asyncio.to_thread(_taken, rows):
        await target.execute(sa.insert(table), batch)


def _taken(rows: Iterator[dict[str, Any]]) -> list[dict[str, Any]]:
    return list(itertools.islice(rows, BATCH))


async def _digest_of(target: AsyncConnection, table: sa.Table) -> CarriedTable:
    return await target.run_sync(lambda connection: tallied(table, rows_of(connection, table)))


async def _verify_journal(target: AsyncConnection) -> str:
    """Verify the journal's chain where it arrived, and return its head."""
    head = (await target.execute(sa.select(tables.journal_head))).first()
    statement = sa.select(tables.journal).order_by(tables.journal.c.seq)
    entries = [JournalEntry(**row._asdict()) for row in (await target.execute(statement)).all()]
    if head is None:
        return ""
    report = await asyncio.to_thread(verify_chain, entries, head_seq=head.seq, head_hash=head.hash)
    if not report.valid:
        raise _unfaithful("journal")
    return report.head


async def _continue_numbers(source: sa.Connection, target: AsyncConnection) -> None:
    """Have events numbered on from the last number given out, even where its event was pruned."""
    given = source.exec_driver_sql("SELECT name, seq FROM sqlite_sequence").all()
    for name, number in given:
        await target.execute(
            sa.select(sa.func.setval(sa.func.pg_get_serial_sequence(name, "id"), max(number, 1), number > 0))
        )


def _nothing_to_move(state: Path) -> NotFoundError:
    if (state / MOVED).is_file():
        return NotFoundError(
            Text(f"The state in {state} was moved before.", f"L’état de {state} a déjà été transféré."),
            advice=Text(
                "Start the daemon with the same settings.", "Démarrez le démon avec la même configuration."
            ),
        )
    return NotFoundError(
        Text(f"There is no SQLite state in {state}.", f"Il n’y a pas d’état SQLite dans {state}."),
        advice=Text(
            "Name the state directory with --state-dir; a new state needs no move.",
            "Indiquez le répertoire d’état avec --state-dir ; un nouvel état n’a pas à être transféré.",
        ),
    )


def _unfaithful(table: str) -> MoveUnfaithfulError:
    return MoveUnfaithfulError(
        Text(f"The table {table} differs from what left.", f"La table {table} diffère de ce qui est parti."),
        table=table,
    )


def _not_empty(database: str) -> TargetNotEmptyError:
    return TargetNotEmptyError(
        Text(f"{database} holds another state.", f"{database} contient un autre état.")
    )
