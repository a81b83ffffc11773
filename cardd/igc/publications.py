"""What a CA's revocation list has held over time, from the journal of its publications."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from cardd.igc.names import CaName
from cardd.store import Store
from cardd.store.tables import journal

#: The action of the journal lines that `cardd.igc.publishing` writes.
PUBLISHED = "crl.publish"


class Publication(NamedTuple):
    """One publication: when, and how many entries the complete list had."""

    at: datetime
    entries: int


async def publications(store: Store, issuer: CaName, *, limit: int = 200) -> Sequence[Publication]:
    """Return the last publications of a CA, oldest first."""
    lines = (
        sa.select(journal.c.at, journal.c.details)
        .where(journal.c.subject == f"crl:{issuer}", journal.c.action == PUBLISHED)
        .order_by(journal.c.seq.desc())
        .limit(limit)
    )
    async with store.read() as connection:
        rows = (await connection.execute(lines)).all()
    return [Publication(row.at, int(row.details["entries"])) for row in reversed(rows)]
