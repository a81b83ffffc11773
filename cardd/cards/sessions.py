"""Card sessions: a PIN, a proof, and then the right to use the card until it goes away.

A session belongs to whoever holds its id, 128 random bits. A card may have several at once, so that programs
do not end one another's: each lasts until it is closed, expires, or the card is removed or opposed; the token
is logged out with the last. As on a real card, a wrong PIN resets the card and ends the sessions it has.
Sessions live in this process only: none outlasts the daemon.
"""

import asyncio
import secrets
from collections import OrderedDict, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypeVar

import msgspec
import sqlalchemy as sa
import structlog

from cardd.cards.acceptance import check_accepted
from cardd.cards.access import CardAccess
from cardd.cards.authentication import authenticate
from cardd.cards.errors import (
    CardRemovedError,
    CardSessionEndedError,
    CardSessionRequiredError,
    CardSessionUnknownError,
    PinIncorrectError,
    SessionEnd,
)
from cardd.cards.inserted import InsertedCards
from cardd.cards.keyuse import CardKeys
from cardd.cards.personalisation import ask_capabilities
from cardd.cards.pincare import PinCare, check_form
from cardd.cards.pintries import absent, opposed
from cardd.cards.records import SOFTHSM, CardDirectory, CardRecord
from cardd.cards.types import (
    AuthenticationRequest,
    AuthenticationView,
    Capability,
    CardRole,
    CardSerial,
    CardSessionId,
    DecryptionView,
    DecryptRequest,
    PinChangeRequest,
    SessionPurpose,
    SessionRequest,
    SignatureView,
    SignRequest,
    UnblockRequest,
)
from cardd.cards.uses import CardUses
from cardd.clock import Clock
from cardd.custody import media
from cardd.custody.errors import token_errors_translated
from cardd.custody.pins import PinVault
from cardd.errors import CarddError
from cardd.events import EventType
from cardd.igc.pki import Pki
from cardd.orders.types import HabilitationView
from cardd.settings import Settings
from cardd.store import Store, Transaction
from cardd.store.tables import cards
from cardd.text import Text
from cardd_pkcs11.errors import (
    MechanismUnavailableError,
    NotLoggedInError,
    ObjectNotFoundError,
    TokenError,
    TokenNotFoundError,
    TokenRemovedError,
)
from cardd_pkcs11.operations import TokenOperations
from cardd_pkcs11.types import KeyId, Secret

T = TypeVar("T")

#: Looks up the approved habilitations of a card now.
HabilitationLookup = Callable[[str], Awaitable[tuple[HabilitationView, ...]]]

SESSION_ID_BYTES = 16
#: Sessions that a card may have at once; opening one more ends the oldest.
SESSIONS_A_CARD = 16
#: Ended sessions whose reason is remembered.
_REMEMBERED = 1000
#: A module may fail on a pulled card before its reader tells: so long is waited for the reader's word.
_REMOVAL_IS_TOLD_SECONDS = 0.12

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class CardSession:
    """An open session; `CardSessions.authorised` says what its card may order."""

    id: CardSessionId
    card_serial: CardSerial
    expires_at: datetime

    def __repr__(self) -> str:
        return f"CardSession(card_serial={self.card_serial!r})"


@dataclass(frozen=True)
class SessionParts:
    """What card sessions work with."""

    store: Store
    clock: Clock
    settings: Settings
    tokens: TokenOperations
    pki: Pki
    habilitations: HabilitationLookup
    vault: PinVault
    #: Cards in PC/SC readers, where those are watched.
    inserted: InsertedCards | None = None


@dataclass(frozen=True)
class LiveSession:
    """A session that is open, and the card as it was when it was opened."""

    id: CardSessionId
    card: CardRecord
    expires_at: datetime
    #: The same moment on the clock that nobody sets (`Clock.monotonic`).
    ends_after: float
    purpose: SessionPurpose

    def is_over(self, clock: Clock) -> bool:
        """Tell whether its time is over: a clock that is set forth ends it, one that is set back prolongs nothing."""
        return self.expires_at <= clock.now() or self.ends_after <= clock.monotonic()


