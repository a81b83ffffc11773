"""Keys made on a real token with their evidence, and what becomes of those that fall short."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest

from cardd.custody.errors import CustodyRefusedError, TokenFaultError, TokenHostUnavailableFaultError
from cardd.custody.keys import KeyMaker
from cardd.custody.policy import KeyUse, check_attributes, policy_for
from cardd_pkcs11 import protocol
from cardd_pkcs11.errors import HostLostError
from cardd_pkcs11.operations import TokenOperations
from cardd_pkcs11.pool import TokenHostPool
from cardd_pkcs11.types import CustodyLevel, KeyAlgorithm, KeyAttributes, KeyId, SignMechanism, TokenSerial
from tests.support.softhsm import KEY_ID, USER_PIN, new_token, open_pool, until

T = TypeVar("T")


@pytest.fixture
async def pool(tmp_path: Path) -> AsyncIterator[TokenHostPool]:
    async with open_pool(tmp_path) as pool:
        yield pool


@pytest.fixture
async def serial(pool: TokenHostPool) -> TokenSerial:
    serial = await new_token(pool)
    pool.keep_open(serial, lambda: USER_PIN)
    return serial


class _Meddling(TokenOperations):
    """A token that lies about its keys' attributes, or loses its host after making one."""

    def __init__(self, real: TokenOperations, *, lose: bool = False, **lies: bool | None) -> None:
        self._real = real
        self._lose = lose
        self._lies = lies

    async def call(self, call: protocol.Call[T], *, deadline: float | None = None) -> T:
        value = await self._real.call(call, deadline=deadline)
        if self._lose and isinstance(call, protocol.GenerateKeyPair):
            raise HostLostError("lost")
        if isinstance(value, KeyAttributes):
            return msgspec.structs.replace(value, **self._lies)
        return value


@pytest.mark.parametrize("use", KeyUse)
async def test_a_made_key_carries_its_evidence(pool: TokenHostPool, serial: TokenSerial, use: KeyUse) -> None:
    made = await KeyMaker(pool, CustodyLevel.SOFTWARE).make(serial, KEY_ID, "k", KeyAlgorithm.RSA_2048, use)
    assert (made.key_id, made.token_serial, made.level) == (KEY_ID, serial, CustodyLevel.SOFTWARE)
    assert check_attributes(made.attributes, policy_for(use)) == []
    assert await pool.public_key(serial, KEY_ID) == made.spki


async def test_a_made_ec_key_signs(pool: TokenHostPool, serial: TokenSerial) -> None:
    maker = KeyMaker(pool, CustodyLevel.SOFTWARE)
    made = await maker.make(serial, KEY_ID, "k", KeyAlgorithm.EC_P256, KeyUse.SIGN)
    await pool.sign(serial, KEY_ID, SignMechanism.ECDSA_SHA256, b"x", spki=made.spki)
    await maker.destroy(serial, KEY_ID)
    assert await pool.list_objects(serial) == ()


async def test_an_elliptic_curve_key_is_not_made_to_decrypt(pool: TokenHostPool, serial: TokenSerial) -> None:
    with pytest.raises(CustodyRefusedError):
        await KeyMaker(pool, CustodyLevel.SOFTWARE).make(
            serial, KEY_ID, "k", KeyAlgorithm.EC_P256, KeyUse.DECRYPT
        )


@pytest.mark.parametrize("lie", [{"copyable": True}, {"extractable": True}, {"local": None}])
async def test_a_weaker_key_is_destroyed_and_its_attribute_named(
    pool: TokenHostPool, serial: TokenSerial, lie: dict[str, bool | None]
) -> None:
    maker = KeyMaker(_Meddling(pool, lose=False, **lie), CustodyLevel.SOFTWARE)
    with pytest.raises(CustodyRefusedError) as caught:
        await maker.make(serial, KEY_ID, "k", KeyAlgorithm.EC_P256, KeyUse.SIGN)
    assert caught.value.data["attributes"] == list(lie)
    assert await pool.list_objects(serial) == ()


async def test_a_key_whose_host_was_lost_is_destroyed(pool: TokenHostPool, serial: TokenSerial) -> None:
    with pytest.raises(TokenHostUnavailableFaultError):
        await KeyMaker(_Meddling(pool, lose=True), CustodyLevel.SOFTWARE).make(
            serial, KEY_ID, "k", KeyAlgorithm.EC_P256, KeyUse.SIGN
        )
    assert await pool.list_objects(serial) == ()


async def test_an_identifier_in_use_leaves_the_existing_key_alone(
    pool: TokenHostPool, serial: TokenSerial
) -> None:
    maker = KeyMaker(pool, CustodyLevel.SOFTWARE)
    made = await maker.make(serial, KEY_ID, "k", KeyAlgorithm.EC_P256, KeyUse.SIGN)
    with pytest.raises(TokenFaultError, match="exists already"):
        await maker.make(serial, KEY_ID, "k", KeyAlgorithm.EC_P256, KeyUse.SIGN)
    assert await pool.public_key(serial, KEY_ID) == made.spki


async def test_a_cancelled_order_leaves_no_key_behind(pool: TokenHostPool, serial: TokenSerial) -> None:
    maker = KeyMaker(pool, CustodyLevel.SOFTWARE)
    calls = pool.counters.calls
    making = asyncio.create_task(maker.make(serial, KEY_ID, "k", KeyAlgorithm.RSA_2048, KeyUse.SIGN))
    await until(lambda: pool.counters.calls > calls)
    making.cancel()
    with pytest.raises(asyncio.CancelledError):
        await making
    assert await pool.list_objects(serial) == ()


async def test_an_identifier_has_16_bytes(pool: TokenHostPool, serial: TokenSerial) -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        await KeyMaker(pool, CustodyLevel.SOFTWARE).make(
            serial, KeyId(b"short"), "k", KeyAlgorithm.EC_P256, KeyUse.SIGN
        )
