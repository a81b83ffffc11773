"""A daemon's custody alone, over a real module: tokens, keys, chains and sweep, from start to stop."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from cardd.clock import ManualClock
from cardd.custody.chain import TokenChains
from cardd.custody.errors import token_errors_translated
from cardd.custody.evidence import Evidence, open_instance_key
from cardd.custody.keys import KeyMaker, MadeKey
from cardd.custody.pins import PinVault
from cardd.custody.policy import KeyUse
from cardd.custody.registry import HolderKind, claim
from cardd.custody.seal import Sealer, SecretKeeper
from cardd.custody.sweep import Sweep, SweepParts
from cardd.custody.tokens import TokenKeeper, TokenRecord
from cardd.events import EventBus
from cardd.store import Store, tables
from cardd_pkcs11.pool import TokenHostPool
from cardd_pkcs11.types import KeyAlgorithm, KeyId, SignMechanism
from tests.support.igc import PREPARED
from tests.support.softhsm import open_pool
from tests.support.stores import open_store

STRUCTURE = "399999999800019"
SEALER = Sealer(b"s" * 32, b"machine", SecretKeeper.KEY_FILE)
EC = KeyAlgorithm.EC_P256

#: Opens the pool of a state's module.
PoolOpener = Callable[[Path], AbstractAsyncContextManager[TokenHostPool]]


@dataclass
class Instance:
    """One start of a daemon's custody."""

    state: Path
    store: Store
    pool: TokenHostPool
    vault: PinVault
    keeper: TokenKeeper
    chains: TokenChains
    maker: KeyMaker
    sweep: Sweep

    async def start(self) -> None:
        await self.keeper.reopen()
        await self.chains.start(await self.keeper.list())

    async def token(self) -> TokenRecord:
        return await self.keeper.for_structure(STRUCTURE)

    async def key(
        self, record: TokenRecord, number: int = 1, algorithm: KeyAlgorithm = EC, use: KeyUse = KeyUse.SIGN
    ) -> MadeKey:
        """Make a key and claim it for an order."""
        made = await self.maker.make(
            record.serial, KeyId(bytes([number]) * 16), f"key {number}", algorithm, use
        )
        async with self.store.transaction() as tx:
            await claim(
                tx, spki=made.spki, holder_kind=HolderKind.ORDER, holder=f"o{number}", token_serial=record.serial,
                key_id=made.key_id, level=made.level,
            )  # fmt: skip
        return made

    async def sign(self, made: MadeKey) -> bytes:
        with token_errors_translated():
            return await self.pool.sign(
                made.token_serial, made.key_id, SignMechanism.ECDSA_SHA256, b"data", spki=made.spki
            )

    async def events(self) -> list[str]:
        return [event.type.value for event in await self.store.events_after(0)]


@asynccontextmanager
async def started(
    state: Path, *, sealer: Sealer = SEALER, uses: int = 100, opened: PoolOpener = open_pool
) -> AsyncIterator[Instance]:
    """Run one daemon's custody on a state, from start to stop."""
    state.mkdir(exist_ok=True)
    clock = ManualClock(PREPARED)
    store = await open_store(state, clock, EventBus())
    try:
        async with opened(state) as pool:
            vault = PinVault(state / "pins", sealer)
            keeper, chains = TokenKeeper(store, pool, vault), TokenChains(store, pool, uses=uses)
            evidence = Evidence(
                store, clock, open_instance_key(state, sealer), sealer, lambda _: pool.profile.name
            )
            maker = KeyMaker(pool, pool.profile.custody, binds=vault.binds, witness=evidence.witness)
            sweep = Sweep(
                SweepParts(
                    store=store, clock=clock, pool=pool, keeper=keeper, chains=chains, evidence=evidence
                )
            )
            instance = Instance(state, store, pool, vault, keeper, chains, maker, sweep)
            async with store.transaction() as tx:
                known = await tx.execute(sa.select(tables.structures.c.id))
                if known.first() is None:
                    await tx.execute(
                        sa.insert(tables.structures).values(
                            id=STRUCTURE, kind="siret", number=STRUCTURE[1:], name="TEST", address="-",
                            postal_code="-", town="-", created_at=tx.now,
                        )
                    )  # fmt: skip
            await instance.start()
            yield instance
    finally:
        await store.close()
