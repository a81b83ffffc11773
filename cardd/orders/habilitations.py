"""The administrative phase: form F414 submitted, approved or refused by the owner, withdrawn.

An approved habilitation authorises its cards for its structure and its offers, until it is withdrawn.
"""

import secrets
from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from cardd.clock import Clock
from cardd.errors import NotFoundError
from cardd.events import EventType
from cardd.orders import identifiers
from cardd.orders.errors import HabilitationNotApprovedError
from cardd.orders.filters import Grant, Scope
from cardd.orders.forms import Problems
from cardd.orders.history import history_of
from cardd.orders.identifiers import IdentifierKind, StructureNumber
from cardd.orders.offers import usages_of
from cardd.orders.paging import Page, PageRequest, Position, page_of, paged
from cardd.orders.sorting import Sorting
from cardd.orders.states import check_habilitation_step
from cardd.orders.types import (
    HabilitationForm,
    HabilitationId,
    HabilitationState,
    HabilitationView,
    HistoryEntry,
    OfferUsages,
    Recipient,
    StructureId,
    StructureView,
    WantedOffer,
)
from cardd.store import Store, Transaction
from cardd.store.tables import cards, habilitation_cards, habilitations, structures
from cardd.text import Text
from cardd.vocabulary import Usage

_KIND = Text("habilitation", "habilitation")

_EVENTS = {
    HabilitationState.APPROVED: EventType.HABILITATION_APPROVED,
    HabilitationState.REFUSED: EventType.HABILITATION_REFUSED,
    HabilitationState.WITHDRAWN: EventType.HABILITATION_WITHDRAWN,
}


