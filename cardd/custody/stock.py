"""Keys made ready: made on a token in idle time, held by nobody yet, so that who needs one does not wait for it.

A ready key is made as every key is: announced first, read back, witnessed. It is ready from the transaction that takes
its announcement back, and is taken in the transaction that makes its holder, or stays. Before it is taken the token is
asked again whether it still holds it as demanded.
"""

from typing import Any, NamedTuple

import sqlalchemy as sa
import structlog

from cardd.custody.errors import CustodyRefusedError
from cardd.custody.keys import KeyMaker, MadeKey
from cardd.custody.policy import KeyUse
from cardd.custody.registry import KeyIntents, spki_hash
from cardd.store import Store, Transaction
from cardd.store.tables import blocked_keys, key_registry, ready_keys, tokens
from cardd_pkcs11.types import KeyAlgorithm, KeyId, Spki, TokenSerial

#: CKA_LABEL of a key whose holder is not known when it is made, and which cannot be changed afterwards.
READY_LABEL = "cardd ready"

#: Keys looked at for one that the token still holds as demanded.
_OFFERED = 4

_log = structlog.get_logger(__name__)


class KeyKind(NamedTuple):
    """What a ready key can be taken for."""

    token_serial: TokenSerial
    algorithm: KeyAlgorithm
    use: KeyUse


class KeyStock:
    """The ready keys of the daemon's tokens."""

    def __init__(self, store: Store, maker: KeyMaker, intents: KeyIntents) -> None:
        self._store = store
        self._maker = maker
        self._intents = intents
        #: Whether something was asked of the stock since it was last found full.
        self.asked = True

    async def count(self) -> dict[KeyKind, int]:
        """Return how many keys of each kind are ready on this machine's tokens."""
        table = ready_keys
        kind = (table.c.token_serial, table.c.algorithm, table.c.use)
        here = sa.select(tokens.c.serial).where(tokens.c.machine == self._store.machine)
        statement = (
            sa.select(*kind, sa.func.count().label("ready"))
            .where(table.c.token_serial.in_(here))
            .group_by(*kind)
        )
        async with self._store.read() as connection:
            rows = (await connection.execute(statement)).all()
        return {
            KeyKind(TokenSerial(row.token_serial), KeyAlgorithm(row.algorithm), KeyUse(row.use)): row.ready
            for row in rows
        }

    async def make(self, kind: KeyKind) -> None:
        """Make one key more ready; errors are those of `KeyMaker.make`."""
        async with self._intents.making(kind.token_serial) as intent:
            made = await self._maker.make(
                kind.token_serial, intent.key_id, READY_LABEL, kind.algorithm, kind.use
            )
            async with self._store.transaction() as tx:
                await intent.fulfil(tx)
                await tx.execute(
                    sa.insert(ready_keys).values(
                        key_id=made.key_id.hex(),
                        token_serial=kind.token_serial,
                        algorithm=kind.algorithm.value,
                        use=kind.use.value,
                        spki=made.spki,
                        spki_sha256=spki_hash(made.spki),
                        made_at=tx.now,
                    )
                )
                subject = f"key:{spki_hash(made.spki)}"
                tx.journal("key.made_ready", subject, token=kind.token_serial, algorithm=kind.algorithm.value)

    async def offer(self, kind: KeyKind) -> MadeKey | None:
        """Return a ready key, the token having said again what it is; None where there is none.

        It belongs to nobody before `take`. One that the token does not hold as demanded any more is left to the sweep,
        which reports it, and the next is looked at.

        Raises:
            TokenFaultError: the token cannot be asked.
        """
        self.asked = True
        async with self._store.read() as connection:
            rows = (await connection.execute(_free(kind))).all()
        for row in rows:
            key_id = KeyId(bytes.fromhex(row.key_id))
            try:
                return await self._maker.check(
                    kind.token_serial, key_id, Spki(row.spki), kind.algorithm, kind.use
                )
            except CustodyRefusedError as error:
                _log.error("custody.ready_key_refused", public_key=row.spki_sha256, why=error.code)
        return None

    async def take(self, tx: Transaction, key: MadeKey) -> bool:
        """Take a key out of the stock in the transaction that makes its holder; False where another one has it."""
        return await _removed(tx, key.key_id)

    async def surplus(self, tx: Transaction, kind: KeyKind, count: int) -> list[tuple[KeyId, str]]:
        """Take so many keys of a kind out of the stock, the oldest first; the caller disposes of them.

        Return each with the hash of its public half.
        """
        oldest = _of(kind).order_by(ready_keys.c.made_at).limit(count)
        rows = (await tx.execute(oldest)).all()
        keys = [(KeyId(bytes.fromhex(row.key_id)), row.spki_sha256) for row in rows]
        return [(key_id, name) for key_id, name in keys if await _removed(tx, key_id)]


async def _removed(tx: Transaction, key_id: KeyId) -> bool:
    deleted = await tx.execute(sa.delete(ready_keys).where(ready_keys.c.key_id == key_id.hex()))
    return deleted.rowcount == 1


def _of(kind: KeyKind) -> sa.Select[Any]:
    table = ready_keys
    return sa.select(table).where(
        table.c.token_serial == kind.token_serial,
        table.c.algorithm == kind.algorithm.value,
        table.c.use == kind.use.value,
    )


def _free(kind: KeyKind) -> sa.Select[Any]:
    """Select the newest keys of a kind, but for those that were blocked or claimed by their public half meanwhile."""
    name = ready_keys.c.spki_sha256
    return (
        _of(kind)
        .where(
            name.not_in(sa.select(blocked_keys.c.spki_sha256)),
            name.not_in(sa.select(key_registry.c.spki_sha256)),
        )
        .order_by(ready_keys.c.made_at.desc())
        .limit(_OFFERED)
    )
