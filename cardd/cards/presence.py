"""Readers, and the cards that are in them.

Test cards on SoftHSM have no reader; an inserted one appears in a reader of its own, which goes with it.
"""

import sqlalchemy as sa

from cardd.cards.inserted import InsertedCards
from cardd.cards.records import GENERATION, SOFTHSM, reader_name
from cardd.cards.types import CardSerial, ReaderView
from cardd.store import Store
from cardd.store.tables import cards


class Presence:
    """What is in which reader now."""

    def __init__(self, store: Store, inserted: InsertedCards | None = None) -> None:
        self._store = store
        self._inserted = inserted

    async def readers(self) -> list[ReaderView]:
        """Return every reader, PC/SC ones first, by name."""
        return [
            *([] if self._inserted is None else self._inserted.readers()),
            *(
                ReaderView(
                    name=reader_name(serial), state="present", card=serial, generation=GENERATION.lower()
                )
                for serial in await self._on_software_tokens()
            ),
        ]

    async def present(self) -> list[CardSerial]:
        """Return the serials of the cards that are in a reader, sorted."""
        in_readers = () if self._inserted is None else self._inserted.cards()
        return sorted([*(stay.serial for stay in in_readers), *await self._on_software_tokens()])

    async def _on_software_tokens(self) -> list[CardSerial]:
        is_inserted = cards.c.inserted & (cards.c.medium == SOFTHSM)
        wanted = sa.select(cards.c.serial).where(is_inserted).order_by(cards.c.serial)
        async with self._store.read() as connection:
            return [CardSerial(serial) for serial in (await connection.execute(wanted)).scalars()]
