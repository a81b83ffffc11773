"""Certificates from the outside: tracking, revoking, renewing; written on their tokens."""

from typing import Any

import msgspec
import sqlalchemy as sa

from cardd.errors import FieldProblem, InvalidFieldsError, NotFoundError
from cardd.orders.compromise import KeyBlocks
from cardd.orders.errors import NotActiveError
from cardd.orders.filters import CertificateFilters, certificate_conditions, confines_of, sought_by
from cardd.orders.forms import OrderFields
from cardd.orders.habilitations import scope_of
from cardd.orders.listing import rows_of_page
from cardd.orders.ordering import Ordering, not_authorised
from cardd.orders.paging import Page, PageRequest, Position, page_of
from cardd.orders.parts import AuthorisingCard, OrderParts
from cardd.orders.revocation import Revocation
from cardd.orders.sorting import CertificateSort, certificate_sorting
from cardd.orders.tokenwrites import finish_token_writes
from cardd.orders.tracking import CERTIFICATE, Tracking, covers, managed, visible_to
from cardd.orders.types import (
    BlockedKeyView,
    CertificateSerial,
    CertificateState,
    CertificateSummary,
    CertificateView,
    KeyBlockRequest,
    KeyRequest,
    Offer,
    OrderRequest,
    OrderView,
    RenewalRequest,
    RevocationRequest,
)
from cardd.orders.views import Views, selected_certificates
from cardd.store.tables import certificates, orders
from cardd.text import Text
from cardd.vocabulary import Usage


class Certificates:
    """The certificates of orders and cards; those of CAs and responders are published, not managed.

    Where a method takes a card, None stands for the owner, who sees all; a card sees and manages what
    its habilitations cover, and its own certificates.
    """

    def __init__(self, parts: OrderParts) -> None:
        self._parts = parts
        self._views = Views(parts)
        self._tracking = Tracking(parts)
        self._ordering = Ordering(parts)
        self._revocation = Revocation(parts)
        self._blocks = KeyBlocks(parts)

    async def list(
        self, filters: CertificateFilters, page: PageRequest, card: AuthorisingCard | None = None
    ) -> Page[CertificateSummary]:
        """Return a page of certificates, sorted as the filters ask."""
        now = self._parts.clock.now()
        async with self._parts.store.read() as connection:
            scope = await visible_to(connection, card)
            conditions = certificate_conditions(filters, scope, now, self._views.notice)
            sorting = certificate_sorting(_sort_of(filters))
            selected = selected_certificates().add_columns(sorting.key.label("sort_key"))
            rows = await rows_of_page(
                connection,
                selected,
                page,
                sorting,
                conditions=conditions,
                confines=confines_of(certificates, filters.structure, scope),
                sought=sought_by(filters.q, scope),
            )
        return page_of(rows, page, self._views.summary, lambda row: Position(row.sort_key, row.serial))

    async def get(self, serial: str, card: AuthorisingCard | None = None) -> CertificateView:
        """Return one certificate with its chain and history.

        Raises `NotFoundError`, also for what the card may not see.
        """
        return await self._tracking.certificate(serial, card)

    async def revoke(
        self, serial: str, request: RevocationRequest, card: AuthorisingCard | None = None
    ) -> CertificateView:
        """Revoke a certificate for ever; errors are those of `Revocation.revoke`."""
        await self._revocation.revoke(serial, request, card)
        return await self.get(serial)

    async def block_key(self, spki_sha256: str, request: KeyBlockRequest) -> BlockedKeyView:
        """Block a compromised key for ever; errors are those of `KeyBlocks.block`."""
        return await self._blocks.block(spki_sha256, request)

    async def renew(self, serial: str, request: RenewalRequest, card: AuthorisingCard) -> OrderView:
        """Order a certificate with the same fields and a new key; return the order.

        Raises `NotFoundError`, `NotAuthorisedError`, `NotActiveError`, `InvalidFieldsError` (a CSR is
        needed where the old key was a CSR's), and what `Ordering.place` raises.
        """
        async with self._parts.store.read() as connection:
            row = (await connection.execute(managed(selected_certificates(), serial))).first()
            if row is None:
                raise NotFoundError.of(CERTIFICATE, serial)
            scope = await scope_of(connection, card.card_serial)
            if not covers(scope, row, own_card=row.card_serial):
                raise not_authorised(row.structure_id or "", row.offer or "", row.usage or "")
            self._check_renewable(row)
            order = (await connection.execute(sa.select(orders).where(orders.c.id == row.order_id))).one()
        renewed = _order_again(order, request)
        renewal_of = CertificateSerial(row.serial)
        order_id = await self._ordering.place(renewed, card, renewal_of=renewal_of)
        return await self._tracking.order(order_id)

    async def finish_token_writes(self) -> int:
        """Write on their tokens the certificates that are not there yet; return how many were written."""
        return await finish_token_writes(self._parts)

    def _check_renewable(self, row: sa.Row[Any]) -> None:
        state = self._views.certificate_state(row)
        if row.order_id is None:
            raise NotActiveError(
                Text(
                    "A card's certificate is renewed with its card.",
                    "Le certificat d’une carte se renouvelle avec elle.",
                ),
                state=state.value,
            )
        if state not in (CertificateState.ACTIVE, CertificateState.RENEWABLE):
            raise NotActiveError(
                Text(f"It is {state.value}.", f"Il est dans l’état « {state.value} »."), state=state.value
            )


def _sort_of(filters: CertificateFilters) -> CertificateSort:
    """Return how a list is sorted: what is narrowed by its end, by that, since newest first would walk past all else.

    Certificates have one validity, so that both orders are the same but where the settings have changed it.
    """
    by_end = filters.state in (CertificateState.EXPIRED, CertificateState.RENEWABLE)
    if filters.sort is CertificateSort.NEWEST and by_end:
        return CertificateSort.EXPIRY_DESCENDING
    return filters.sort


def _order_again(order: sa.Row[Any], request: RenewalRequest) -> OrderRequest:
    """Return the form of an order once more, with a new key where the old one was."""
    if request.key is None and order.key_source == "csr":
        raise InvalidFieldsError([FieldProblem("key.csr", _NEW_CSR)])
    fields = msgspec.convert(order.fields, OrderFields)
    key = request.key or KeyRequest(source="token", token=order.token_serial, algorithm=order.algorithm)
    return OrderRequest(
        offer=Offer(order.offer),
        usage=Usage(order.usage),
        structure=order.structure_id,
        service=fields.service,
        fqdn=fields.fqdn,
        email=fields.email,
        person=fields.person,
        contacts=request.contacts if request.contacts is not None else tuple(order.contacts),
        key=key,
    )


_NEW_CSR = Text(
    "is required: a new key must be certified, since a key is never certified twice",
    "est obligatoire : il faut une nouvelle clé, car une clé n’est jamais certifiée deux fois",
)
