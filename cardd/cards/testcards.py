"""Test cards: made, inserted, removed, opposed.

A card exists from the moment its one transaction commits: row, certificates, claims, habilitation, journal and
event. Whatever was begun before and did not get there is emptied, at once or at the next start, and used again.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec
import sqlalchemy as sa
import structlog

from cardd.cards.cardreading import read_card_data
from cardd.cards.dataobjects import CardFacts
from cardd.cards.errors import (
    CardAlreadyOpposedError,
    CardAlreadyPresentError,
    CardElsewhereError,
    CardNotVirtualError,
    SessionEnd,
)
from cardd.cards.identity import check_holder, make_holder, new_serial, rpps_of
from cardd.cards.personalisation import BlankCard, CardKeyPair, Personaliser
from cardd.cards.pin import form_problem
from cardd.cards.pintries import absent
from cardd.cards.records import CardRecord, load_card, load_cards, reader_name
from cardd.cards.sessions import CardSessions
from cardd.cards.types import CardDataView, CardSerial, CardView, TestCardRequest
from cardd.cards.virtualcards import FaultsRequest, VirtualCards
from cardd.clock import Clock
from cardd.custody import media
from cardd.custody.registry import HolderKind, claim, spki_hash
from cardd.errors import CarddError, FieldProblem, InvalidFieldsError
from cardd.events import EventType
from cardd.igc.crl import RevocationReason
from cardd.igc.dates import years_after
from cardd.igc.issuing import serial_hex
from cardd.igc.pki import Pki, Recorded
from cardd.orders.errors import HabilitationNotApprovedError
from cardd.orders.habilitations import Habilitations
from cardd.orders.identifiers import IdentifierKind
from cardd.orders.subjects import Structure
from cardd.orders.types import HabilitationState, StructureId
from cardd.settings import Settings
from cardd.store import Store, Transaction
from cardd.store.tables import cards, habilitations, structures
from cardd.text import Text
from cardd_pkcs11.operations import TokenOperations
from cardd_pkcs11.types import Secret, TokenSerial

DEFAULT_PIN = "1234"
#: The medium of cards in virtual readers.
VIRTUAL = "virtual"
#: Why a card that has reached its term is opposed.
TERM_REASON = "end of term"

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class CardParts:
    """What test cards are made with."""

    store: Store
    clock: Clock
    settings: Settings
    tokens: TokenOperations
    personaliser: Personaliser
    pki: Pki
    habilitations: Habilitations
    sessions: CardSessions
    virtual: VirtualCards


@dataclass(frozen=True)
class _Order:
    """What a new card's making needs to know, checked."""

    request: TestCardRequest
    recipient: tuple[str, str]
    structure: Structure
    pin: Secret