class CardSessions:
    """The open sessions of every card."""

    def __init__(self, parts: SessionParts) -> None:
        self._parts = parts
        self._store = parts.store
        self._turns: defaultdict[CardSerial, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._live: dict[CardSessionId, LiveSession] = {}
        self._ended: OrderedDict[CardSessionId, SessionEnd] = OrderedDict()
        self.uses = CardUses()
        tries = parts.settings.cards.pin_tries
        self.directory = CardDirectory(
            parts.store,
            parts.tokens,
            module=media.SOFTHSM,
            tries=tries,
            inserted=parts.inserted,
        )
        self._pins = PinCare(parts.store, parts.vault, tries, parts.inserted, self)
        self._keys = CardKeys(self)
        if parts.inserted is not None:
            parts.inserted.when_removed(self._interrupt_removed, self._departed)

    async def open(self, serial: str, request: SessionRequest) -> CardSession:
        """Open a session with a card's PIN and, to order, the proof of its authentication key.

        Raises:
            InvalidFieldsError: the PIN is malformed; no try was used.
            CardUnknownError, CardAbsentError, CardUnreadableError, CardOpposedError, CardNotAcceptedError
            PinLockedError, PinFinalTryError
            PinIncorrectError: with `tries_left`; the card's other sessions have ended.
            CardNotTrustedError: the card did not prove what it is.
            CardRemovedError: it was pulled meanwhile.
            TokenFaultError: the token failed.
        """
        check_form(pin=request.pin)
        card = await self.directory.find(serial)
        card.check_usable()
        check_accepted(card, request.purpose, self._parts.pki.authorities)
        async with self.reaching(card), self._turns[card.serial]:
            await self._log_in(card, request)
            try:
                card = await self._looked_again(card)
                if request.purpose is SessionPurpose.ORDER:
                    authorities = self._parts.pki.authorities
                    await authenticate(card, self._store, authorities, self._parts.clock.now())
                return await self._begin(card, request.purpose)
            except BaseException:
                await asyncio.shield(asyncio.ensure_future(self._log_out_if_idle(card)))
                raise

    async def get(self, session_id: str) -> CardSession:
        """Return an open session.

        Raises:
            CardSessionUnknownError, CardSessionEndedError
        """
        live = await self._current(session_id)
        return CardSession(live.id, live.card.serial, live.expires_at)

    async def authorised(self, session: CardSession) -> tuple[HabilitationView, ...]:
        """Return the habilitations that a session orders under now: none where its card did not prove what it is.

        Raises:
            CardSessionUnknownError, CardSessionEndedError
        """
        live = await self._current(session.id)
        if live.purpose is not SessionPurpose.ORDER:
            return ()
        return await self._parts.habilitations(live.card.serial)

    async def close(self, serial: str, session_id: str | None = None) -> None:
        """Close one session of a card, or all of them when none is named; nothing where there is none.

        Raises:
            CardUnknownError
        """
        card = await self.directory.find(serial)
        own = [live for live in self._of(card.serial) if session_id is None or live.id == session_id]
        await self._drop(own, SessionEnd.CLOSED)
        await self._log_out_idle(card)

    async def expire_due(self) -> None:
        """End the sessions whose time is over, and log their cards out."""
        over = [live for live in self._live.values() if live.is_over(self._parts.clock)]
        await self._drop(over, SessionEnd.EXPIRED)
        for card in {live.card.serial: live.card for live in over}.values():
            await self._log_out_idle(card)

    async def change_pin(self, serial: str, request: PinChangeRequest) -> None:
        """Change a card's PIN; see `PinCare.change`."""
        await self._pins.change(serial, request)

    async def unblock_pin(self, serial: str, request: UnblockRequest) -> None:
        """Set a new PIN with the card's PUK; see `PinCare.unblock`."""
        await self._pins.unblock(serial, request)

    async def sign(self, serial: str, request: SignRequest, session: CardSession) -> SignatureView:
        """Sign with one of a card's keys; see `CardKeys.sign`."""
        return await self._keys.sign(serial, request, session)

    async def authenticate(
        self, serial: str, request: AuthenticationRequest, session: CardSession
    ) -> AuthenticationView:
        """Sign a challenge with a card's authentication key; see `CardKeys.authenticate`."""
        return await self._keys.authenticate(serial, request, session)

    async def decrypt(self, serial: str, request: DecryptRequest, session: CardSession) -> DecryptionView:
        """Decrypt with one of a card's keys; see `CardKeys.decrypt`."""
        return await self._keys.decrypt(serial, request, session)

    async def card_gone(self, card: CardRecord, reason: SessionEnd) -> None:
        """End everything that goes on with a card that was removed or opposed; what waits is told at once."""
        gone = opposed(card.serial) if reason is SessionEnd.OPPOSED else _removed(card.serial)
        self.uses.interrupt(card.serial, gone)
        await self._drop(self._of(card.serial), reason)
        await self._log_out_idle(card)

    async def end_all(self, card: CardRecord, reason: SessionEnd) -> None:
        """End the sessions of a card that stays, and log it out."""
        await self._drop(self._of(card.serial), reason)
        await self._log_out_idle(card)

    async def log_out_idle(self, card: CardRecord) -> None:
        """Log a card out unless it has a session."""
        await self._log_out_idle(card)

    async def stop(self) -> None:
        """End every session, before the store is closed."""
        for card in {live.card.serial: live.card for live in self._live.values()}.values():
            await self.end_all(card, SessionEnd.CLOSED)
        await self._pins.settle()
        await self.uses.settle()

    @asynccontextmanager
    async def reaching(self, card: CardRecord) -> AsyncIterator[None]:
        """Use a card: what is done inside is cut short with `CardRemovedError` as soon as it leaves its reader.

        Raises:
            CardRemovedError, CardOpposedError
            TokenFaultError: what a `TokenError` inside means.
        """
        with self.uses.using(card.serial), token_errors_translated():
            try:
                yield
            except (TokenRemovedError, TokenNotFoundError):
                if card.medium == SOFTHSM:
                    raise
                raise _removed(card.serial) from None
            except (MechanismUnavailableError, NotLoggedInError):
                raise
            except TokenError:
                if card.medium != SOFTHSM:
                    await asyncio.sleep(_REMOVAL_IS_TOLD_SECONDS)
                raise

    async def own(self, session: CardSession, serial: str) -> LiveSession:
        """Return an open session of a card, checked anew.

        Raises:
            CardSessionRequiredError: the session is that of another card.
            CardSessionUnknownError, CardSessionEndedError
        """
        live = await self._current(session.id)
        if live.card.serial != serial:
            raise CardSessionRequiredError(
                Text(
                    "The session named is that of another card.",
                    "La session nommée est celle d’une autre carte.",
                )
            )
        return live

    async def while_present(self, session: CardSession, work: Callable[[], Awaitable[T]]) -> T:
        """Do what a session allows, cut short with `CardRemovedError` as soon as its card leaves.

        Raises:
            CardSessionUnknownError, CardSessionEndedError, CardRemovedError, CardOpposedError
        """

        async def checked() -> T:
            await self.own(session, session.card_serial)
            return await work()

        return await self.uses.while_present(session.card_serial, checked())

    async def while_logged_in(self, card: CardRecord, use: Awaitable[bytes]) -> bytes:
        """Await the use of a card's key; where the card turns out to be logged out, its sessions end.

        Raises:
            CardSessionEndedError
        """
        try:
            return await use
        except NotLoggedInError:
            await self._drop(self._of(card.serial), SessionEnd.LOGGED_OUT)
            raise CardSessionEndedError.because(SessionEnd.LOGGED_OUT) from None

    def _interrupt_removed(self, serial: CardSerial) -> None:
        self.uses.interrupt(serial, _removed(serial))

    async def _departed(self, serial: CardSerial) -> None:
        await self._drop(self._of(serial), SessionEnd.REMOVED)

    async def _log_in(self, card: CardRecord, request: SessionRequest) -> None:
        departures, access = self.uses.departures(card.serial), card.reached()

        async def attempt() -> None:
            await access.tokens.login(
                access.token_serial, Secret(request.pin), accept_final_try=request.accept_final_try
            )
            if self.uses.departures(card.serial) != departures:
                await access.tokens.forget(access.token_serial)

        try:
            await self._pins.present(card, attempt, accept_final_try=request.accept_final_try)
        except PinIncorrectError:
            await self._drop(self._of(card.serial), SessionEnd.LOGGED_OUT)
            raise

    async def _looked_again(self, card: CardRecord) -> CardRecord:
        """Read what is seen after the login only, and ask what each key can do."""
        inserted, access = self._parts.inserted, card.reached()
        if access.counts_tries and inserted is not None:
            await inserted.refresh(card.serial)
            card = await self.directory.find(card.serial)
        able = tuple([each for key in card.keys for each in await _asked(access, key.key_id, key.role)])
        if access.counts_tries and inserted is not None:
            inserted.learn_capabilities(card.serial, able)
        return replace(card, capabilities=able)

    async def _begin(self, card: CardRecord, purpose: SessionPurpose) -> CardSession:
        """Commit that a session is open, and make it usable; the card is logged in and has proved itself."""
        lifetime = timedelta(minutes=self._parts.settings.cards.session_minutes)
        async with self._store.transaction() as tx:
            await _check_still_usable(tx, card)
            await _keep_capabilities(tx, card)
            tx.journal("card.session_opened", f"card:{card.serial}")
            tx.publish(EventType.CARD_SESSION_OPENED, f"card:{card.serial}")
            expires_at = tx.now + lifetime
        session_id = CardSessionId(secrets.token_hex(SESSION_ID_BYTES))
        ends_after = self._parts.clock.monotonic() + lifetime.total_seconds()
        self._live[session_id] = LiveSession(session_id, card, expires_at, ends_after, purpose)
        await self._drop(self._of(card.serial)[:-SESSIONS_A_CARD], SessionEnd.REPLACED)
        return CardSession(session_id, card.serial, expires_at)

    def _of(self, serial: CardSerial) -> list[LiveSession]:
        return [live for live in self._live.values() if live.card.serial == serial]

    async def _current(self, session_id: str) -> LiveSession:
        live = self._live.get(CardSessionId(session_id))
        if live is None:
            reason = self._ended.get(CardSessionId(session_id))
            raise _unknown() if reason is None else CardSessionEndedError.because(reason)
        if live.is_over(self._parts.clock):
            await self._drop([live], SessionEnd.EXPIRED)
            await self._log_out_idle(live.card)
            raise CardSessionEndedError.because(SessionEnd.EXPIRED)
        return live

    async def _drop(self, over: Iterable[LiveSession], reason: SessionEnd) -> None:
        """End sessions at once, then record it."""
        ended = [live for live in over if self._live.pop(live.id, None) is not None]
        for live in ended:
            self._ended[live.id] = reason
        while len(self._ended) > _REMEMBERED:
            self._ended.popitem(last=False)
        if not ended:
            return
        async with self._store.transaction() as tx:
            for live in ended:
                tx.journal("card.session_closed", f"card:{live.card.serial}", reason=reason.value)
                tx.publish(EventType.CARD_SESSION_CLOSED, f"card:{live.card.serial}", reason=reason.value)

    async def _log_out_idle(self, card: CardRecord) -> None:
        """Log a card out once nobody opens or holds a session of it."""
        async with self._turns[card.serial]:
            await self._log_out_if_idle(card)

    async def _log_out_if_idle(self, card: CardRecord) -> None:
        tokens = card.access.tokens if card.access is not None else self._parts.tokens
        is_reachable = card.access is not None or card.medium == SOFTHSM
        if self._of(card.serial) or not is_reachable or card.token_serial is None:
            return
        try:
            await tokens.forget(card.token_serial)
        except TokenError as error:
            _log.warning("cards.logout_failed", token=card.token_serial, why=error.code)


async def _asked(access: CardAccess, key_id: KeyId, role: CardRole) -> tuple[Capability, ...]:
    """Ask what a key can do; nothing where a certificate has no key beside it."""
    try:
        able = await ask_capabilities(access.tokens, access.token_serial, key_id, role)
    except ObjectNotFoundError:
        return ()
    return tuple(msgspec.structs.replace(each, module=access.module) for each in able)


async def _check_still_usable(tx: Transaction, card: CardRecord) -> None:
    """Look once more, in the transaction that opens the session; a removal from a reader interrupts by itself."""
    row = (await tx.execute(sa.select(cards).where(cards.c.serial == card.serial).with_for_update())).first()
    if row is None:
        return
    if row.opposed_at is not None:
        raise opposed(card.serial)
    if card.medium == SOFTHSM and not row.inserted:
        raise absent(card.serial)


async def _keep_capabilities(tx: Transaction, card: CardRecord) -> None:
    statement = sa.update(cards).where(cards.c.serial == card.serial)
    await tx.execute(statement.values(capabilities=msgspec.to_builtins(card.capabilities)))


def _removed(serial: CardSerial) -> CarddError:
    return CardRemovedError(
        Text(
            f"The card {serial} was removed while in use.",
            f"La carte {serial} a été retirée en cours d’usage.",
        )
    )


def _unknown() -> CardSessionUnknownError:
    return CardSessionUnknownError(
        Text(
            "No such card session is open; sessions do not outlive the daemon.",
            "Cette session de carte n’existe pas ; les sessions ne survivent pas au démon.",
        )
    )
