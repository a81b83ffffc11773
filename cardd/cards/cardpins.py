"""PINs of cards that count their tries themselves: shown to the card once, and its answer told.

The module's flags are read fresh before each try (CKF_USER_PIN_FINAL_TRY, CKF_USER_PIN_LOCKED, PKCS#11 v2.40
§4.2). Tries of one card run one after another, and one that has begun runs to its end even when its caller goes.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable

import sqlalchemy as sa

from cardd.cards.access import CardAccess, tries_left
from cardd.cards.errors import (
    PinFinalTryError,
    PinIncorrectError,
    PinLockedError,
    PukIncorrectError,
    PukLockedError,
)
from cardd.cards.inserted import InsertedCards
from cardd.cards.types import CardSerial
from cardd.events import EventType
from cardd.store import Store
from cardd.store.tables import cards
from cardd_pkcs11 import errors as token_errors
from cardd_pkcs11.types import Secret


class CardCountedPins:
    """The way of PINs and PUKs to cards in readers."""

    def __init__(self, store: Store, inserted: InsertedCards) -> None:
        self._store = store
        self._inserted = inserted
        self._turns: defaultdict[CardSerial, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._running: set[asyncio.Future[None]] = set()

    async def present(
        self, serial: CardSerial, access: CardAccess, attempt: Callable[[], Awaitable[None]]
    ) -> None:
        """Let `attempt` give the PIN to the card, and tell what came of it.

        Raises:
            PinLockedError, PinFinalTryError: no try was used.
            PinIncorrectError: the card counted a try; `tries_left` is what its module says now.
            TokenError: the card or its module failed otherwise.
        """
        await self._to_its_end(self._present(serial, access, attempt))

    async def unblock(self, serial: CardSerial, access: CardAccess, puk: Secret, new: Secret) -> None:
        """Set a new PIN with the card's PUK.

        Raises:
            PukIncorrectError: the card counted a try of its PUK, without saying how many are left.
            PukLockedError
            TokenError: the module cannot unblock, or failed.
        """
        await self._to_its_end(self._unblock(serial, access, puk, new))

    async def settle(self) -> None:
        """Wait for the tries in progress."""
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _to_its_end(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._running.add(task)
        task.add_done_callback(self._ended)
        await asyncio.shield(task)

    def _ended(self, task: asyncio.Future[None]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # its caller may be gone

    async def _present(
        self, serial: CardSerial, access: CardAccess, attempt: Callable[[], Awaitable[None]]
    ) -> None:
        async with self._turns[serial]:
            try:
                await attempt()
            except token_errors.PinIncorrectError as error:
                raise await self._refused(serial, access, error) from None
            except token_errors.PinLockedError as error:
                if error.ckr is None:
                    raise PinLockedError.of() from None
                raise await self._refused(serial, access, error) from None
            except token_errors.PinFinalTryError:
                raise PinFinalTryError.of() from None
            await self._record(serial, access.tries, "card.pin_verified")

    async def _unblock(self, serial: CardSerial, access: CardAccess, puk: Secret, new: Secret) -> None:
        if access.unblock is None:
            raise token_errors.MechanismUnavailableError(f"{access.module} cannot unblock a PIN")
        async with self._turns[serial]:
            try:
                await access.unblock(puk, new)
            except token_errors.PinIncorrectError:
                await self._journal(serial, "card.puk_incorrect")
                raise PukIncorrectError.with_tries(None) from None
            except token_errors.PinLockedError:
                await self._journal(serial, "card.puk_locked")
                raise PukLockedError.of() from None
            await self._record(serial, access.tries, "card.pin_unblocked")

    async def _refused(
        self, serial: CardSerial, access: CardAccess, error: token_errors.TokenError
    ) -> PinIncorrectError:
        left = 0 if error.pin is None else tries_left(error.pin, access.tries)
        await self._record(serial, left, "card.pin_incorrect")
        return PinIncorrectError.with_tries(left)

    async def _record(self, serial: CardSerial, left: int, action: str) -> None:
        """Keep what is known of the PIN, also for when the card is away."""
        self._inserted.learn_tries(serial, left)
        async with self._store.transaction() as tx:
            await tx.execute(sa.update(cards).where(cards.c.serial == serial).values(pin_tries_left=left))
            tx.journal(action, f"card:{serial}", tries_left=left)
            if left == 0:
                tx.publish(EventType.CARD_PIN_BLOCKED, f"card:{serial}")
            if action == "card.pin_unblocked":
                tx.publish(EventType.CARD_PIN_UNBLOCKED, f"card:{serial}")

    async def _journal(self, serial: CardSerial, action: str) -> None:
        async with self._store.transaction() as tx:
            tx.journal(action, f"card:{serial}")
