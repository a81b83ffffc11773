"""One key, one holder: claims of public keys, blocked keys, and keys in the making that a crash must not leave behind.

Uniqueness is the primary key of the table, never a look before the insert: of two identical requests
at once, one is refused. A key about to be made on a token is announced first; what is still announced at
the next start was cut short, and its key is destroyed.
"""

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum, unique
from typing import Any, Final, NewType

import sqlalchemy as sa
import structlog
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from cardd.errors import ConflictError
from cardd.events import EventType
from cardd.store import Store, StoreUnavailableError, Transaction
from cardd.store.tables import blocked_keys, certificates, key_intents, key_registry, tokens
from cardd.text import Text
from cardd_pkcs11.errors import TokenError, TokenNotFoundError
from cardd_pkcs11.operations import TokenOperations
from cardd_pkcs11.types import KeyId, ObjectKind, TokenSerial

#: SHA-256 of a DER SubjectPublicKeyInfo, lower-case hexadecimal.
SpkiHash = NewType("SpkiHash", str)

#: Length of a key's identifier (CKA_ID), in bytes.
KEY_ID_BYTES: Final = 16

_log = structlog.get_logger(__name__)

#: What may lie on a token under a key's identifier.
_OF_A_KEY = frozenset({ObjectKind.PRIVATE_KEY, ObjectKind.PUBLIC_KEY, ObjectKind.CERTIFICATE})


@unique
class HolderKind(StrEnum):
    """What a public key can belong to."""

    ORDER = "order"
    CARD = "card"
    CA = "ca"


class KeyAlreadyHeldError(ConflictError):
    """The public key belongs to something else already; `conflict` names it."""

    code = "key_already_held"
    title = Text("This key is already held", "Cette clé est déjà détenue")
    default_advice = Text(
        "Make a new key: a key serves one certificate only, and is never certified twice.",
        "Créez une nouvelle clé : une clé ne sert qu’à un certificat et n’est jamais certifiée deux fois.",
    )


class KeyBlockedError(ConflictError):
    """The key is compromised: nothing is certified for it, ever (`public_key_sha256`, `blocked_at`)."""

    code = "key_blocked"
    title = Text("This key is blocked", "Cette clé est bloquée")
    default_advice = Text(
        "Destroy this key and make a new one: a compromised key is blocked for ever.",
        "Détruisez cette clé et créez-en une nouvelle : une clé compromise est bloquée pour toujours.",
    )


def spki_hash(spki: bytes) -> SpkiHash:
    """Return the name of a public key: SHA-256 over its DER SubjectPublicKeyInfo, in hexadecimal."""
    return SpkiHash(hashlib.sha256(spki).hexdigest())


_BLOCKED = sa.select(blocked_keys).where(blocked_keys.c.spki_sha256 == sa.bindparam("name"))
#: Claims a key unless it has a holder, by dialect.
_CLAIM = {
    "postgresql": postgresql.insert(key_registry).on_conflict_do_nothing(index_elements=["spki_sha256"]),
    "sqlite": sqlite.insert(key_registry).on_conflict_do_nothing(index_elements=["spki_sha256"]),
}


async def claim(
    tx: Transaction,
    *,
    spki: bytes,
    holder_kind: HolderKind,
    holder: str,
    token_serial: TokenSerial | None,
    key_id: KeyId | None,
    level: str,
) -> SpkiHash:
    """Claim a public key (DER SubjectPublicKeyInfo) for `holder`, in the transaction that makes the holder.

    Raises:
        KeyAlreadyHeldError: it has a holder; the transaction can go on.
        KeyBlockedError: it is compromised; the transaction can go on.
    """
    name = spki_hash(spki)
    await refuse_blocked(tx.connection, name)
    values = {
        "spki_sha256": name,
        "holder_kind": HolderKind(holder_kind).value,
        "holder": holder,
        "token_serial": token_serial,
        "key_id": key_id.hex() if key_id is not None else None,
        "level": level,
        "claimed_at": tx.now,
    }
    inserted = await tx.execute(_CLAIM[tx.connection.dialect.name], values)
    if inserted.rowcount != 1:
        raise await _held_already(tx, name)
    return name


async def block(tx: Transaction, name: SpkiHash | str, reason: str) -> bool:
    """Block a key for ever; False where it was blocked before, whose reason stands."""
    insert = postgresql.insert if tx.connection.dialect.name == "postgresql" else sqlite.insert
    statement = insert(blocked_keys).values(spki_sha256=name, reason=reason, blocked_at=tx.now)
    inserted = await tx.execute(statement.on_conflict_do_nothing(index_elements=["spki_sha256"]))
    return inserted.rowcount == 1


async def refuse_blocked(connection: AsyncConnection, name: SpkiHash | str) -> None:
    """Raise `KeyBlockedError` where a key is blocked."""
    row = (await connection.execute(_BLOCKED, {"name": name})).first()
    if row is None:
        return
    raise KeyBlockedError(
        Text(
            f"It was blocked on {row.blocked_at:%Y-%m-%d}: {row.reason}.",
            f"Elle a été bloquée le {row.blocked_at:%d/%m/%Y} : {row.reason}.",
        ),
        public_key_sha256=row.spki_sha256,
        blocked_at=row.blocked_at,
    )


async def release(tx: Transaction, name: SpkiHash | str) -> bool:
    """Give a claim up, because nothing hangs on the key any more; tell whether there was one."""
    result = await tx.execute(sa.delete(key_registry).where(key_registry.c.spki_sha256 == name))
    return result.rowcount == 1


