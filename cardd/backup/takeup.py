"""The first start after a restore: it is journalled and told, and the tokens' counters leap (`parts.start`).

What happened between the backup and the loss of the state is gone, but others may have seen it: lists with their
numbers, events with theirs, a token's counter in a copy of it. So each of them leaps ahead; those in the database have
when the rows are put in place (`restoring`), before any machine that shares it can start.
"""

import asyncio
from pathlib import Path

import msgspec
import sqlalchemy as sa

from cardd.backup.layout import REPORT
from cardd.backup.types import RestoreReport
from cardd.events import EventType
from cardd.store import Store
from cardd.store.tables import instance

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
        tx.publish(EventType.STATE_RESTORED, "state", backup_made_at=report.made_at.isoformat())
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
