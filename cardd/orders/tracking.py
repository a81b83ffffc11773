"""One order or one certificate with its history, for those who may see it."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from cardd.errors import NotFoundError
from cardd.orders.filters import MANAGED_KINDS, Scope
from cardd.orders.habilitations import scope_of
from cardd.orders.history import history_of
from cardd.orders.parts import AuthorisingCard, OrderParts
from cardd.orders.types import CertificateView, OrderView
from cardd.orders.views import Views, selected_certificates, selected_orders
from cardd.store.tables import certificates, orders
from cardd.text import Text

ORDER = Text("order", "commande")
CERTIFICATE = Text("certificate", "certificat")


_ORDER = selected_orders().where(orders.c.id == sa.bindparam("order_id"))


class Tracking:
    """Shows single orders and certificates; a card sees what its habilitations cover, the owner all."""

    def __init__(self, parts: OrderParts) -> None:
        self._store = parts.store
        self._views = Views(parts)

    async def order(self, order_id: str, card: AuthorisingCard | None = None) -> OrderView:
        """Return one order; raises `NotFoundError`, also for what the card may not see."""
        async with self._store.read() as connection:
            row = (await connection.execute(_ORDER, {"order_id": order_id})).first()
            scope = await visible_to(connection, card)
            if row is None or (scope is not None and not covers(scope, row)):
                raise NotFoundError.of(ORDER, order_id)
            history = await history_of(connection, f"order:{row.id}")
        return self._views.order(row, history)

    async def certificate(self, serial: str, card: AuthorisingCard | None = None) -> CertificateView:
        """Return one certificate; raises `NotFoundError`, also for what the card may not see."""
        async with self._store.read() as connection:
            row = (await connection.execute(_CERTIFICATE, {"serial": serial.lower()})).first()
            scope = await visible_to(connection, card)
            if row is None or (scope is not None and not covers(scope, row, own_card=row.card_serial)):
                raise NotFoundError.of(CERTIFICATE, serial)
            history = await history_of(connection, f"certificate:{row.serial}")
        return self._views.certificate(row, history)


async def visible_to(connection: AsyncConnection, card: AuthorisingCard | None) -> Scope | None:
    """Return what a card may see and manage; None, which is all, for the owner."""
    return await scope_of(connection, card.card_serial) if card is not None else None


def covers(scope: Scope, row: sa.Row[Any], *, own_card: str | None = None) -> bool:
    """Tell whether habilitations cover a row's structure, offer and usage, or `own_card` is the card itself."""
    if own_card is not None and own_card == scope.card_serial:
        return True
    return scope.habilitation_for(row.structure_id, row.offer, row.usage) is not None


def managed(selection: sa.Select[Any], serial: str) -> sa.Select[Any]:
    """Narrow a selection to one certificate of an order or a card; hexadecimal digits in either case."""
    return selection.where(certificates.c.serial == serial.lower(), certificates.c.kind.in_(MANAGED_KINDS))


_CERTIFICATE = selected_certificates().where(
    certificates.c.serial == sa.bindparam("serial"), certificates.c.kind.in_(MANAGED_KINDS)
)
