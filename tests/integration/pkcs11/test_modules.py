"""Several modules as one: each call goes to the module that holds its token."""

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from cardd_pkcs11.errors import TokenNotFoundError, TokenQuarantinedError
from cardd_pkcs11.modules import TokenModules
from cardd_pkcs11.pool import TokenHostPool
from cardd_pkcs11.types import KeyAlgorithm, SignMechanism
from tests.support.softhsm import (
    KEY_ID,
    SIGNING,
    USER_PIN,
    new_token,
    open_pool,
    softhsm_environment,
    softhsm_profile,
)

EC = KeyAlgorithm.EC_P256


@pytest.fixture
async def pools(tmp_path: Path) -> AsyncIterator[tuple[TokenHostPool, TokenHostPool]]:
    """Two modules of different names; both are SoftHSM, each with tokens of its own."""
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    second = TokenHostPool(
        msgspec.structs.replace(softhsm_profile(), name="second"), 1, softhsm_environment(tmp_path / "second")
    )
    async with open_pool(tmp_path / "first") as first:
        try:
            yield first, second
        finally:
            await second.close()


async def test_a_key_is_made_and_used_where_its_token_is(pools: tuple[TokenHostPool, TokenHostPool]) -> None:
    modules = TokenModules(pools)
    serials = [await new_token(pool) for pool in pools]
    assert [modules.profile_of(serial).name for serial in serials] == ["softhsm2", "second"]
    for serial in serials:
        modules.keep_open(serial, lambda: USER_PIN)
        spki = await modules.generate_key_pair(serial, KEY_ID, "key", EC, SIGNING)
        await modules.sign(serial, KEY_ID, SignMechanism.ECDSA_SHA256, b"data", spki=spki)
        assert modules.uses(serial) == 1
    assert {token.serial for token in await modules.list_tokens()} == set(serials)
    modules.close_off(serials[1])
    with pytest.raises(TokenQuarantinedError):
        await modules.list_objects(serials[1])
    await modules.list_objects(serials[0])


async def test_a_token_seen_by_nobody_yet_is_looked_for_in_every_module(
    pools: tuple[TokenHostPool, TokenHostPool], tmp_path: Path
) -> None:
    serial = await new_token(pools[1])
    async with open_pool(tmp_path / "second") as unseen:
        modules = TokenModules((pools[0], unseen))
        with pytest.raises(TokenNotFoundError):
            modules.profile_of(serial)
        assert await modules.list_objects(serial) == ()
        assert modules.profile_of(serial).name == "softhsm2"


async def test_a_module_that_does_not_answer_costs_its_own_tokens_only(
    pools: tuple[TokenHostPool, TokenHostPool], tmp_path: Path
) -> None:
    absent = msgspec.structs.replace(softhsm_profile(), name="absent", paths={})
    broken = TokenHostPool(absent, 1, softhsm_environment(tmp_path))
    serial = await new_token(pools[0])
    modules = TokenModules((pools[0], broken))
    await modules.start()
    assert [token.serial for token in await modules.list_tokens(refresh=True)] == [serial]
    assert modules.counters.running == 1