class KeyIntent:
    """A key that is being made; `key_id` is its CKA_ID to be."""

    def __init__(self, token_serial: TokenSerial, key_id: KeyId) -> None:
        self.token_serial = token_serial
        self.key_id = key_id

    async def fulfil(self, tx: Transaction) -> None:
        """Take the announcement back in the transaction that makes the key's holder."""
        await tx.execute(sa.delete(key_intents).where(key_intents.c.key_id == self.key_id.hex()))


class KeyIntents:
    """Announces keys before they are made, so that none is left without a holder."""

    def __init__(self, store: Store, tokens: TokenOperations, *, owner: str | None = None) -> None:
        """Announce keys on the tokens of `owner`, this machine where nobody is named."""
        self._store = store
        self._tokens = tokens
        self._owner = owner or store.machine

    @asynccontextmanager
    async def making(self, token_serial: TokenSerial) -> AsyncIterator[KeyIntent]:
        """Announce a key for the length of the context.

        A key whose intent no committed transaction has fulfilled when the context is left is destroyed.
        """
        intent = KeyIntent(token_serial, KeyId(secrets.token_bytes(KEY_ID_BYTES)))
        try:
            async with self._store.transaction() as tx:
                await tx.execute(
                    sa.insert(key_intents).values(
                        key_id=intent.key_id.hex(), token_serial=token_serial, created_at=tx.now
                    )
                )
            yield intent
        finally:
            leaving = asyncio.ensure_future(self._leave(intent))
            try:
                await asyncio.shield(leaving)
            except asyncio.CancelledError:
                await asyncio.wait({leaving})
                raise

    async def recover(self) -> int:
        """Destroy the keys here whose making was cut short; return how many intents were settled."""
        elsewhere = sa.select(tokens.c.serial).where(tokens.c.machine != self._owner)
        cut_short = sa.select(key_intents).where(key_intents.c.token_serial.not_in(elsewhere))
        async with self._store.read() as connection:
            rows = (await connection.execute(cut_short)).all()
        settled = [
            await self._settle(KeyIntent(TokenSerial(row.token_serial), KeyId(bytes.fromhex(row.key_id))))
            for row in rows
        ]
        return sum(settled)

    async def _leave(self, intent: KeyIntent) -> None:
        """Settle an intent without hiding what happened in its context."""
        try:
            await self._settle(intent)
        except StoreUnavailableError:
            _log.warning("custody.intent_left", token=intent.token_serial, why="store_unavailable")

    async def _settle(self, intent: KeyIntent) -> bool:
        """Destroy the key of an intent that still stands; where that fails, the next start tries again."""
        if not await self._stands(intent):
            return False
        destroyed = 0
        try:
            destroyed = await self._tokens.destroy(intent.token_serial, kinds=_OF_A_KEY, key_id=intent.key_id)
        except TokenNotFoundError:
            _log.warning("custody.intent_without_token", token=intent.token_serial)
        except TokenError as error:
            _log.warning("custody.intent_left", token=intent.token_serial, why=error.code)
            return False
        async with self._store.transaction() as tx:
            await intent.fulfil(tx)
            if destroyed:
                subject, facts = f"token:{intent.token_serial}", {"key_id": intent.key_id.hex()}
                tx.journal("key.destroyed", subject, reason="its making or its end was cut short", **facts)
                tx.publish(EventType.KEY_DESTROYED, subject, **facts)
        return True

    async def _stands(self, intent: KeyIntent) -> bool:
        wanted = sa.select(key_intents.c.key_id).where(key_intents.c.key_id == intent.key_id.hex())
        async with self._store.read() as connection:
            return (await connection.execute(wanted)).first() is not None


async def _held_already(tx: Transaction, name: SpkiHash) -> KeyAlreadyHeldError:
    held = (await tx.execute(sa.select(key_registry).where(key_registry.c.spki_sha256 == name))).one()
    latest = (
        sa.select(certificates.c.serial)
        .where(certificates.c.spki_sha256 == name)
        .order_by(certificates.c.issued_at.desc())
        .limit(1)
    )
    certificate = (await tx.execute(latest)).scalar()
    since, french = held.claimed_at.date().isoformat(), _FRENCH[held.holder_kind]
    return KeyAlreadyHeldError(
        Text(
            f"This public key belongs to the {held.holder_kind} {held.holder} since {since}.",
            f"Cette clé publique appartient à {french} {held.holder} depuis le {since}.",
        ),
        advice=_way_out(held, certificate),
        conflict=_conflict(held, certificate),
    )


def _way_out(held: sa.Row[Any], certificate: str | None) -> Text | None:
    """Say how to go on with an order that still has its key to itself; None leaves the advice as it is."""
    if held.holder_kind != HolderKind.ORDER.value or certificate is not None:
        return None
    return Text(
        f"Go on with the order {held.holder}: retrieve it, or cancel it to free the key. Otherwise make a new key.",
        f"Poursuivez la commande {held.holder} : retirez-la, ou annulez-la pour libérer la clé. Sinon créez une "
        "nouvelle clé.",
    )


def _conflict(held: sa.Row[Any], certificate: str | None) -> dict[str, Any]:
    found = {"holder_kind": held.holder_kind, "holder": held.holder, "claimed_at": held.claimed_at}
    return found if certificate is None else {**found, "certificate": certificate}


_FRENCH = {
    HolderKind.ORDER.value: "la commande",
    HolderKind.CARD.value: "la carte",
    HolderKind.CA.value: "l’AC",
}
