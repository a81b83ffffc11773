"""Possession of an order's key: proven at once by a key on a token, and by a signed nonce where a CSR brought it."""

import base64
from typing import Any

import sqlalchemy as sa

from cardd.custody.possession import message, new_challenge, verified_by
from cardd.errors import NotFoundError
from cardd.events import EventType
from cardd.orders.errors import (
    PossessionExpiredError,
    PossessionProvenError,
    PossessionSignatureInvalidError,
    PossessionUnprovenError,
)
from cardd.orders.ordering import not_authorised
from cardd.orders.parts import AuthorisingCard
from cardd.orders.states import check_order_step, order_state
from cardd.orders.tracking import ORDER, covers, visible_to
from cardd.orders.types import OrderState, PossessionProof
from cardd.store import Store, Transaction
from cardd.store.tables import orders
from cardd.text import Text

_ORDER = sa.select(orders).where(orders.c.id == sa.bindparam("order_id")).with_for_update()
_CHANGE = sa.update(orders).where(orders.c.id == sa.bindparam("order_id"))


class Possession:
    """Takes the proofs of orders that wait to be retrieved, and gives new nonces.

    Where a method takes a card, None stands for the owner.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    async def prove(self, order_id: str, proof: PossessionProof, card: AuthorisingCard | None) -> None:
        """Take the signature of an order's key over its nonce, which serves no second time.

        Raises `NotFoundError`, `NotAuthorisedError`, one of `OrderEndedError`, `PossessionProvenError`,
        `PossessionExpiredError`, and `PossessionSignatureInvalidError`, after which the nonce still stands.
        """
        async with self._store.transaction() as tx:
            row = await _unproven(tx, order_id, card)
            if row.possession_expires_at <= tx.now:
                raise PossessionExpiredError(
                    Text(
                        f"It could be signed until {row.possession_expires_at:%Y-%m-%d %H:%M} UTC.",
                        f"Il pouvait être signé jusqu’au {row.possession_expires_at:%d/%m/%Y %H:%M} UTC.",
                    )
                )
            signed = message(row.id, row.possession_nonce)
            mechanism = verified_by(row.spki, signed, proof.signature, proof.mechanism)
            if mechanism is None:
                raise _invalid(row, proof)
            proven = {"proven_at": tx.now, "possession_nonce": None, "possession_expires_at": None}
            await tx.execute(_CHANGE, {"order_id": row.id, **proven})
            subject, facts = (
                f"order:{row.id}",
                {"public_key_sha256": row.spki_sha256, "mechanism": mechanism.value},
            )
            tx.journal("order.possession_proven", subject, **facts)
            tx.publish(EventType.ORDER_POSSESSION_PROVEN, subject, **facts)
            await tx.answer("order", row.id)

    async def renew_nonce(self, order_id: str, card: AuthorisingCard | None) -> None:
        """Replace an order's nonce, expired or not, by a new one; errors are those of `prove`."""
        async with self._store.transaction() as tx:
            row = await _unproven(tx, order_id, card)
            fresh = new_challenge(tx.now)
            columns = {"possession_nonce": fresh.nonce, "possession_expires_at": fresh.expires_at}
            await tx.execute(_CHANGE, {"order_id": row.id, **columns})
            tx.journal("order.possession_nonce", f"order:{row.id}")
            await tx.answer("order", row.id)


def refuse_unproven(row: sa.Row[Any]) -> None:
    """Raise `PossessionUnprovenError` where an order's key has not proven itself."""
    if row.proven_at is None:
        raise PossessionUnprovenError(
            Text(
                f"The key of the CSR has not signed the nonce of the order {row.id}.",
                f"La clé de la CSR n’a pas signé le défi de la commande {row.id}.",
            ),
            order=row.id,
        )


async def _unproven(tx: Transaction, order_id: str, card: AuthorisingCard | None) -> sa.Row[Any]:
    """Return an order that the caller may manage, that waits, and whose key has yet to prove itself."""
    row = (await tx.execute(_ORDER, {"order_id": order_id})).first()
    if row is None:
        raise NotFoundError.of(ORDER, order_id)
    scope = await visible_to(tx.connection, card)
    if scope is not None and not covers(scope, row):
        raise not_authorised(row.structure_id, row.offer, row.usage)
    check_order_step(order_state(OrderState(row.state), row.expires_at, tx.now), OrderState.RETRIEVED)
    if row.proven_at is not None:
        raise PossessionProvenError(
            Text(
                "A nonce is signed once; this order’s was, or its key is on a token.",
                "Un défi ne se signe qu’une fois ; celui-ci l’a été, ou la clé est sur un jeton.",
            ),
            order=row.id,
        )
    return row


def _invalid(row: sa.Row[Any], proof: PossessionProof) -> PossessionSignatureInvalidError:
    wanted = f" ({proof.mechanism.value})" if proof.mechanism is not None else ""
    return PossessionSignatureInvalidError(
        Text(
            f"The signature{wanted} does not verify with the CSR’s key over this order’s message.",
            f"La signature{wanted} ne se vérifie pas avec la clé de la CSR sur le message de cette commande.",
        ),
        public_key_sha256=row.spki_sha256,
        to_sign=base64.b64encode(message(row.id, row.possession_nonce)).decode("ascii"),
    )
