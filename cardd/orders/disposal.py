"""Keys that nothing needs any more: announced for destruction with the change that gives them up, then destroyed.

The announcement is a row of the same table as that of keys in the making: what a crash leaves there is
destroyed at the next start.
"""

from dataclasses import dataclass

import sqlalchemy as sa
import structlog

from cardd.custody.errors import TokenFaultError, token_errors_translated
from cardd.events import EventType
from cardd.orders.parts import OrderParts
from cardd.store import Transaction
from cardd.store.tables import key_intents
from cardd_pkcs11.types import KeyId, ObjectKind, TokenSerial

_log = structlog.get_logger(__name__)
_KINDS = frozenset({ObjectKind.PRIVATE_KEY, ObjectKind.PUBLIC_KEY, ObjectKind.CERTIFICATE})


@dataclass(frozen=True)
class UnwantedKey:
    """A key on a token that is to be destroyed."""

    token_serial: TokenSerial
    key_id: KeyId
    spki_sha256: str


async def announce(tx: Transaction, key: UnwantedKey) -> None:
    """Give a key up, in the transaction that ends what it was for."""
    await tx.execute(
        sa.insert(key_intents).values(
            key_id=key.key_id.hex(), token_serial=key.token_serial, created_at=tx.now
        )
    )


async def destroy(parts: OrderParts, key: UnwantedKey) -> None:
    """Destroy a key that was announced; where the token fails, the next start does it."""
    try:
        with token_errors_translated():
            await parts.pool.destroy(key.token_serial, kinds=_KINDS, key_id=key.key_id)
    except TokenFaultError as error:
        _log.warning("orders.key_not_destroyed_yet", public_key=key.spki_sha256, why=error.code)
        return
    async with parts.store.transaction() as tx:
        await tx.execute(sa.delete(key_intents).where(key_intents.c.key_id == key.key_id.hex()))
        subject = f"key:{key.spki_sha256}"
        tx.journal("key.destroyed", subject, token=key.token_serial)
        tx.publish(EventType.KEY_DESTROYED, subject)
