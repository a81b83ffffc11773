"""Retrieving an order: the code and the terms, the certificate, then one transaction."""

import asyncio
from datetime import datetime
from typing import Any
from weakref import WeakValueDictionary

import msgspec
import sqlalchemy as sa

from cardd.custody.registry import refuse_blocked
from cardd.errors import NotFoundError
from cardd.events import EventType
from cardd.igc.issuing import IssuedCertificate, IssueRequest, new_serial, serial_hex
from cardd.igc.pki import Recorded
from cardd.igc.profiles import KeyMedium
from cardd.orders.codes import CodePolicy, check_code, hash_code
from cardd.orders.filters import search_text
from cardd.orders.forms import OrderFields, Problems
from cardd.orders.habilitations import scope_of
from cardd.orders.identifiers import IdentifierKind
from cardd.orders.notices import NoticeKind, queue
from cardd.orders.offers import profile_name
from cardd.orders.ordering import not_authorised
from cardd.orders.parts import AuthorisingCard, OrderParts
from cardd.orders.possession import refuse_unproven
from cardd.orders.states import check_order_step, order_state
from cardd.orders.subjects import Structure, subject_of
from cardd.orders.tokenwrites import write_on_token
from cardd.orders.tracking import ORDER, covers
from cardd.orders.types import (
    CertificateSerial,
    Offer,
    OrderId,
    OrderState,
    RetrievalRequest,
    StructureId,
)
from cardd.store import Store, Transaction
from cardd.store.tables import orders, structures
from cardd.text import Text
from cardd.vocabulary import Profession, Usage

#: Private extension 5 by level of custody; of a CSR's key nothing better than software can be said.
_MEDIA = {"hardware": KeyMedium.SECURITY_MODULE}


class Retrieval:
    """Retrieves orders; of two retrievals of one order at once, one gets the certificate."""

    def __init__(self, parts: OrderParts) -> None:
        self._parts = parts
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def retrieve(
        self, order_id: str, request: RetrievalRequest, card: AuthorisingCard
    ) -> CertificateSerial:
        """Issue the certificate of an order and return its serial.

        Raises `NotFoundError`, `NotAuthorisedError`, one of `OrderEndedError`, `PossessionUnprovenError`,
        `KeyBlockedError`, `InvalidFieldsError`, and what refuses the certificate before it is signed.
        """
        turn = self._turns.setdefault(order_id, asyncio.Lock())
        async with turn:
            row = await self._waiting(order_id, card)
            code = _check(request, self._parts.code_policy)
            code_hash = await hash_code(code, self._parts.code_policy) if code is not None else None
            issued = await self._parts.pki.issue(_issue_request(row))
            serial = CertificateSerial(serial_hex(issued.serial))
            async with self._parts.store.transaction() as tx:
                await self._commit(tx, row, issued, card, code_hash)
        await write_on_token(self._parts, serial)
        return serial

    async def _waiting(self, order_id: str, card: AuthorisingCard) -> sa.Row[Any]:
        """Return the order with its structure, once the card may retrieve it and it waits for that."""
        async with self._parts.store.read() as connection:
            found = await connection.execute(_RETRIEVED, {"order_id": order_id})
            row: sa.Row[Any] | None = found.first()
            if row is None:
                raise NotFoundError.of(ORDER, order_id)
            scope = await scope_of(connection, card.card_serial)
            await refuse_blocked(connection, row.spki_sha256)
        if not covers(scope, row):
            raise not_authorised(row.structure_id, row.offer, row.usage)
        present = order_state(OrderState(row.state), row.expires_at, self._parts.clock.now())
        check_order_step(present, OrderState.RETRIEVED)
        refuse_unproven(row)
        return row

    async def _commit(
        self,
        tx: Transaction,
        row: sa.Row[Any],
        issued: IssuedCertificate,
        card: AuthorisingCard,
        code_hash: str | None,
    ) -> None:
        scope = await scope_of(tx.connection, card.card_serial)
        if not covers(scope, row):
            raise not_authorised(row.structure_id, row.offer, row.usage)
        await refuse_blocked(tx.connection, row.spki_sha256)
        await take_step(tx, OrderId(row.id), OrderState.RETRIEVED)
        await self._parts.pki.record(tx, issued, _recorded(row, code_hash))
        serial = serial_hex(issued.serial)
        facts = {"offer": row.offer, "usage": row.usage, "structure": row.structure_id}
        tx.journal("order.retrieved", f"order:{row.id}", certificate=serial, terms_accepted=True)
        tx.publish(EventType.ORDER_RETRIEVED, f"order:{row.id}", certificate=serial, **facts)
        tx.journal(
            "certificate.issued", f"certificate:{serial}", order=row.id, issuer=issued.issuer.value, **facts
        )
        tx.publish(EventType.CERTIFICATE_ISSUED, f"certificate:{serial}", order=row.id, **facts)
        await queue(tx, serial, NoticeKind.RETRIEVED, row.contacts)
        await tx.answer("certificate", serial)


