"""The first start after a restore: numbers go on above everything that was given out since the backup.

What happened between the backup and the loss of the state is gone, but others may have seen it: lists with their
numbers, events with theirs, a token's counter in a copy of it. So each of them leaps ahead.
"""

import asyncio
from pathlib import Path

import msgspec
import sqlalchemy as sa

from cardd.backup.layout import REPORT
from cardd.backup.types import RestoreReport
from cardd.events import EventType
from cardd.igc.publishing import leap_numbers
from cardd.store import Store, Transaction
from cardd.store.tables import events, instance

#: Further than any of these numbers runs between a backup and a restore; as seconds, 12 days.
LEAP = 1_000_000

_FACT = "restored"


async def take_up_restore(store: Store, state: Path) -> RestoreReport | None:
    """Note a restore that no start has taken up yet, and return what it said; `restore_taken_up` ends it."""
    path = state / REPORT
    if not await asyncio.to_thread(path.is_file):
        return None
    report = msgspec.json.decode(await asyncio.to_thread(path.read_bytes), type=RestoreReport)
    async with store.transaction() as tx:
        noted = sa.select(instance.c.value).where(instance.c.name == _FACT)
        moment = report.restored_at.isoformat()
        if (await tx.execute(noted)).scalar() == moment:
            return report
        await tx.execute(sa.delete(instance).where(instance.c.name == _FACT))
        await tx.execute(sa.insert(instance).values(name=_FACT, value=moment))
        await leap_numbers(tx, LEAP)
        await _leap_events(tx, report)
        tx.journal(
            "state.restored",
            "state",
            backup_made_at=report.made_at.isoformat(),
            restored_at=moment,
            files=report.files,
        )
    return report


async def restore_taken_up(state: Path) -> None:
    """Forget the restore: every part has taken it up."""
    await asyncio.to_thread((state / REPORT).unlink, missing_ok=True)


async def _leap_events(tx: Transaction, report: RestoreReport) -> None:
    """Publish the event under a number that followers of the stream have not seen."""
    last = (await tx.execute(sa.select(sa.func.max(events.c.id)))).scalar() or 0
    await tx.execute(
        sa.insert(events).values(
            id=last + LEAP,
            at=tx.now,
            type=EventType.STATE_RESTORED,
            subject="state",
            data={"backup_made_at": report.made_at.isoformat()},
        )
    )
