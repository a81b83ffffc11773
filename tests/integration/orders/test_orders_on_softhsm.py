"""The technical phase over a real SoftHSM: keys made, used by others with their URI, destroyed, never left behind."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from cardd.clock import ManualClock
from cardd.errors import CarddError
from cardd.orders.types import KeyRequest, OrderView
from cardd.store.tables import key_intents, key_registry, orders
from cardd.vocabulary import Usage
from cardd_pkcs11.pool import TokenHostPool
from cardd_pkcs11.types import ObjectInfo, ObjectKind, TokenSerial
from tests.support.igc import PREPARED, TestPki, quick_pki
from tests.support.orders import World, open_world, order_request
from tests.support.softhsm import open_pool, require_tool, softhsm_environment, softhsm_profile

#: Each test runs on SQLite and on PostgreSQL.
pytestmark = pytest.mark.usefixtures("each_store")


@pytest.fixture(scope="module")
def pki() -> Iterator[TestPki]:
    with quick_pki() as made:
        yield made


@pytest.fixture
async def pool(tmp_path: Path) -> AsyncIterator[TokenHostPool]:
    async with open_pool(tmp_path, 2) as pool:
        yield pool


@pytest.fixture
async def world(tmp_path: Path, pki: TestPki, pool: TokenHostPool) -> AsyncIterator[World]:
    world = await open_world(tmp_path, ManualClock(PREPARED + timedelta(hours=1)), pki, pool)
    await world.authorise()
    yield world
    await world.store.close()


async def _objects(world: World, kind: ObjectKind) -> list[ObjectInfo]:
    (record,) = await world.parts.keeper.list()
    found = await world.parts.pool.list_objects(TokenSerial(record.serial))
    return [one for one in found if one.kind is kind]


async def test_a_retrieved_certificate_lies_beside_its_key_and_openssl_signs_with_the_uri(
    world: World, tmp_path: Path
) -> None:
    openssl = require_tool("openssl")
    order = await world.order(order_request(usage=Usage.SIGN, key=KeyRequest()))
    await world.parts.keeper.export_pin(order.token or "")
    view = await world.retrieve(order)
    (key,), (certificate,) = (
        await _objects(world, ObjectKind.PRIVATE_KEY),
        await _objects(world, ObjectKind.CERTIFICATE),
    )
    assert (key.label, certificate.label, certificate.certificate) == ("EMA", "EMA", view.certificate)
    assert key.key_id == certificate.key_id
    message, signature, configuration = (tmp_path / name for name in ("message", "signature", "openssl.cnf"))
    message.write_bytes(b"a message")
    configuration.write_text(
        "openssl_conf = conf\n[conf]\nengines = engines\n[engines]\npkcs11 = pkcs11\n"
        f"[pkcs11]\nengine_id = pkcs11\nMODULE_PATH = {softhsm_profile().locate()}\ninit = 0\n"
    )
    process = await asyncio.create_subprocess_exec(
        openssl, "dgst", "-sha256", "-engine", "pkcs11", "-keyform", "engine", "-sign", str(view.pkcs11_uri),
        "-out", str(signature), str(message),
        env={**os.environ, **softhsm_environment(tmp_path), "OPENSSL_CONF": str(configuration)},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    public_key = x509.load_der_x509_certificate(view.certificate).public_key()
    assert isinstance(public_key, rsa.RSAPublicKey)
    public_key.verify(signature.read_bytes(), b"a message", padding.PKCS1v15(), hashes.SHA256())


async def test_cancelled_and_expired_orders_leave_no_key_on_the_token(world: World) -> None:
    cancelled, expired = await world.order(), await world.order()
    assert len(await _objects(world, ObjectKind.PRIVATE_KEY)) == 2
    await world.orders.cancel(cancelled.id)
    world.clock.advance(expired.expires_at - world.clock.now())
    await world.orders.expire_due()
    assert await _objects(world, ObjectKind.PRIVATE_KEY) == []
    assert await _objects(world, ObjectKind.PUBLIC_KEY) == []


async def test_orders_placed_at_once_share_one_token_and_have_a_key_each(world: World) -> None:
    placed = await asyncio.gather(*(world.order(order_request(service=f"S{n}")) for n in range(8)))
    assert len({view.public_key_sha256 for view in placed}) == 8
    assert len({view.token for view in placed}) == 1
    assert len(await _objects(world, ObjectKind.PRIVATE_KEY)) == 8


async def test_cancelled_requests_leave_an_order_with_its_key_or_nothing(world: World) -> None:
    await world.order()
    for wait in range(12):
        task = asyncio.create_task(world.order())
        await asyncio.wait([task], timeout=wait / 100)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    kept = {row.key_id for row in await world.rows(orders)}
    keys = {(one.key_id or b"").hex() for one in await _objects(world, ObjectKind.PRIVATE_KEY)}
    assert keys == kept
    assert {row.key_id for row in await world.rows(key_registry)} == kept
    assert await world.rows(key_intents) == []


async def test_what_a_closed_pool_cut_short_is_cleared_at_the_next_start(
    world: World, tmp_path: Path, pki: TestPki
) -> None:
    kept = await world.order()
    tasks = [asyncio.create_task(world.order(order_request(key=KeyRequest()))) for _ in range(6)]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    pool = world.parts.pool
    assert isinstance(pool, TokenHostPool)
    await pool.close()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(outcome, OrderView | CarddError) for outcome in outcomes)
    async with open_pool(tmp_path) as reopened:
        again = await open_world(tmp_path, world.clock, pki, reopened)
        await again.parts.keeper.reopen()
        await again.parts.intents.recover()
        placed = {row.key_id for row in await again.rows(orders)}
        keys = {(one.key_id or b"").hex() for one in await _objects(again, ObjectKind.PRIVATE_KEY)}
        assert keys == placed
        assert await again.rows(key_intents) == []
        assert (await again.retrieve(kept)).order == kept.id
        await again.store.close()
