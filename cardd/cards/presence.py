"""Readers, and the cards that are in them.

Test cards on SoftHSM have no reader; an inserted one appears in a reader of its own, which goes with it.
"""

import sqlalchemy as sa

from cardd.cards.records import reader_name
from cardd.cards.types import CardSerial, ReaderView
from cardd.store import Store
from cardd.store.tables import cards


class Presence:
    """What is in which reader now."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def readers(self) -> list[ReaderView]:
        """Return every reader, by name."""
        return [
            ReaderView(name=reader_name(serial), state="present", card=serial)
            for serial in await self.present()
        ]

    async def present(self) -> list[CardSerial]:
        """Return the serials of the cards that are in a reader, sorted."""
        wanted = sa.select(cards.c.serial).where(cards.c.inserted).order_by(cards.c.serial)
        async with self._store.read() as connection:
            return [CardSerial(serial) for serial in (await connection.execute(wanted)).scalars()]
