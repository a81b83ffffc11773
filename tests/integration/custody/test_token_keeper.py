"""The daemon's own tokens on a real SoftHSM: made once, found again, never doubled by a crash."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cardd.clock import ManualClock
from cardd.custody.pins import PinVault, make_token
from cardd.custody.tokens import TokenKeeper, TokenOrphanedError, TokenPurpose
from cardd.events import EventBus
from cardd_pkcs11.pool import TokenHostPool
from cardd_pkcs11.types import CustodyLevel, KeyAlgorithm
from tests.support.igc import PREPARED
from tests.support.softhsm import KEY_ID, SIGNING, new_token, open_pool
from tests.support.stores import open_store

#: Each test runs on SQLite and on PostgreSQL.
pytestmark = pytest.mark.usefixtures("each_store")

LABEL = "cardd PKI"


@asynccontextmanager
async def _keeper(state: Path) -> AsyncIterator[tuple[TokenKeeper, TokenHostPool]]:
    store = await open_store(state, ManualClock(PREPARED), EventBus())
    async with open_pool(state) as pool:
        yield TokenKeeper(store, pool, PinVault(state / "pins")), pool
    await store.close()


async def test_a_token_is_made_once_and_kept_open_across_starts(tmp_path: Path) -> None:
    async with _keeper(tmp_path) as (keeper, pool):
        made = await asyncio.gather(*(keeper.ensure(LABEL, purpose=TokenPurpose.PKI) for _ in range(3)))
        assert len(set(made)) == 1
        await pool.generate_key_pair(made[0], KEY_ID, "key", KeyAlgorithm.EC_P256, SIGNING)
    async with _keeper(tmp_path) as (keeper, pool):
        await keeper.reopen()
        assert await keeper.ensure(LABEL, purpose=TokenPurpose.PKI) == made[0]
        assert (await pool.key_attributes(made[0], KEY_ID)).sensitive
        (record,) = await keeper.list()
        assert (record.label, record.level, record.module) == (LABEL, CustodyLevel.MACHINE_BOUND, "softhsm2")


async def test_a_token_finished_without_its_row_is_adopted(tmp_path: Path) -> None:
    async with open_pool(tmp_path) as pool:
        left = await make_token(pool, PinVault(tmp_path / "pins"), LABEL)
    async with _keeper(tmp_path) as (keeper, pool):
        assert await keeper.ensure(LABEL, purpose=TokenPurpose.PKI) == left
        assert len(await pool.list_tokens()) == 1


async def test_a_token_initialised_before_its_pins_were_assigned_is_finished(tmp_path: Path) -> None:
    vault = PinVault(tmp_path / "pins")
    pins = vault.create(LABEL)
    async with open_pool(tmp_path) as pool:
        left = (await pool.init_token(LABEL, pins.security_officer, pins.user)).serial
    async with _keeper(tmp_path) as (keeper, pool):
        assert await keeper.ensure(LABEL, purpose=TokenPurpose.PKI) == left
        await pool.generate_key_pair(left, KEY_ID, "key", KeyAlgorithm.EC_P256, SIGNING)


async def test_a_token_of_our_label_without_its_pin_is_reported_and_not_doubled(tmp_path: Path) -> None:
    async with _keeper(tmp_path) as (keeper, pool):
        await new_token(pool, LABEL)
        with pytest.raises(TokenOrphanedError):
            await keeper.ensure(LABEL, purpose=TokenPurpose.PKI)
        assert len(await pool.list_tokens()) == 1
