"""Hosts of one real SoftHSM store, and the turns that they take at the records of its tokens."""

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from cardd_pkcs11.client import TokenHost
from cardd_pkcs11.types import KeyAlgorithm, SignMechanism, TokenSerial
from tests.support.softhsm import (
    KEY_ID,
    SIGNING,
    SO_PIN,
    USER_PIN,
    softhsm_environment,
    softhsm_profile,
    until,
    waits_at_a_lock,
)


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[TokenHost]:
    host = TokenHost(softhsm_profile(), softhsm_environment(tmp_path))
    yield host
    await host.close()


@pytest.fixture
async def serial(host: TokenHost) -> TokenSerial:
    return (await host.init_token("turns", SO_PIN, USER_PIN)).serial


@pytest.fixture
def store(host: TokenHost, tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path / "softhsm", os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


async def test_a_login_waits_until_nobody_reads_a_record(
    host: TokenHost, serial: TokenSerial, store: int
) -> None:
    fcntl.flock(store, fcntl.LOCK_SH)
    login = asyncio.create_task(host.login(serial, USER_PIN))
    await until(lambda: waits_at_a_lock(host.pid))
    assert not login.done()
    fcntl.flock(store, fcntl.LOCK_UN)
    await login


async def test_a_token_is_initialised_when_nobody_reads_or_writes_a_record(
    host: TokenHost, serial: TokenSerial, store: int
) -> None:
    fcntl.flock(store, fcntl.LOCK_EX)
    making = asyncio.create_task(host.init_token("another", SO_PIN, USER_PIN))
    await until(lambda: waits_at_a_lock(host.pid))
    fcntl.flock(store, fcntl.LOCK_UN)
    assert (await making).serial != serial


async def test_tokens_are_read_beside_another_reader_and_after_a_writer(
    host: TokenHost, serial: TokenSerial, store: int
) -> None:
    fcntl.flock(store, fcntl.LOCK_SH)
    assert [token.serial for token in await host.list_tokens()] == [serial]
    fcntl.flock(store, fcntl.LOCK_EX)
    listing = asyncio.create_task(host.list_tokens())
    await until(lambda: waits_at_a_lock(host.pid))
    fcntl.flock(store, fcntl.LOCK_UN)
    assert [token.serial for token in await listing] == [serial]


async def test_keys_are_made_and_used_while_others_write_a_record(
    host: TokenHost, serial: TokenSerial, store: int
) -> None:
    await host.login(serial, USER_PIN)
    fcntl.flock(store, fcntl.LOCK_EX)
    spki = await host.generate_key_pair(serial, KEY_ID, "key", KeyAlgorithm.EC_P256, SIGNING)
    assert await host.sign(serial, KEY_ID, SignMechanism.ECDSA_SHA256, b"data", spki=spki)
