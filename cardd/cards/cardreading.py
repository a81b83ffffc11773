"""What a present card's data objects say, read through the module that drives it."""

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from cardd.cards.dataobjects import APPLICATION, BILLING, is_ours, read_objects
from cardd.cards.records import CardRecord
from cardd.cards.types import CardDataView
from cardd_pkcs11.errors import ObjectNotFoundError
from cardd_pkcs11.types import ObjectKind


class Reaching(Protocol):
    """What is needed of the card sessions."""

    def reaching(self, card: CardRecord) -> AbstractAsyncContextManager[None]:
        """Use a card until it goes away."""
        ...


async def read_card_data(card: CardRecord, sessions: Reaching) -> CardDataView:
    """Read a card's data objects; those behind the PIN are seen while a session of the card is open.

    Raises:
        CardAbsentError, CardUnreadableError, CardRemovedError
        TokenFaultError: the token failed.
    """
    access = card.reached()
    objects: dict[str, bytes] = {}
    async with sessions.reaching(card):
        for found in await access.tokens.list_objects(access.token_serial):
            if found.kind is not ObjectKind.DATA or found.application != APPLICATION:
                continue
            if not is_ours(found.label):
                continue
            try:
                objects[found.label] = await access.tokens.read_data(
                    access.token_serial, APPLICATION, found.label
                )
            except ObjectNotFoundError:
                continue  # its session was closed in between
    return read_objects(card.serial, objects, complete=BILLING in objects)
