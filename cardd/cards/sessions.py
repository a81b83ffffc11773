"""Card sessions: a PIN, a proof, and then the right to use the card until it goes away.

A session belongs to whoever holds its id, 128 random bits. A card may have several at once, so that programs
do not end one another's: each lasts until it is closed, expires, or the card is removed or opposed; the token
is logged out with the last. As on a real card, a wrong PIN resets the card and ends the sessions it has.
Sessions live in this process only: none outlasts the daemon.
"""

import asyncio
import secrets
from collections import OrderedDict, defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import msgspec
import sqlalchemy as sa
import structlog

from cardd.cards.authentication import authenticate
from cardd.cards.errors import (
    CardRemovedError,
    CardSessionEndedError,
    CardSessionRequiredError,
    CardSessionUnknownError,
    PinIncorrectError,
    SessionEnd,
)
from cardd.cards.personalisation import ask_capabilities
from cardd.cards.pin import form_problem
from cardd.cards.pintries import PinTries, absent, opposed
from cardd.cards.records import CardKey, CardRecord, load_card
from cardd.cards.signing import check_capability, decrypt_mechanism, prepare, unavailable
from cardd.cards.types import (
    Capability,
    CardRole,
    CardSerial,
    CardSessionId,
    PinChangeRequest,
    SessionRequest,
    SignatureView,
    SignRequest,
)
from cardd.cards.uses import CardUses
from cardd.clock import Clock
from cardd.custody.errors import token_errors_translated
from cardd.errors import CarddError, FieldProblem, InvalidFieldsError
from cardd.events import EventType
from cardd.igc.pki import Pki
from cardd.orders.types import HabilitationView
from cardd.settings import Settings
from cardd.store import Store, Transaction
from cardd.store.tables import cards
from cardd.text import Text
from cardd_pkcs11.errors import MechanismUnavailableError, NotLoggedInError, TokenError
from cardd_pkcs11.operations import TokenOperations
from cardd_pkcs11.types import Secret

#: Looks up the approved habilitations of a card now.
HabilitationLookup = Callable[[str], Awaitable[tuple[HabilitationView, ...]]]

SESSION_ID_BYTES = 16
#: Sessions that a card may have at once; opening one more ends the oldest.
SESSIONS_A_CARD = 16
#: Ended sessions whose reason is remembered.
_REMEMBERED = 1000

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class CardSession:
    """An open session, with what its card is authorised for at the moment it was asked for."""

    id: CardSessionId
    card_serial: CardSerial
    expires_at: datetime
    habilitations: tuple[HabilitationView, ...]

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


@dataclass(frozen=True)
class _Live:
    id: CardSessionId
    card: CardRecord
    expires_at: datetime


