"""Revoking a certificate, for ever: by its code, by an authorised card, or by the owner."""

from typing import Any

import sqlalchemy as sa

from cardd.audit import current_actor
from cardd.errors import NotFoundError
from cardd.events import EventType
from cardd.igc.crl import RevocationReason as CrlReason
from cardd.orders.codes import NO_TRIES_SPENT, spend_try
from cardd.orders.compromise import block_and_revoke, publish_lists
from cardd.orders.errors import AlreadyRevokedError, CertificateExpiredError, RevocationCodeRequiredError
from cardd.orders.notices import NoticeKind, queue
from cardd.orders.ordering import not_authorised
from cardd.orders.parts import AuthorisingCard, OrderParts
from cardd.orders.tracking import CERTIFICATE, covers, managed, visible_to
from cardd.orders.types import RevocationReason, RevocationRequest
from cardd.store import Transaction
from cardd.store.tables import certificates
from cardd.text import Text

#: Who may revoke without a code and without a card.
_TRUSTED_ACTORS = frozenset({"owner", "daemon"})


class Revocation:
    """Revokes certificates of orders and of cards."""

    def __init__(self, parts: OrderParts) -> None:
        self._parts = parts

    async def revoke(self, serial: str, request: RevocationRequest, card: AuthorisingCard | None) -> None:
        """Revoke a certificate; its lists are published before this returns, but for large ones, which follow.

        For a compromise, its key is blocked for ever and every certificate that shares it is revoked as well.

        A code that is given must be right, whoever gives it. Raises `NotFoundError`,
        `AlreadyRevokedError`, `CertificateExpiredError`, `NotAuthorisedError`, and
        `RevocationCodeRequiredError`, `RevocationCodeIncorrectError`, `RevocationCodeLockedError`.
        """
        store, settings = self._parts.store, self._parts.settings.orders
        async with store.read() as connection:
            row = (await connection.execute(managed(sa.select(certificates), serial))).first()
        _check_revocable(serial, row, self._parts)
        if request.revocation_code is not None:
            await spend_try(store, serial.lower(), request.revocation_code, settings)
        async with store.transaction() as tx:
            row = (await tx.execute(managed(sa.select(certificates), serial).with_for_update())).one()
            _check_revocable(serial, row, self._parts)
            if request.revocation_code is None:
                await _authorise(tx, row, card)
            await self._commit(tx, row, request)
        await publish_lists(self._parts, serial.lower())

    async def _commit(self, tx: Transaction, row: sa.Row[Any], request: RevocationRequest) -> None:
        subject, reason = f"certificate:{row.serial}", request.reason
        await self._parts.pki.revoke_in(tx, row.serial, CrlReason[reason.name])
        if request.revocation_code is not None:
            await tx.execute(
                sa.update(certificates).where(certificates.c.serial == row.serial).values(**NO_TRIES_SPENT)
            )
        by_code = request.revocation_code is not None
        tx.journal("certificate.revoked", subject, reason=reason.value, by_code=by_code)
        tx.publish(EventType.CERTIFICATE_REVOKED, subject, reason=reason.value, issuer=row.issuer)
        await queue(tx, row.serial, NoticeKind.REVOKED, row.contacts)
        if reason is RevocationReason.KEY_COMPROMISE:
            why = f"revocation of {row.serial} for key compromise"
            await block_and_revoke(tx, self._parts, row.spki_sha256, why)
        await tx.answer("certificate", row.serial)


async def _authorise(tx: Transaction, row: sa.Row[Any], card: AuthorisingCard | None) -> None:
    if card is None and current_actor.get() not in _TRUSTED_ACTORS:
        raise RevocationCodeRequiredError(
            Text("No code was given.", "Aucun code n’a été donné."), serial=row.serial
        )
    scope = await visible_to(tx.connection, card)
    if scope is not None and not covers(scope, row, own_card=row.card_serial):
        raise not_authorised(row.structure_id or "", row.offer or "", row.usage or "")


def _check_revocable(serial: str, row: sa.Row[Any] | None, parts: OrderParts) -> None:
    if row is None:
        raise NotFoundError.of(CERTIFICATE, serial)
    if row.revoked_at is not None:
        raise AlreadyRevokedError(
            Text(
                f"It was revoked on {row.revoked_at:%Y-%m-%d}, which is definitive.",
                f"Il a été révoqué le {row.revoked_at:%d/%m/%Y}, définitivement.",
            ),
            revoked_at=row.revoked_at,
            revocation_reason=row.revocation_reason,
        )
    if parts.clock.now() > row.not_after:
        raise CertificateExpiredError(
            Text(f"It ended on {row.not_after:%Y-%m-%d}.", f"Il a pris fin le {row.not_after:%d/%m/%Y}."),
            not_after=row.not_after,
        )