class Habilitations:
    """The habilitations of one daemon."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def submit(self, form: HabilitationForm) -> HabilitationView:
        """Submit form F414; raises `InvalidFieldsError` naming every field that breaks a rule."""
        number, checked = check_form(form)
        habilitation_id = HabilitationId(secrets.token_hex(8))
        offers = _offers_of(checked.offers)
        async with self._store.transaction() as tx:
            await _register_structure(tx, number, checked)
            await tx.execute(
                sa.insert(habilitations).values(
                    id=habilitation_id,
                    state=HabilitationState.SUBMITTED.value,
                    structure_id=number.structure_id,
                    form=msgspec.to_builtins(checked),
                    offers=msgspec.to_builtins(offers),
                    submitted_at=tx.now,
                )
            )
            subject = f"habilitation:{habilitation_id}"
            tx.journal("habilitation.submitted", subject, structure=number.structure_id)
            tx.publish(EventType.HABILITATION_SUBMITTED, subject, structure=number.structure_id)
            await tx.answer("habilitation", habilitation_id)
        return await self.get(habilitation_id)

    async def list(self, limit: int = 50, cursor: str | None = None) -> Page[HabilitationView]:
        """Return a page of habilitations, newest first, without their history."""
        page = PageRequest(limit=limit, cursor=cursor)
        sorting = Sorting(habilitations.c.submitted_at, habilitations.c.id, descending=True)
        statement = paged(_selected(), page, sorting)
        async with self._store.read() as connection:
            rows = (await connection.execute(statement)).all()
            members = await _cards_of(connection, [row.id for row in rows])
        return page_of(
            rows,
            page,
            lambda row: _view(row, members.get(row.id, ())),
            lambda row: Position(row.submitted_at, row.id),
        )

    async def get(self, habilitation_id: str) -> HabilitationView:
        """Return one habilitation with its history; raises `NotFoundError`."""
        statement = _selected().where(habilitations.c.id == habilitation_id)
        async with self._store.read() as connection:
            row = (await connection.execute(statement)).first()
            if row is None:
                raise NotFoundError.of(_KIND, habilitation_id)
            members = await _cards_of(connection, [row.id])
            history = await history_of(connection, f"habilitation:{row.id}")
        return _view(row, members.get(row.id, ()), history)

    async def approve(self, habilitation_id: str) -> HabilitationView:
        """Approve a submitted habilitation; its form becomes what is known of the structure.

        Raises `NotFoundError` and `HabilitationDecidedError`.
        """
        return await self._decide(habilitation_id, HabilitationState.APPROVED)

    async def refuse(self, habilitation_id: str, reason: str) -> HabilitationView:
        """Refuse a submitted habilitation; raises `NotFoundError` and `HabilitationDecidedError`."""
        return await self._decide(habilitation_id, HabilitationState.REFUSED, reason)

    async def withdraw(self, habilitation_id: str) -> HabilitationView:
        """Withdraw a habilitation; its cards lose what it gave at once, certificates stay as they are.

        Raises `NotFoundError` and `HabilitationDecidedError`.
        """
        return await self._decide(habilitation_id, HabilitationState.WITHDRAWN)

    async def of_card(self, serial: str) -> tuple[HabilitationView, ...]:
        """Return the approved habilitations of a card, oldest first."""
        statement = _approved_of(serial).order_by(habilitations.c.submitted_at, habilitations.c.id)
        async with self._store.read() as connection:
            rows = (await connection.execute(statement)).all()
            members = await _cards_of(connection, [row.id for row in rows])
        return tuple(_view(row, members.get(row.id, ())) for row in rows)

    async def add_card(self, tx: Transaction, habilitation_id: str, serial: str) -> None:
        """Authorise a card, in the transaction that makes it.

        Raises `NotFoundError`, and `HabilitationNotApprovedError`.
        """
        state = await _state_of(tx, habilitation_id)
        if state is not HabilitationState.APPROVED:
            raise HabilitationNotApprovedError(
                Text(f"It is {state.value}.", f"Elle est dans l’état « {state.value} »."), state=state.value
            )
        await tx.execute(
            sa.insert(habilitation_cards).values(
                habilitation_id=habilitation_id, card_serial=serial, added_at=tx.now
            )
        )
        tx.journal("habilitation.card_added", f"habilitation:{habilitation_id}", card=serial)

    async def structures(self) -> tuple[StructureView, ...]:
        """Return the structures that have an approved habilitation, by name."""
        approved = sa.select(habilitations.c.structure_id).where(
            habilitations.c.state == HabilitationState.APPROVED.value
        )
        statement = sa.select(structures).where(structures.c.id.in_(approved)).order_by(structures.c.name)
        async with self._store.read() as connection:
            rows = (await connection.execute(statement)).all()
        return tuple(StructureView(id=StructureId(row.id), name=row.name) for row in rows)

    async def _decide(
        self, habilitation_id: str, step: HabilitationState, reason: str | None = None
    ) -> HabilitationView:
        async with self._store.transaction() as tx:
            check_habilitation_step(await _state_of(tx, habilitation_id), step)
            when = "withdrawn_at" if step is HabilitationState.WITHDRAWN else "decided_at"
            changes: dict[str, Any] = {"state": step.value, when: tx.now}
            if reason is not None:
                changes["reason"] = reason
            await tx.execute(
                sa.update(habilitations).where(habilitations.c.id == habilitation_id).values(changes)
            )
            if step is HabilitationState.APPROVED:
                await _update_structure(tx, habilitation_id)
            subject = f"habilitation:{habilitation_id}"
            tx.journal(f"habilitation.{step.value}", subject, **({"reason": reason} if reason else {}))
            tx.publish(_EVENTS[step], subject)
            await tx.answer("habilitation", habilitation_id)
        return await self.get(habilitation_id)


def check_form(form: HabilitationForm) -> tuple[StructureNumber, HabilitationForm]:
    """Return the structure's number and the form with normalised values; raises `InvalidFieldsError`."""
    problems = Problems()
    number = _check_number(form, problems)
    recipient = form.recipient
    checked = msgspec.structs.replace(
        form,
        structure_name=problems.take("structure_name", identifiers.name(form.structure_name)) or "",
        delivery_address=problems.take("delivery_address", identifiers.line(form.delivery_address)) or "",
        postal_code=problems.take("postal_code", identifiers.postal_code(form.postal_code)) or "",
        town=problems.take("town", identifiers.line(form.town)) or "",
        recipient=Recipient(
            last_name=problems.take("recipient.last_name", identifiers.name(recipient.last_name)) or "",
            first_name=problems.take("recipient.first_name", identifiers.name(recipient.first_name)) or "",
            function=problems.take("recipient.function", identifiers.line(recipient.function)) or "",
            phone=problems.take("recipient.phone", identifiers.phone(recipient.phone)) or "",
            email=problems.take("recipient.email", identifiers.email(recipient.email)) or "",
        ),
    )
    _check_usages(form.offers, problems)
    problems.raise_any()
    assert number is not None  # noqa: S101 (a missing number is a problem, raised above)
    return number, msgspec.structs.replace(checked, **{number.kind.value: number.number})


_GRANTS = sa.select(habilitations.c.id, habilitations.c.structure_id, habilitations.c.offers).where(
    habilitations.c.id.in_(
        sa.select(habilitation_cards.c.habilitation_id).where(
            habilitation_cards.c.card_serial == sa.bindparam("card")
        )
    ),
    habilitations.c.state == HabilitationState.APPROVED.value,
    ~sa.exists().where(cards.c.serial == sa.bindparam("card"), cards.c.opposed_at.is_not(None)),
)


async def scope_of(connection: AsyncConnection, card_serial: str) -> Scope:
    """Return what a card may see and manage now; nothing once it is opposed."""
    rows = (await connection.execute(_GRANTS, {"card": card_serial})).all()
    grants = (
        Grant(row.id, StructureId(row.structure_id), covered.offer, covered.usages)
        for row in rows
        for covered in msgspec.convert(row.offers, tuple[OfferUsages, ...])
    )
    return Scope(card_serial, tuple(grants))


