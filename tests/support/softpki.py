"""The real PKI over a SoftHSM, opened on a state directory as the daemon opens it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

from cardd.clock import ManualClock
from cardd.custody.keys import KeyMaker
from cardd.custody.pins import PinVault
from cardd.custody.policy import CustodyLevel
from cardd.custody.registry import KeyIntents
from cardd.custody.tokens import TokenKeeper
from cardd.events import EventBus
from cardd.igc.lint import Linter
from cardd.igc.pki import Pki, PkiParts
from cardd.igc.policy import CaKeyAlgorithm, PkiPolicy
from cardd.store import Store
from tests.support.igc import policy_for_tests
from tests.support.softhsm import open_pool
from tests.support.stores import open_store

#: CA keys that are made and used quickly.
QUICK = policy_for_tests(ca_algorithm=CaKeyAlgorithm.EC_P256)


@asynccontextmanager
async def opened_pki(
    state: Path, clock: ManualClock, policy: PkiPolicy = QUICK, base_every: timedelta = timedelta(hours=24)
) -> AsyncIterator[tuple[Pki, Store]]:
    """Open the PKI of a state, made where there is none."""
    store, linter = await open_store(state, clock, EventBus()), Linter()
    async with open_pool(state, 2) as pool:
        keeper = TokenKeeper(store, pool, PinVault(state / "pins"))
        await keeper.reopen()
        pki = Pki(
            PkiParts(
                store=store,
                clock=clock,
                policy=policy,
                pool=pool,
                keeper=keeper,
                maker=KeyMaker(pool, CustodyLevel.SOFTWARE),
                intents=KeyIntents(store, pool),
                linter=linter,
                base_every=base_every,
            )
        )
        try:
            await pki.start(lambda *_: None)
            yield pki, store
        finally:
            await linter.close()
            await store.close()
