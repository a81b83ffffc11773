"""The history of an order, a certificate or a habilitation: its lines of the journal."""

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from cardd.orders.types import HistoryEntry
from cardd.store.tables import journal

_LINES = sa.select(journal).where(journal.c.subject == sa.bindparam("of")).order_by(journal.c.seq)


async def history_of(connection: AsyncConnection, subject: str) -> tuple[HistoryEntry, ...]:
    """Return the steps in the life of `subject` (such as `order:<id>`), oldest first."""
    rows = (await connection.execute(_LINES, {"of": subject})).all()
    return tuple(
        HistoryEntry(at=row.at, action=row.action, actor=row.actor, details=row.details) for row in rows
    )
