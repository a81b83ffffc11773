"""The stock of ready keys kept full while nothing else is to be done, and emptied where it is not wanted any more.

What is kept ready are keys of the kinds that were ordered lately, as many of each as the settings say.
"""

from collections.abc import Callable

import sqlalchemy as sa

from cardd.custody.stock import KeyKind
from cardd.igc.profiles import PROFILES
from cardd.orders.disposal import UnwantedKey, announce, destroy
from cardd.orders.offers import profile_name
from cardd.orders.parts import OrderParts
from cardd.orders.types import Offer
from cardd.store.tables import orders, tokens
from cardd.vocabulary import Usage
from cardd_pkcs11.types import KeyAlgorithm, TokenSerial

#: Orders looked at for the kinds of keys that are wanted.
_LATELY = 200


class ReadyKeys:
    """Keeps the stock; `idle` tells whether the token hosts have nothing to do."""

    def __init__(self, parts: OrderParts, idle: Callable[[], bool]) -> None:
        self._parts = parts
        self._idle = idle

    async def keep(self) -> None:
        """Make what lacks, key by key and only while the hosts are idle; destroy what is too much.

        Raises:
            TokenFaultError, CustodyRefusedError: a key could not be made.
        """
        stock, wanted = self._parts.stock, self._parts.settings.tokens.ready_keys
        if not stock.asked:
            return
        stock.asked = False
        kinds = await self._kinds() if wanted else frozenset()
        ready = await stock.count()
        for kind, count in ready.items():
            surplus = count - (wanted if kind in kinds else 0)
            if surplus > 0:
                await self._discard(kind, surplus)
        for kind in sorted(kinds):
            for _ in range(wanted - ready.get(kind, 0)):
                if not self._idle():
                    stock.asked = True
                    return
                await stock.make(kind)

    async def _kinds(self) -> frozenset[KeyKind]:
        """Return the kinds of keys ordered lately, on tokens in use."""
        lately = (
            sa.select(orders.c.token_serial, orders.c.algorithm, orders.c.offer, orders.c.usage)
            .where(orders.c.token_serial.is_not(None))
            .order_by(orders.c.created_at.desc())
            .limit(_LATELY)
            .subquery()
        )
        in_use = sa.select(tokens.c.serial).where(
            tokens.c.retired_at.is_(None), tokens.c.machine == self._parts.store.machine
        )
        statement = sa.select(lately).distinct().where(lately.c.token_serial.in_(in_use))
        async with self._parts.store.read() as connection:
            rows = (await connection.execute(statement)).all()
        return frozenset(
            KeyKind(
                TokenSerial(row.token_serial),
                KeyAlgorithm(row.algorithm),
                PROFILES[profile_name(Offer(row.offer), Usage(row.usage))].key_use,
            )
            for row in rows
        )

    async def _discard(self, kind: KeyKind, surplus: int) -> None:
        """Take keys out of the stock and announce their destruction in one transaction, then destroy them."""
        async with self._parts.store.transaction() as tx:
            keys = [
                UnwantedKey(kind.token_serial, key_id, name)
                for key_id, name in await self._parts.stock.surplus(tx, kind, surplus)
            ]
            for key in keys:
                await announce(tx, key)
        for key in keys:
            await destroy(self._parts, key)
