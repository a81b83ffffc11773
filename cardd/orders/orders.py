"""Orders from the outside: placing, tracking, retrieving, cancelling, and their expiry."""

from typing import Any

import sqlalchemy as sa

from cardd.custody.registry import release
from cardd.errors import NotFoundError
from cardd.events import EventType
from cardd.orders.disposal import UnwantedKey, announce, destroy
from cardd.orders.errors import OrderEndedError
from cardd.orders.filters import OrderFilters, confines_of, order_conditions, sought_by
from cardd.orders.listing import rows_of_page
from cardd.orders.ordering import Ordering, not_authorised
from cardd.orders.paging import Page, PageRequest, Position, page_of
from cardd.orders.parts import AuthorisingCard, OrderParts
from cardd.orders.possession import Possession
from cardd.orders.retrieval import Retrieval, take_step
from cardd.orders.sorting import order_sorting
from cardd.orders.tracking import ORDER, Tracking, covers, visible_to
from cardd.orders.types import (
    CertificateView,
    OrderId,
    OrderRequest,
    OrderState,
    OrderView,
    PossessionProof,
    RetrievalRequest,
)
from cardd.orders.views import Views, selected_orders
from cardd.store import Transaction
from cardd.store.tables import orders
from cardd_pkcs11.types import KeyId, TokenSerial

_ENDINGS = {OrderState.CANCELLED: EventType.ORDER_CANCELLED, OrderState.EXPIRED: EventType.ORDER_EXPIRED}


class Orders:
    """The orders of one daemon.

    Where a method takes a card, None stands for the owner, who sees all; a card sees and manages what
    its habilitations cover.
    """

    def __init__(self, parts: OrderParts) -> None:
        self._parts = parts
        self._views = Views(parts)
        self._tracking = Tracking(parts)
        self._ordering = Ordering(parts)
        self._retrieval = Retrieval(parts)
        self._possession = Possession(parts.store)

    async def create(self, request: OrderRequest, card: AuthorisingCard) -> OrderView:
        """Place an order; errors are those of `Ordering.place`."""
        return await self.get(await self._ordering.place(request, card))

    async def list(
        self, filters: OrderFilters, page: PageRequest, card: AuthorisingCard | None = None
    ) -> Page[OrderView]:
        """Return a page of orders without their history, sorted as the filters ask."""
        async with self._parts.store.read() as connection:
            scope = await visible_to(connection, card)
            conditions = order_conditions(filters, scope, self._parts.clock.now())
            sorting = order_sorting(filters.sort)
            selected = selected_orders().add_columns(sorting.key.label("sort_key"))
            rows = await rows_of_page(
                connection,
                selected,
                page,
                sorting,
                conditions=conditions,
                confines=confines_of(orders, filters.structure, scope),
                sought=sought_by(filters.q, scope),
            )
        return page_of(rows, page, self._views.order, lambda row: Position(row.sort_key, row.id))

    async def get(self, order_id: str, card: AuthorisingCard | None = None) -> OrderView:
        """Return one order with its history; raises `NotFoundError`, also for what the card may not see."""
        return await self._tracking.order(order_id, card)

    async def retrieve(
        self, order_id: str, request: RetrievalRequest, card: AuthorisingCard
    ) -> CertificateView:
        """Retrieve an order and return its certificate; errors are those of `Retrieval.retrieve`."""
        serial = await self._retrieval.retrieve(order_id, request, card)
        return await self._tracking.certificate(serial)

    async def prove(
        self, order_id: str, proof: PossessionProof, card: AuthorisingCard | None = None
    ) -> OrderView:
        """Take the proof that an order's key is held; errors are those of `Possession.prove`."""
        await self._possession.prove(order_id, proof, card)
        return await self.get(order_id)

    async def renew_nonce(self, order_id: str, card: AuthorisingCard | None = None) -> OrderView:
        """Give an order a new nonce to sign; errors are those of `Possession.renew_nonce`."""
        await self._possession.renew_nonce(order_id, card)
        return await self.get(order_id)

    async def cancel(self, order_id: str, card: AuthorisingCard | None = None) -> OrderView:
        """Cancel an order that waits to be retrieved; its key is destroyed.

        Raises `NotFoundError`, `NotAuthorisedError`, and one of `OrderEndedError`.
        """
        await self._end(order_id, OrderState.CANCELLED, card)
        return await self.get(order_id)

    async def expire_due(self) -> int:
        """Expire the orders that were not retrieved in time, each by itself; return how many."""
        due = sa.select(orders.c.id).where(
            orders.c.state == OrderState.TO_RETRIEVE.value, orders.c.expires_at <= self._parts.clock.now()
        )
        async with self._parts.store.read() as connection:
            identifiers = (await connection.execute(due.order_by(orders.c.expires_at))).scalars().all()
        return sum([await self._expire(order_id) for order_id in identifiers])

    async def recover(self) -> None:
        """Bring what an earlier run left to its due state: orders that expired meanwhile."""
        await self.expire_due()

    async def _expire(self, order_id: str) -> bool:
        try:
            await self._end(order_id, OrderState.EXPIRED, None)
        except OrderEndedError:
            return False
        return True

    async def _end(self, order_id: str, step: OrderState, card: AuthorisingCard | None) -> None:
        async with self._parts.store.transaction() as tx:
            row = (await tx.execute(sa.select(orders).where(orders.c.id == order_id))).first()
            if row is None:
                raise NotFoundError.of(ORDER, order_id)
            scope = await visible_to(tx.connection, card)
            if scope is not None and not covers(scope, row):
                raise not_authorised(row.structure_id, row.offer, row.usage)
            key = await self._give_up(tx, row, step)
        if key is not None:
            await destroy(self._parts, key)

    async def _give_up(self, tx: Transaction, row: sa.Row[Any], step: OrderState) -> UnwantedKey | None:
        """End an order in its transaction; return its key where that is on a token, to be destroyed."""
        await take_step(tx, OrderId(row.id), step)
        await release(tx, row.spki_sha256)
        key = None
        if row.token_serial is not None:
            key_id = KeyId(bytes.fromhex(row.key_id))
            key = UnwantedKey(TokenSerial(row.token_serial), key_id, row.spki_sha256)
            await announce(tx, key)
        subject = f"order:{row.id}"
        tx.journal(f"order.{step.value}", subject)
        tx.publish(_ENDINGS[step], subject, offer=row.offer, usage=row.usage, structure=row.structure_id)
        return key
