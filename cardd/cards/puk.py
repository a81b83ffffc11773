"""The PUK of test cards on software tokens, which have none of their own: the daemon keeps and counts it.

All have the same, for they are test cards. A try is counted and committed before it is compared, and given back
after success.
"""

import asyncio
import hmac
from typing import Final

import sqlalchemy as sa

from cardd.cards.access import CardAccess
from cardd.cards.errors import PukIncorrectError, PukLockedError
from cardd.cards.types import CardSerial
from cardd.custody.pins import PinVault
from cardd.events import EventType
from cardd.store import Store
from cardd.store.tables import cards
from cardd_pkcs11.types import Secret

#: The PUK of every test card, on a software token or virtual.
DEFAULT_PUK: Final = "12345678"
PUK_TRIES: Final = 3


class SoftwarePuks:
    """Unblocks software tokens with the security officer's PIN, which the daemon holds."""

    def __init__(self, store: Store, vault: PinVault, tries: int) -> None:
        """Work on the cards of `store`, whose PINs have `tries`."""
        self._store = store
        self._vault = vault
        self._tries = tries

    async def unblock(self, serial: CardSerial, access: CardAccess, puk: Secret, new: Secret) -> None:
        """Set a new PIN with the PUK.

        Raises:
            PukIncorrectError, PukLockedError
            PinVaultError, TokenError: the PIN is as it was; the try is not given back.
        """
        left = await self._count_down(serial)
        if not hmac.compare_digest(puk.reveal().encode(), DEFAULT_PUK.encode()):
            async with self._store.transaction() as tx:
                tx.journal("card.puk_incorrect", f"card:{serial}", tries_left=left)
            raise PukIncorrectError.with_tries(left)
        pins = await asyncio.to_thread(self._vault.read_pins, access.token_serial)
        await access.tokens.forget(access.token_serial)
        await access.tokens.init_pin(access.token_serial, pins.security_officer, new)
        async with self._store.transaction() as tx:
            unblocked = sa.update(cards).where(cards.c.serial == serial)
            await tx.execute(unblocked.values(pin_tries_left=self._tries, puk_tries_left=PUK_TRIES))
            tx.journal("card.pin_unblocked", f"card:{serial}", tries_left=self._tries)
            tx.publish(EventType.CARD_PIN_UNBLOCKED, f"card:{serial}")

    async def _count_down(self, serial: CardSerial) -> int:
        statement = (
            sa.update(cards)
            .where((cards.c.serial == serial) & (cards.c.puk_tries_left > 0))
            .values(puk_tries_left=cards.c.puk_tries_left - 1)
            .returning(cards.c.puk_tries_left)
        )
        async with self._store.transaction() as tx:
            left = (await tx.execute(statement)).scalar()
            if left is None:
                raise PukLockedError.of()
            tx.journal("card.puk_presented", f"card:{serial}", tries_left=left)
        return int(left)