class CardSessions:
    """The open sessions of every card."""

    def __init__(self, parts: SessionParts) -> None:
        self._parts = parts
        self._store = parts.store
        self._tokens = parts.tokens
        self._pins = PinTries(parts.store, parts.settings.cards.pin_tries)
        self._turns: defaultdict[CardSerial, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._live: dict[CardSessionId, _Live] = {}
        self._ended: OrderedDict[CardSessionId, SessionEnd] = OrderedDict()
        self.uses = CardUses()

    async def open(self, serial: str, request: SessionRequest) -> CardSession:
        """Open a session with a card's PIN and the proof of its authentication key.

        Raises:
            InvalidFieldsError: the PIN is malformed; no try was used.
            CardUnknownError, CardAbsentError, CardOpposedError, PinLockedError, PinFinalTryError
            PinIncorrectError: with `tries_left`; the card's other sessions have ended.
            CardNotTrustedError: the card did not prove what it is.
            CardRemovedError: it was pulled meanwhile.
            TokenFaultError: the token failed.
        """
        _check_form(pin=request.pin)
        card = await load_card(self._store, serial)
        card.check_usable()
        with self.uses.using(card.serial), token_errors_translated():
            async with self._turns[card.serial]:
                await self._log_in(card, request)
                try:
                    authorities = self._parts.pki.authorities
                    await authenticate(self._tokens, self._store, authorities, card, self._parts.clock.now())
                    session = await self._begin(card)
                except BaseException:
                    await asyncio.shield(asyncio.ensure_future(self._log_out_if_idle(card)))
                    raise
        return session

    async def get(self, session_id: str) -> CardSession:
        """Return an open session, with the habilitations that its card has now.

        Raises:
            CardSessionUnknownError, CardSessionEndedError
        """
        live = await self._current(session_id)
        habilitations = await self._parts.habilitations(live.card.serial)
        return CardSession(live.id, live.card.serial, live.expires_at, habilitations)

    async def close(self, serial: str, session_id: str | None = None) -> None:
        """Close one session of a card, or all of them when none is named; nothing where there is none.

        Raises:
            CardUnknownError
        """
        card = await load_card(self._store, serial)
        own = [live for live in self._of(card.serial) if session_id is None or live.id == session_id]
        await self._drop(own, SessionEnd.CLOSED)
        await self._log_out_idle(card)

    async def expire_due(self) -> None:
        """End the sessions whose time is over, and log their cards out."""
        now = self._parts.clock.now()
        over = [live for live in self._live.values() if live.expires_at <= now]
        await self._drop(over, SessionEnd.EXPIRED)
        for card in {live.card.serial: live.card for live in over}.values():
            await self._log_out_idle(card)

    async def change_pin(self, serial: str, request: PinChangeRequest) -> None:
        """Change a card's PIN; a wrong old one costs a try. Open sessions stay open.

        Raises:
            As `open`, the proof apart.
        """
        _check_form(old=request.old, new=request.new)
        card = await load_card(self._store, serial)
        card.check_usable()

        async def attempt() -> None:
            await self._tokens.change_pin(
                card.token_serial,
                Secret(request.old),
                Secret(request.new),
                accept_final_try=request.accept_final_try,
            )

        with self.uses.using(card.serial), token_errors_translated():
            await self._pins.present(card.serial, attempt, accept_final_try=request.accept_final_try)
        async with self._store.transaction() as tx:
            tx.journal("card.pin_changed", f"card:{card.serial}")
            tx.publish(EventType.CARD_PIN_CHANGED, f"card:{card.serial}")

    async def sign(self, serial: str, request: SignRequest, session: CardSession) -> SignatureView:
        """Sign with one of a card's keys, in an open session of that card.

        Raises:
            CardSessionRequiredError: the session is that of another card.
            CardSessionUnknownError, CardSessionEndedError
            InvalidFieldsError: role, mechanism, data or digest.
            CardMechanismUnavailableError: this key cannot do that through this module.
            CardRemovedError: the card was pulled meanwhile.
            TokenFaultError: the token failed.
        """
        live = await self._own(session, serial)
        asked = prepare(request)
        key, card = _key(live.card, request.role), live.card
        module = self._parts.settings.tokens.module
        check_capability(card.capabilities, key.role, "sign", request.mechanism, module=module)
        check_capability(card.capabilities, key.role, "sign", asked.mechanism, module=module)
        with self._using(live, key.role, request.mechanism):
            signature = await self._while_logged_in(
                card,
                self._tokens.sign(card.token_serial, key.key_id, asked.mechanism, asked.data, spki=key.spki),
            )
        return SignatureView(signature=signature, mechanism=request.mechanism, certificate=key.der)

    async def decrypt(
        self, serial: str, session: CardSession, role: CardRole, mechanism: str, ciphertext: bytes
    ) -> bytes:
        """Decrypt with one of a card's keys, in an open session of that card; errors as for `sign`."""
        live = await self._own(session, serial)
        asked = decrypt_mechanism(mechanism)
        key, card = _key(live.card, role), live.card
        module = self._parts.settings.tokens.module
        check_capability(card.capabilities, key.role, "decrypt", asked, module=module)
        with self._using(live, key.role, asked):
            return await self._while_logged_in(
                card, self._tokens.decrypt(card.token_serial, key.key_id, asked, ciphertext)
            )

    async def card_gone(self, card: CardRecord, reason: SessionEnd) -> None:
        """End everything that goes on with a card that was removed or opposed; what waits is told at once."""
        gone = opposed(card.serial) if reason is SessionEnd.OPPOSED else _removed(card.serial)
        self.uses.interrupt(card.serial, gone)
        await self._drop(self._of(card.serial), reason)
        await self._log_out_idle(card)

    async def stop(self) -> None:
        """End every session, before the store is closed."""
        for card in {live.card.serial: live.card for live in self._live.values()}.values():
            await self.close(card.serial)
        await self._pins.settle()

    async def _log_in(self, card: CardRecord, request: SessionRequest) -> None:
        departures = self.uses.departures(card.serial)

        async def attempt() -> None:
            await self._tokens.login(
                card.token_serial, Secret(request.pin), accept_final_try=request.accept_final_try
            )
            if self.uses.departures(card.serial) != departures:
                await self._tokens.forget(card.token_serial)

        try:
            await self._pins.present(card.serial, attempt, accept_final_try=request.accept_final_try)
        except PinIncorrectError:
            await self._drop(self._of(card.serial), SessionEnd.LOGGED_OUT)
            raise

    async def _begin(self, card: CardRecord) -> CardSession:
        """Commit that a session is open, and make it usable; the card is logged in and has proved itself."""
        able = [
            capability
            for key in card.keys
            for capability in await ask_capabilities(self._tokens, card.token_serial, key.key_id, key.role)
        ]
        habilitations = await self._parts.habilitations(card.serial)
        lifetime = timedelta(minutes=self._parts.settings.cards.session_minutes)
        async with self._store.transaction() as tx:
            await _check_still_usable(tx, card.serial)
            if tuple(able) != card.capabilities:
                await _keep_capabilities(tx, card.serial, able)
            tx.journal("card.session_opened", f"card:{card.serial}")
            tx.publish(EventType.CARD_SESSION_OPENED, f"card:{card.serial}")
            expires_at = tx.now + lifetime
        session_id = CardSessionId(secrets.token_hex(SESSION_ID_BYTES))
        self._live[session_id] = _Live(session_id, replace(card, capabilities=tuple(able)), expires_at)
        await self._drop(self._of(card.serial)[:-SESSIONS_A_CARD], SessionEnd.REPLACED)
        return CardSession(session_id, card.serial, expires_at, habilitations)

    def _of(self, serial: CardSerial) -> list[_Live]:
        return [live for live in self._live.values() if live.card.serial == serial]

    async def _current(self, session_id: str) -> _Live:
        live = self._live.get(CardSessionId(session_id))
        if live is None:
            reason = self._ended.get(CardSessionId(session_id))
            raise _unknown() if reason is None else CardSessionEndedError.because(reason)
        if live.expires_at <= self._parts.clock.now():
            await self._drop([live], SessionEnd.EXPIRED)
            await self._log_out_idle(live.card)
            raise CardSessionEndedError.because(SessionEnd.EXPIRED)
        return live

    async def _own(self, session: CardSession, serial: str) -> _Live:
        live = await self._current(session.id)
        if live.card.serial != serial:
            raise CardSessionRequiredError(
                Text(
                    "The session named is that of another card.",
                    "La session nommée est celle d’une autre carte.",
                )
            )
        return live

    @contextmanager
    def _using(self, live: _Live, role: CardRole, mechanism: str) -> Iterator[None]:
        module = self._parts.settings.tokens.module
        with self.uses.using(live.card.serial), token_errors_translated():
            try:
                yield
            except MechanismUnavailableError:
                raise unavailable(role, mechanism, module=module) from None

    async def _while_logged_in(self, card: CardRecord, use: Awaitable[bytes]) -> bytes:
        try:
            return await use
        except NotLoggedInError:
            await self._drop(self._of(card.serial), SessionEnd.LOGGED_OUT)
            raise CardSessionEndedError.because(SessionEnd.LOGGED_OUT) from None

    async def _drop(self, over: Iterable[_Live], reason: SessionEnd) -> None:
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
        if self._of(card.serial):
            return
        try:
            await self._tokens.forget(card.token_serial)
        except TokenError as error:
            _log.warning("cards.logout_failed", token=card.token_serial, why=error.code)


async def _check_still_usable(tx: Transaction, serial: CardSerial) -> None:
    row = (await tx.execute(sa.select(cards).where(cards.c.serial == serial).with_for_update())).one()
    if row.opposed_at is not None:
        raise opposed(serial)
    if not row.inserted:
        raise absent(serial)


async def _keep_capabilities(tx: Transaction, serial: CardSerial, able: list[Capability]) -> None:
    statement = sa.update(cards).where(cards.c.serial == serial)
    await tx.execute(statement.values(capabilities=msgspec.to_builtins(able)))


def _check_form(**pins: str) -> None:
    problems: list[FieldProblem] = [
        problem for field, pin in pins.items() if (problem := form_problem(field, pin)) is not None
    ]
    if problems:
        raise InvalidFieldsError(problems)


def _key(card: CardRecord, role: CardRole) -> CardKey:
    key = card.key(role)
    if key is None:
        raise InvalidFieldsError(
            [
                FieldProblem(
                    "role",
                    Text(
                        f"names a key that this card does not have: {role.value}",
                        f"désigne une clé que cette carte n’a pas : {role.value}",
                    ),
                )
            ]
        )
    return key


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
