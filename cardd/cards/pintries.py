"""PIN tries, counted in the cards' rows because a software token has no counter of its own.

A try is counted and **committed before** the PIN goes to the token, and given back after success: killing the
daemon or the token host in between never gives a try back. Tries of one card run one after another, and a
try that has begun runs to its end even when its caller goes away, so that its outcome is counted.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

import sqlalchemy as sa

from cardd.cards.errors import (
    CardAbsentError,
    CardOpposedError,
    CardUnknownError,
    PinFinalTryError,
    PinIncorrectError,
    PinLockedError,
)
from cardd.cards.pin import Verdict, verdict
from cardd.cards.types import CardSerial
from cardd.events import EventType
from cardd.store import Store
from cardd.store.tables import cards
from cardd.text import Text
from cardd_pkcs11 import errors as token_errors

#: Gives the PIN to the token; raises the token's error.
PinAttempt = Callable[[], Awaitable[None]]

#: Failures that say for certain that the token was not given the PIN.
_NOT_TRIED = (
    token_errors.TokenNotFoundError,
    token_errors.ModuleMissingError,
    token_errors.PinLengthError,
    token_errors.PinFinalTryError,
    token_errors.PinLockedError,
)


class PinTries:
    """The only way of a PIN to a card; `tries` wrong ones in a row block it."""

    def __init__(self, store: Store, tries: int) -> None:
        self._store = store
        self._tries = tries
        self._turns: defaultdict[CardSerial, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._running: set[asyncio.Task[None]] = set()

    async def present(self, serial: CardSerial, attempt: PinAttempt, *, accept_final_try: bool) -> None:
        """Count a try, let `attempt` give the PIN to the token, and count its outcome.

        Raises:
            CardUnknownError, CardAbsentError, CardOpposedError, PinLockedError, PinFinalTryError: the PIN
                was not given to the token, and no try was used.
            PinIncorrectError: the try was used.
            TokenError: the token failed otherwise; the try is given back only where it was surely not used.
        """
        task = asyncio.create_task(self._present(serial, attempt, accept_final_try=accept_final_try))
        self._running.add(task)
        task.add_done_callback(self._ended)
        await asyncio.shield(task)

    async def settle(self) -> None:
        """Wait for the tries in progress, before the store is closed."""
        await asyncio.gather(*self._running, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # its caller may be gone

    async def _present(self, serial: CardSerial, attempt: PinAttempt, *, accept_final_try: bool) -> None:
        async with self._turns[serial]:
            left = await self._count_down(serial, accept_final_try=accept_final_try)
            try:
                await attempt()
            except token_errors.PinIncorrectError:
                await self._refuse(serial, left)
                raise PinIncorrectError.with_tries(left) from None
            except _NOT_TRIED:
                await self._set(serial, left + 1, "card.pin_not_tried")
                raise
            await self._set(serial, self._tries, "card.pin_verified")

    async def _count_down(self, serial: CardSerial, *, accept_final_try: bool) -> int:
        least = 0 if accept_final_try else 1
        statement = (
            sa.update(cards)
            .where(
                (cards.c.serial == serial)
                & cards.c.inserted
                & cards.c.opposed_at.is_(None)
                & (cards.c.pin_tries_left > least)
            )
            .values(pin_tries_left=cards.c.pin_tries_left - 1)
            .returning(cards.c.pin_tries_left)
        )
        async with self._store.transaction() as tx:
            left = (await tx.execute(statement)).scalar()
            if left is None:
                row = (await tx.execute(sa.select(cards).where(cards.c.serial == serial))).first()
                _refuse_now(serial, row, accept_final_try=accept_final_try)
            tx.journal("card.pin_presented", f"card:{serial}", tries_left=left)
        return int(left)

    async def _refuse(self, serial: CardSerial, left: int) -> None:
        async with self._store.transaction() as tx:
            tx.journal("card.pin_incorrect", f"card:{serial}", tries_left=left)
            if left == 0:
                tx.publish(EventType.CARD_PIN_BLOCKED, f"card:{serial}")

    async def _set(self, serial: CardSerial, tries_left: int, action: str) -> None:
        async with self._store.transaction() as tx:
            await tx.execute(
                sa.update(cards).where(cards.c.serial == serial).values(pin_tries_left=tries_left)
            )
            tx.journal(action, f"card:{serial}", tries_left=tries_left)


def _refuse_now(serial: CardSerial, row: sa.Row[Any] | None, *, accept_final_try: bool) -> NoReturn:
    """Say why a card's PIN may not be tried."""
    if row is None:
        raise CardUnknownError.named(serial)
    if row.opposed_at is not None:
        raise opposed(serial)
    if not row.inserted:
        raise absent(serial)
    if verdict(row.pin_tries_left, accept_final_try=accept_final_try) is Verdict.LOCKED:
        raise PinLockedError.of()
    raise PinFinalTryError.of()


def absent(serial: CardSerial) -> CardAbsentError:
    """Make the error of a card that is in no reader."""
    return CardAbsentError(
        Text(f"The card {serial} is in no reader.", f"La carte {serial} n’est dans aucun lecteur.")
    )


def opposed(serial: CardSerial) -> CardOpposedError:
    """Make the error of a card that is opposed."""
    return CardOpposedError(
        Text(
            f"The card {serial} is opposed and cannot be used.",
            f"La carte {serial} est opposée : elle est inutilisable.",
        )
    )
