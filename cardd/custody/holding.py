"""The tokens of one owner, with what makes, opens and compares them."""

from dataclasses import dataclass
from pathlib import Path

from cardd.custody.chain import TokenChains
from cardd.custody.errors import token_errors_translated
from cardd.custody.evidence import Evidence
from cardd.custody.keys import KeyMaker
from cardd.custody.media import Media
from cardd.custody.pins import PinVault
from cardd.custody.registry import KeyIntents
from cardd.custody.seal import Sealer
from cardd.custody.tokens import TokenKeeper
from cardd.store import Store
from cardd_pkcs11.operations import TokenPool


@dataclass(frozen=True, kw_only=True)
class Holding:
    """Tokens of this machine, or of several that share a directory."""

    media: Media
    pool: TokenPool
    vault: PinVault
    keeper: TokenKeeper
    intents: KeyIntents
    chains: TokenChains
    maker: KeyMaker

    async def open(self, *, leap: int = 0) -> None:
        """Start the token hosts, and take up what the last run left; `leap` is that of `TokenChains.start`."""
        with token_errors_translated():
            await self.pool.start()
        await self.keeper.reopen()
        await self.chains.start(await self.keeper.list(), leap=leap)
        if leap:
            await self.keeper.reassess()
        await self.intents.recover()

    async def compare(self) -> None:
        """Compare the tokens with the registry; one that another machine has put into quarantine is closed off."""
        for record in await self.keeper.list():
            await self.chains.check(record)


def make_holding(
    store: Store,
    media: Media,
    directory: Path,
    sealer: Sealer,
    evidence: Evidence,
    *,
    owner: str | None = None,
) -> Holding:
    """Make what works on the tokens of a directory, of this machine where no owner is named; nothing is started."""
    pool, vault = media.all, PinVault(directory / "pins", sealer)
    return Holding(
        media=media,
        pool=pool,
        vault=vault,
        keeper=TokenKeeper(store, pool, vault, structures=media.structures, owner=owner),
        intents=KeyIntents(store, pool, owner=owner),
        chains=TokenChains(store, pool),
        maker=KeyMaker(
            pool, lambda serial: pool.profile_of(serial).custody, binds=vault.binds, witness=evidence.witness
        ),
    )