async def due_request(store: Store, order_id: str, now: datetime) -> IssueRequest:
    """Return the certificate that an order waits for, for a machine that signs for others.

    Raises `NotFoundError`, one of `OrderEndedError`, `PossessionUnprovenError`.
    """
    async with store.read() as connection:
        row = (await connection.execute(_RETRIEVED, {"order_id": order_id})).first()
    if row is None:
        raise NotFoundError.of(ORDER, order_id)
    check_order_step(order_state(OrderState(row.state), row.expires_at, now), OrderState.RETRIEVED)
    refuse_unproven(row)
    return _issue_request(row)


async def take_step(tx: Transaction, order_id: OrderId, step: OrderState) -> None:
    """Take an order that waits to `step`; raises the error that says why where it no longer waits.

    The condition is part of the change, so that of two steps at once only one is taken.
    """
    in_time = orders.c.expires_at <= tx.now if step is OrderState.EXPIRED else orders.c.expires_at > tx.now
    changed = await tx.execute(
        sa.update(orders)
        .where(orders.c.id == order_id, orders.c.state == OrderState.TO_RETRIEVE.value, in_time)
        .values(state=step.value, ended_at=tx.now)
    )
    if changed.rowcount == 1:
        return
    row = (
        await tx.execute(sa.select(orders.c.state, orders.c.expires_at).where(orders.c.id == order_id))
    ).first()
    if row is None:
        raise NotFoundError.of(ORDER, order_id)
    check_order_step(order_state(OrderState(row.state), row.expires_at, tx.now), step)


def _check(request: RetrievalRequest, policy: CodePolicy) -> str | None:
    """Return the code that was chosen, None where the certificate is to have none."""
    problems = Problems()
    code = None
    if not request.without_code:
        code = check_code(request.revocation_code or "", request.confirmation or "", problems, policy)
    elif request.revocation_code is not None or request.confirmation is not None:
        problems.add(
            "without_code",
            Text("must be false where a code is chosen", "doit être faux lorsqu’un code est choisi"),
        )
    if not request.accept_terms:
        problems.add(
            "accept_terms",
            Text("the terms of use and the certificate policy must be accepted",
                 "les conditions d’utilisation et la politique de certification doivent être acceptées"),
        )  # fmt: skip
    problems.raise_any()
    return code


def _issue_request(row: sa.Row[Any]) -> IssueRequest:
    fields = msgspec.convert(row.fields, OrderFields)
    structure = Structure(
        id=StructureId(row.structure_id),
        kind=IdentifierKind(row.structure_kind),
        number=row.structure_number,
        name=row.structure_name,
        postal_code=row.postal_code,
    )
    profession = fields.person.profession if fields.person is not None else None
    return IssueRequest(
        profile=profile_name(Offer(row.offer), Usage(row.usage)),
        subject=subject_of(structure, fields),
        public_key=row.spki,
        serial=new_serial(),
        medium=_MEDIA.get(row.level, KeyMedium.SOFTWARE),
        dns_names=fields.fqdn,
        profession=Profession(profession) if profession is not None else None,
    )


def _recorded(row: sa.Row[Any], code_hash: str | None) -> Recorded:
    return Recorded(
        kind="order",
        profile=profile_name(Offer(row.offer), Usage(row.usage)).value,
        level=row.level,
        order_id=row.id,
        offer=row.offer,
        usage=row.usage,
        structure_id=row.structure_id,
        search=search_text([row.search]),
        token_serial=row.token_serial,
        key_id=row.key_id,
        key_label=row.key_label,
        on_token=row.token_serial is None,
        contacts=tuple(row.contacts),
        revocation_code_hash=code_hash,
    )


_RETRIEVED = (
    sa.select(
        orders,
        structures.c.name.label("structure_name"),
        structures.c.kind.label("structure_kind"),
        structures.c.number.label("structure_number"),
        structures.c.postal_code,
    )
    .join(structures, structures.c.id == orders.c.structure_id)
    .where(orders.c.id == sa.bindparam("order_id"))
)
