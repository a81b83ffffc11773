"""A card's PIN changed and unblocked, whoever counts its tries: the card itself, or the daemon for software tokens."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from cardd.cards.acceptance import check_not_production
from cardd.cards.cardpins import CardCountedPins
from cardd.cards.errors import CardMechanismUnavailableError, SessionEnd
from cardd.cards.inserted import InsertedCards
from cardd.cards.pin import form_problem
from cardd.cards.pintries import PinTries
from cardd.cards.puk import SoftwarePuks
from cardd.cards.records import CardDirectory, CardRecord
from cardd.cards.types import PinChangeRequest, UnblockRequest
from cardd.custody.pins import PinVault
from cardd.errors import FieldProblem, InvalidFieldsError
from cardd.events import EventType
from cardd.store import Store
from cardd.text import Text
from cardd_pkcs11.errors import MechanismUnavailableError
from cardd_pkcs11.types import Secret


class Holding(Protocol):
    """What is needed of the card sessions."""

    directory: CardDirectory

    def reaching(self, card: CardRecord) -> AbstractAsyncContextManager[None]:
        """Use a card until it goes away."""
        ...

    async def end_all(self, card: CardRecord, reason: SessionEnd) -> None:
        """End a card's sessions."""
        ...

    async def log_out_idle(self, card: CardRecord) -> None:
        """Log a card out unless it has a session."""
        ...


class PinCare:
    """PINs and PUKs on their way to cards."""

    def __init__(
        self, store: Store, vault: PinVault, tries: int, inserted: InsertedCards | None, sessions: Holding
    ) -> None:
        self._store = store
        self._counted_here = PinTries(store, tries)
        self._puks = SoftwarePuks(store, vault, tries)
        self._counted_by_card = None if inserted is None else CardCountedPins(store, inserted)
        self._sessions = sessions

    async def present(
        self, card: CardRecord, attempt: Callable[[], Awaitable[None]], *, accept_final_try: bool
    ) -> None:
        """Let `attempt` give the PIN to the card, counted by whoever counts.

        Raises:
            PinLockedError, PinFinalTryError: no try was used.
            PinIncorrectError, TokenError
        """
        access = card.reached()
        if access.counts_tries and self._counted_by_card is not None:
            await self._counted_by_card.present(card.serial, access, attempt)
        else:
            await self._counted_here.present(card.serial, attempt, accept_final_try=accept_final_try)

    async def change(self, serial: str, request: PinChangeRequest) -> None:
        """Change a card's PIN; a wrong old one costs a try. Open sessions stay open.

        Raises:
            InvalidFieldsError: a PIN is malformed; no try was used.
            CardUnknownError, CardAbsentError, CardUnreadableError, CardOpposedError, CardNotAcceptedError
            PinLockedError, PinFinalTryError, PinIncorrectError, CardRemovedError, TokenFaultError
        """
        check_form(old=request.old, new=request.new)
        card = await self._usable(serial)
        access = card.reached()

        async def attempt() -> None:
            await access.tokens.change_pin(
                access.token_serial,
                Secret(request.old),
                Secret(request.new),
                accept_final_try=request.accept_final_try,
            )

        async with self._sessions.reaching(card):
            try:
                await self.present(card, attempt, accept_final_try=request.accept_final_try)
            finally:
                if access.counts_tries:  # its module logs in to change the PIN
                    await self._sessions.log_out_idle(card)
        async with self._store.transaction() as tx:
            tx.journal("card.pin_changed", f"card:{card.serial}")
            tx.publish(EventType.CARD_PIN_CHANGED, f"card:{card.serial}")

    async def unblock(self, serial: str, request: UnblockRequest) -> None:
        """Set a new PIN with the card's PUK; a wrong PUK costs one of its tries. The card's sessions end.

        Raises:
            InvalidFieldsError: PUK or PIN is malformed; no try was used.
            CardUnknownError, CardAbsentError, CardUnreadableError, CardOpposedError, CardNotAcceptedError
            PukIncorrectError, PukLockedError
            CardMechanismUnavailableError: the card's module cannot unblock.
            CardRemovedError, TokenFaultError
        """
        check_form(puk=request.puk, new=request.new)
        card = await self._usable(serial)
        access, puk, new = card.reached(), Secret(request.puk), Secret(request.new)
        async with self._sessions.reaching(card):
            try:
                if access.counts_tries and self._counted_by_card is not None:
                    await self._counted_by_card.unblock(card.serial, access, puk, new)
                else:
                    await self._puks.unblock(card.serial, access, puk, new)
            except MechanismUnavailableError:
                raise _cannot_unblock(access.module) from None
        await self._sessions.end_all(card, SessionEnd.LOGGED_OUT)

    async def settle(self) -> None:
        """Wait for the tries in progress."""
        await self._counted_here.settle()
        if self._counted_by_card is not None:
            await self._counted_by_card.settle()

    async def _usable(self, serial: str) -> CardRecord:
        card = await self._sessions.directory.find(serial)
        card.check_usable()
        check_not_production(card)
        return card


def check_form(**codes: str) -> None:
    """Refuse PINs and PUKs that cannot be right, before they cost a try.

    Raises:
        InvalidFieldsError
    """
    problems: list[FieldProblem] = [
        problem for field, code in codes.items() if (problem := form_problem(field, code)) is not None
    ]
    if problems:
        raise InvalidFieldsError(problems)


def _cannot_unblock(module: str) -> CardMechanismUnavailableError:
    return CardMechanismUnavailableError(
        Text(f"{module} cannot unblock a PIN.", f"{module} ne peut pas débloquer un code porteur."),
        mechanism="unblock",
        module=module,
        modules_that_could=["opensc"],
    )