class TestCards:
    """The test cards of one daemon."""

    __test__ = False

    def __init__(self, parts: CardParts) -> None:
        self._parts = parts
        self._store = parts.store
        self._personaliser = parts.personaliser
        self._making = asyncio.Lock()
        self._moving = asyncio.Lock()
        self._spare: list[BlankCard] = []

    async def recover(self) -> int:
        """At start: empty the tokens that no card came of, and return how many wait to be used again."""
        async with self._making:
            made = await load_cards(self._store)
            await self._parts.virtual.recover({card.serial for card in made if card.medium == VIRTUAL})
            known = {card.token_serial for card in made}
            self._spare.clear()
            for token in await self._personaliser.leftovers():
                if token.serial in known:
                    continue
                try:
                    blank = await self._personaliser.empty(token)
                except CarddError as error:
                    _log.warning("cards.token_not_emptied", token=token.serial, why=error.code)
                    continue
                if blank is not None:
                    self._spare.append(blank)
            return len(self._spare)

    async def create(self, request: TestCardRequest) -> CardView:
        """Make a test card for an approved habilitation; it is not inserted.

        Raises:
            InvalidFieldsError, NotFoundError, HabilitationNotApprovedError: nothing was begun.
            CarddError: the token, the PKI or the store refused; nothing is left of the card.
        """
        order = await self._checked(request)
        if request.medium == VIRTUAL:
            return await self._create_virtual(order)
        async with self._making:
            blank = await self._blank()
            try:
                await self._make(order, blank)
            except BaseException:
                await asyncio.shield(asyncio.ensure_future(self._give_up(blank)))
                raise
        return await self.get(blank.serial)

    async def insert(self, serial: str) -> CardView:
        """Put a test card into its reader.

        Raises:
            CardUnknownError, CardElsewhereError, CardAlreadyPresentError
        """
        if await self._is_virtual(serial):
            return await self._insert_virtual(serial)
        reader = reader_name(CardSerial(serial))
        async with self._store.transaction() as tx:
            absent_card = (cards.c.serial == serial) & ~cards.c.inserted
            changed = await tx.execute(sa.update(cards).where(absent_card).values(inserted=True))
            if changed.rowcount == 1:
                tx.journal("card.inserted", f"card:{serial}", reader=reader)
                tx.publish(EventType.READER_ADDED, f"reader:{reader}", reader=reader)
                tx.publish(EventType.CARD_INSERTED, f"card:{serial}", reader=reader)
                await tx.answer("card", serial)
        await load_card(self._store, serial)
        if changed.rowcount != 1:
            raise CardAlreadyPresentError(
                Text(f"The card {serial} is in “{reader}”.", f"La carte {serial} est dans « {reader} ».")
            )
        return await self.get(serial)

    async def remove(self, serial: str) -> CardView:
        """Pull a test card: its sessions end, and what waits on it is told, at once.

        Raises:
            CardUnknownError, CardElsewhereError, CardAbsentError
        """
        if await self._is_virtual(serial):
            return await self._remove_virtual(serial)
        reader = reader_name(CardSerial(serial))
        async with self._store.transaction() as tx:
            present = (cards.c.serial == serial) & cards.c.inserted
            changed = await tx.execute(sa.update(cards).where(present).values(inserted=False))
            if changed.rowcount == 1:
                tx.journal("card.removed", f"card:{serial}", reader=reader)
                tx.publish(EventType.CARD_REMOVED, f"card:{serial}", reader=reader)
                tx.publish(EventType.READER_REMOVED, f"reader:{reader}", reader=reader)
                await tx.answer("card", serial)
        card = await load_card(self._store, serial)
        if changed.rowcount != 1:
            raise absent(card.serial)
        await self._parts.sessions.card_gone(card, SessionEnd.REMOVED)
        return await self.get(serial)

    async def set_faults(self, serial: str, request: FaultsRequest) -> None:
        """Replace the faults of a virtual card, in force from its next insertion.

        Raises:
            CardUnknownError
            CardNotVirtualError: a card of another medium does what its token does.
        """
        card = await load_card(self._store, serial)
        if card.medium != VIRTUAL:
            raise CardNotVirtualError(
                Text(f"The card {serial} is not virtual.", f"La carte {serial} n’est pas virtuelle.")
            )
        self._parts.virtual.set_faults(card.serial, request.faults)
        async with self._store.transaction() as tx:
            kinds = [fault.__struct_config__.tag for fault in request.faults]
            tx.journal("card.faults_set", f"card:{serial}", faults=kinds)

    async def oppose(self, serial: str, reason: str) -> CardView:
        """Block a card for good; its certificates are revoked with it, and the lists published.

        Raises:
            CardUnknownError, CardAlreadyOpposedError
        """
        card = await load_card(self._store, serial)
        if not await self._oppose(card, reason):
            raise CardAlreadyOpposedError(
                Text(f"The card {serial} was opposed before.", f"La carte {serial} a déjà été opposée.")
            )
        await self._parts.pki.lists.publish_wanted()
        return await self.get(serial)

    async def oppose_due(self) -> list[CardSerial]:
        """Oppose the cards that have reached their term, one transaction each; return their serials."""
        now = self._parts.clock.now()
        due = [
            card
            for card in await load_cards(self._store)
            if card.opposed_at is None and card.opposes_at is not None and card.opposes_at <= now
        ]
        opposed = [card.serial for card in due if await self._oppose(card, TERM_REASON)]
        if opposed:
            await self._parts.pki.lists.publish_wanted()
        return opposed

    async def get(self, serial: str) -> CardView:
        """Return one card: made here, or in a reader.

        Raises:
            CardUnknownError
        """
        return self._view(await self._parts.sessions.directory.find(serial))

    async def list(self) -> list[CardView]:
        """Return every card: those made here, oldest first, then the others that are in readers."""
        return [self._view(card) for card in await self._parts.sessions.directory.all()]

    async def data(self, serial: str) -> CardDataView:
        """Read a card's data objects; those behind the PIN are seen while a session of the card is open.

        Raises:
            CardUnknownError, CardAbsentError, CardUnreadableError, CardRemovedError
            TokenFaultError: the token failed.
        """
        card = await self._parts.sessions.directory.find(serial)
        return await read_card_data(card, self._parts.sessions)

    def _view(self, card: CardRecord) -> CardView:
        return card.view(module=media.SOFTHSM, tries=self._parts.settings.cards.pin_tries)

    async def _checked(self, request: TestCardRequest) -> _Order:
        """Check what can be checked before anything is begun."""
        pin = request.pin if request.pin is not None else DEFAULT_PIN
        medium = _medium_problem(request, self._parts.virtual.unavailable)
        problems = [problem for problem in (medium, form_problem("pin", pin)) if problem]
        if problems:
            raise InvalidFieldsError(problems)
        habilitation = await self._parts.habilitations.get(request.habilitation)
        if habilitation.state is not HabilitationState.APPROVED:
            state = habilitation.state.value
            raise HabilitationNotApprovedError(
                Text(f"It is {state}.", f"Elle est dans l’état « {state} »."), state=state
            )
        recipient = habilitation.form.recipient.last_name, habilitation.form.recipient.first_name
        check_holder(request, recipient)
        wanted = sa.select(structures).join(habilitations, habilitations.c.structure_id == structures.c.id)
        async with self._store.read() as connection:
            row = (await connection.execute(wanted.where(habilitations.c.id == habilitation.id))).one()
        structure = Structure(
            id=StructureId(row.id),
            kind=IdentifierKind(row.kind),
            number=row.number,
            name=row.name,
            postal_code=row.postal_code,
        )
        return _Order(request, recipient, structure, Secret(pin))

    async def _is_virtual(self, serial: str) -> bool:
        """Tell the medium of a card that is to be moved; raises `CardElsewhereError` where it cannot be here."""
        card = await load_card(self._store, serial)
        if card.elsewhere:
            raise CardElsewhereError.named(card.serial)
        return card.medium == VIRTUAL

    async def _insert_virtual(self, serial: str) -> CardView:
        """Put a virtual card into its reader; the watch of the readers tells of it."""
        async with self._moving:
            card = await load_card(self._store, serial)
            reader = self._parts.virtual.reader_of(card.serial)
            if reader is not None:
                raise CardAlreadyPresentError(
                    Text(f"The card {serial} is in “{reader}”.", f"La carte {serial} est dans « {reader} ».")
                )
            await self._parts.virtual.insert(card.serial)
        return await self._answered(serial)

    async def _remove_virtual(self, serial: str) -> CardView:
        """Take a virtual card out; the watch of the readers tells of it, which ends its sessions."""
        async with self._moving:
            card = await load_card(self._store, serial)
            if self._parts.virtual.reader_of(card.serial) is None:
                raise absent(card.serial)
            await self._parts.virtual.remove(card.serial)
        return await self._answered(serial)

    async def _answered(self, serial: str) -> CardView:
        async with self._store.transaction() as tx:
            await tx.answer("card", serial)
        return await self.get(serial)

    async def _blank(self) -> BlankCard:
        """Take an emptied token, or make a new one under a serial that no card bears."""
        if self._spare:
            return self._spare.pop()
        taken = {card.serial for card in await load_cards(self._store)}
        return await self._personaliser.make_blank(new_serial(taken))

    async def _make(self, order: _Order, blank: BlankCard) -> None:
        facts = await self._facts(order, blank.serial)
        made = await self._personaliser.personalise(blank, facts)
        await self._personaliser.hand_over(blank, order.pin)
        async with self._store.transaction() as tx:
            await self._record(tx, order, facts, blank.token_serial, made)

    async def _create_virtual(self, order: _Order) -> CardView:
        """Make a virtual card; its folder is gone again where no row came of it."""
        async with self._making:
            serial = new_serial({card.serial for card in await load_cards(self._store)})
            facts = await self._facts(order, serial)
            try:
                made = await self._parts.virtual.make(facts, order.pin)
                async with self._store.transaction() as tx:
                    await self._record(tx, order, facts, made.token_serial, made.pairs)
            except BaseException:
                await asyncio.shield(asyncio.ensure_future(self._give_up_virtual(serial)))
                raise
        return await self.get(serial)

    async def _give_up_virtual(self, serial: CardSerial) -> None:
        if serial not in {card.serial for card in await load_cards(self._store)}:
            await self._parts.virtual.discard(serial)

    async def _facts(self, order: _Order, serial: CardSerial) -> CardFacts:
        issued_at = self._parts.clock.now().replace(microsecond=0)
        made = await load_cards(self._store)
        holders = [card.holder for card in made if card.holder is not None]
        holder = make_holder(
            order.request,
            serial=serial,
            recipient=order.recipient,
            structure=order.structure,
            taken_rpps={rpps for held in holders if (rpps := rpps_of(held)) is not None},
        )
        return CardFacts(
            serial=serial,
            type=order.request.type,
            holder=holder,
            structure=order.structure,
            issued_at=issued_at,
            opposes_at=years_after(issued_at, self._parts.settings.cards.validity_years),
        )

    async def _record(
        self,
        tx: Transaction,
        order: _Order,
        facts: CardFacts,
        token_serial: TokenSerial,
        made: tuple[CardKeyPair, ...],
    ) -> None:
        capabilities = [capability for pair in made for capability in pair.capabilities]
        await tx.execute(
            sa.insert(cards).values(
                serial=facts.serial,
                machine=self._store.machine,
                medium=order.request.medium,
                type=facts.type.value,
                token_serial=token_serial,
                holder=msgspec.to_builtins(facts.holder),
                habilitation_id=order.request.habilitation,
                issued_at=facts.issued_at,
                opposes_at=facts.opposes_at,
                inserted=False,
                pin_tries_left=self._parts.settings.cards.pin_tries,
                capabilities=msgspec.to_builtins(capabilities),
            )
        )
        for pair in made:
            await self._record_pair(tx, facts, pair)
        subject = f"card:{facts.serial}"
        tx.journal("card.created", subject, type=facts.type.value, habilitation=order.request.habilitation)
        tx.publish(EventType.CARD_CREATED, subject, type=facts.type.value)
        await self._parts.habilitations.add_card(tx, order.request.habilitation, facts.serial)
        await tx.answer("card", facts.serial)

    async def _record_pair(self, tx: Transaction, facts: CardFacts, pair: CardKeyPair) -> None:
        key, serial = pair.key, serial_hex(pair.certificate.serial)
        await claim(
            tx,
            spki=key.spki,
            holder_kind=HolderKind.CARD,
            holder=facts.serial,
            token_serial=key.token_serial,
            key_id=key.key_id,
            level=key.level.value,
        )
        holder = facts.holder
        await self._parts.pki.record(
            tx,
            pair.certificate,
            Recorded(
                kind="card",
                profile=pair.slot.profile.value,
                level=key.level.value,
                card_serial=facts.serial,
                card_role=pair.slot.role.value,
                structure_id=facts.structure.id,
                search=f"{facts.serial} {holder.identifier} {holder.first_name} {holder.last_name}".casefold(),
                token_serial=key.token_serial,
                key_id=key.key_id.hex(),
            ),
        )
        public_key = spki_hash(key.spki)
        tx.publish(EventType.KEY_CREATED, f"key:{public_key}", card=facts.serial)
        tx.journal("certificate.issued", f"certificate:{serial}", card=facts.serial)
        tx.publish(EventType.CERTIFICATE_ISSUED, f"certificate:{serial}", card=facts.serial)

    async def _give_up(self, blank: BlankCard) -> None:
        """Empty the token of a card that did not come about; one that did is left alone."""
        try:
            known = {card.token_serial for card in await load_cards(self._store)}
            if blank.token_serial in known:
                return
            await self._personaliser.wipe(blank)
        except CarddError as error:
            _log.warning("cards.token_not_emptied", token=blank.token_serial, why=error.code)
        else:
            self._spare.append(blank)

    async def _oppose(self, card: CardRecord, reason: str) -> bool:
        """Oppose a card in one transaction, then end its sessions; False where it was opposed before."""
        async with self._store.transaction() as tx:
            still_good = (cards.c.serial == card.serial) & cards.c.opposed_at.is_(None)
            changed = await tx.execute(
                sa.update(cards).where(still_good).values(opposed_at=tx.now, opposed_reason=reason)
            )
            if changed.rowcount != 1:
                return False
            await self._revoke(tx, card.serial, (key.serial for key in card.keys))
            tx.journal("card.opposed", f"card:{card.serial}", reason=reason)
            tx.publish(EventType.CARD_OPPOSED, f"card:{card.serial}", reason=reason)
            await tx.answer("card", card.serial)
        await self._parts.sessions.card_gone(card, SessionEnd.OPPOSED)
        return True

    async def _revoke(self, tx: Transaction, card: CardSerial, serials: Iterable[str]) -> None:
        reason = RevocationReason.CESSATION_OF_OPERATION
        for serial in serials:
            if await self._parts.pki.revoke_in(tx, serial, reason):
                detail = {"reason": reason.name.lower(), "card": card}
                tx.journal("certificate.revoked", f"certificate:{serial}", **detail)
                tx.publish(EventType.CERTIFICATE_REVOKED, f"certificate:{serial}", **detail)


def _medium_problem(request: TestCardRequest, unavailable: Text | None) -> FieldProblem | None:
    if request.medium != VIRTUAL or unavailable is None:
        return None
    return FieldProblem(
        "medium",
        Text(
            f"must be softhsm, for no virtual reader runs: {unavailable.en}",
            f"doit être softhsm, car aucun lecteur virtuel ne fonctionne : {unavailable.fr}",
        ),
    )