def _check_number(form: HabilitationForm, problems: Problems) -> StructureNumber | None:
    given = {kind: raw for kind in IdentifierKind if (raw := getattr(form, kind.value)) is not None}
    if len(given) != 1:
        problems.add(
            "siret",
            Text(
                "exactly one of siret, siren and finess is needed",
                "il faut exactement un numéro : siret, siren ou finess",
            ),
        )
        return None
    ((kind, raw),) = given.items()
    return problems.take(kind.value, identifiers.structure_number(kind, raw))


def _check_usages(wanted: Sequence[WantedOffer], problems: Problems) -> None:
    for index, offer in enumerate(wanted):
        known = usages_of(offer.offer)
        for place, usage in enumerate(offer.usages):
            if usage not in known:
                names = ", ".join(known)
                problems.add(
                    f"offers.{index}.usages.{place}",
                    Text(
                        f"must be one of {names} for {offer.offer}",
                        f"doit être l’un de {names} pour {offer.offer}",
                    ),
                )


def _offers_of(wanted: Sequence[WantedOffer]) -> tuple[OfferUsages, ...]:
    """Return the offers covered, each once; an offer without usages covers all of its usages."""
    covered: dict[str, set[Usage]] = {}
    for offer in wanted:
        covered.setdefault(offer.offer, set()).update(offer.usages or usages_of(offer.offer))
    return tuple(
        OfferUsages(
            offer=offer.offer, usages=tuple(u for u in usages_of(offer.offer) if u in covered[offer.offer])
        )
        for offer in {offer.offer: offer for offer in wanted}.values()
    )


def _structure_values(number: StructureNumber, form: HabilitationForm) -> dict[str, Any]:
    return {
        "kind": number.kind.value,
        "number": number.number,
        "name": form.structure_name,
        "address": form.delivery_address,
        "postal_code": form.postal_code,
        "town": form.town,
    }


async def _register_structure(tx: Transaction, number: StructureNumber, form: HabilitationForm) -> None:
    known = sa.select(structures.c.id).where(structures.c.id == number.structure_id)
    if (await tx.execute(known.with_for_update())).first() is None:
        values = _structure_values(number, form)
        await tx.execute(sa.insert(structures).values(id=number.structure_id, created_at=tx.now, **values))


async def _update_structure(tx: Transaction, habilitation_id: str) -> None:
    row = (await tx.execute(_selected().where(habilitations.c.id == habilitation_id))).one()
    form = msgspec.convert(row.form, HabilitationForm)
    number = StructureNumber(IdentifierKind(row.kind), row.number)
    statement = sa.update(structures).where(structures.c.id == row.structure_id)
    await tx.execute(statement.values(_structure_values(number, form)))


async def _state_of(tx: Transaction, habilitation_id: str) -> HabilitationState:
    statement = (
        sa.select(habilitations.c.state).where(habilitations.c.id == habilitation_id).with_for_update()
    )
    state = (await tx.execute(statement)).scalar()
    if state is None:
        raise NotFoundError.of(_KIND, habilitation_id)
    return HabilitationState(state)


def _selected() -> sa.Select[Any]:
    return sa.select(
        habilitations, structures.c.name.label("structure_name"), structures.c.kind, structures.c.number
    ).join(structures, structures.c.id == habilitations.c.structure_id)


def _approved_of(serial: str) -> sa.Select[Any]:
    members = sa.select(habilitation_cards.c.habilitation_id).where(
        habilitation_cards.c.card_serial == serial
    )
    return _selected().where(
        habilitations.c.id.in_(members), habilitations.c.state == HabilitationState.APPROVED.value
    )


async def _cards_of(connection: AsyncConnection, identifiers_: Sequence[str]) -> dict[str, tuple[str, ...]]:
    statement = (
        sa.select(habilitation_cards.c.habilitation_id, habilitation_cards.c.card_serial)
        .where(habilitation_cards.c.habilitation_id.in_(identifiers_))
        .order_by(habilitation_cards.c.added_at, habilitation_cards.c.card_serial)
    )
    found: dict[str, tuple[str, ...]] = {}
    for row in (await connection.execute(statement)).all():
        found[row.habilitation_id] = (*found.get(row.habilitation_id, ()), row.card_serial)
    return found


def _view(
    row: sa.Row[Any], members: tuple[str, ...], history: tuple[HistoryEntry, ...] = ()
) -> HabilitationView:
    return HabilitationView(
        id=HabilitationId(row.id),
        state=HabilitationState(row.state),
        submitted_at=row.submitted_at,
        decided_at=row.decided_at,
        withdrawn_at=row.withdrawn_at,
        reason=row.reason,
        form=msgspec.convert(row.form, HabilitationForm),
        structures=(StructureView(id=StructureId(row.structure_id), name=row.structure_name),),
        offers=msgspec.convert(row.offers, tuple[OfferUsages, ...]),
        cards=members,
        history=history,
    )
