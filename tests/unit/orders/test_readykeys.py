"""Keys made ready in idle time: taken by orders, whole or not at all, refilled, and destroyed when not wanted."""

import asyncio
from dataclasses import replace

import msgspec
import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from cardd.custody.stock import READY_LABEL
from cardd.orders.orders import Orders
from cardd.orders.readykeys import ReadyKeys
from cardd.orders.types import KeyRequest, OrderView
from cardd.store import RequestKey, current_request_key
from cardd.store.tables import blocked_keys, key_intents, key_registry, orders, ready_keys
from tests.support.orders import World, order_request


class Stocked:
    """A world whose settings want so many keys of each kind ready."""

    def __init__(self, world: World, wanted: int) -> None:
        tokens = msgspec.structs.replace(world.parts.settings.tokens, ready_keys=wanted)
        settings = msgspec.structs.replace(world.parts.settings, tokens=tokens)
        parts = replace(world.parts, settings=settings)
        self.world = world
        self.idle = True
        self.orders = Orders(parts)
        self.keeper = ReadyKeys(parts, lambda: self.idle)

    async def order(self) -> OrderView:
        """Place an order whose key is made on the token."""
        return await self.orders.create(order_request(), self.world.card)

    async def ready(self) -> list[str]:
        """Return the hashes of the keys that are ready."""
        return [row.spki_sha256 for row in await self.world.rows(ready_keys)]


async def stocked(world: World, wanted: int = 2) -> Stocked:
    """Return a world in which one order was placed and the stock filled since."""
    found = Stocked(world, wanted)
    await found.order()
    await found.keeper.keep()
    return found


async def test_keys_of_the_kinds_ordered_are_made_ready_and_announced_no_more(world: World) -> None:
    found = await stocked(world)
    assert len(await found.ready()) == 2
    assert await world.rows(key_intents) == []
    assert len(await world.rows(key_registry)) == 1
    assert len(world.tokens.keys) == 3
    lines = [line.action for line in await world.store.journal(limit=10)]
    assert lines.count("key.made_ready") == 2


async def test_an_order_takes_a_ready_key_and_is_like_any_other_order(world: World) -> None:
    found = await stocked(world)
    made, before = set(world.tokens.keys), await found.ready()
    view = await found.order()
    assert set(world.tokens.keys) == made
    assert view.public_key_sha256 in before
    assert view.public_key_sha256 not in await found.ready()
    assert view.pkcs11_uri is not None
    assert f"object={READY_LABEL.replace(' ', '%20')}" in view.pkcs11_uri
    certificate = await world.retrieve(view)
    assert certificate.pkcs11_uri == view.pkcs11_uri
    (claim,) = [row for row in await world.rows(key_registry) if row.holder == view.id]
    assert claim.spki_sha256 == view.public_key_sha256
    await found.keeper.keep()
    assert len(await found.ready()) == 2


async def test_of_two_orders_at_once_each_has_a_key_of_its_own(world: World) -> None:
    found = await stocked(world, wanted=1)
    first, second = await asyncio.gather(found.order(), found.order())
    assert first.public_key_sha256 != second.public_key_sha256
    assert await found.ready() == []


async def test_an_order_that_fails_leaves_the_key_ready(world: World) -> None:
    found = await stocked(world)
    before = await found.ready()
    request = RequestKey(caller="owner", key="once", request_sha256="00")
    token = current_request_key.set(request)
    try:
        await found.order()
        with pytest.raises(IntegrityError):
            await found.order()
    finally:
        current_request_key.reset(token)
    assert len(await found.ready()) == 1
    assert set(await found.ready()) < set(before)
    assert len(await world.rows(orders)) == 2


async def test_an_order_of_another_kind_has_its_key_made(world: World) -> None:
    found = await stocked(world)
    before = await found.ready()
    await found.orders.create(order_request(key=KeyRequest(algorithm="rsa_2048")), world.card)
    assert await found.ready() == before


async def test_a_ready_key_that_the_token_holds_no_more_or_that_was_blocked_is_not_taken(
    world: World,
) -> None:
    found = await stocked(world)
    first, second = await world.rows(ready_keys)
    template = world.tokens.templates[bytes.fromhex(first.key_id)]
    world.tokens.templates[bytes.fromhex(first.key_id)] = msgspec.structs.replace(template, decrypt=True)
    async with world.store.transaction() as tx:
        await tx.execute(
            sa.insert(blocked_keys).values(spki_sha256=second.spki_sha256, reason="leaked", blocked_at=tx.now)
        )
    view = await found.order()
    assert view.public_key_sha256 not in {first.spki_sha256, second.spki_sha256}


async def test_nothing_is_made_while_the_hosts_are_busy(world: World) -> None:
    found = Stocked(world, 2)
    await found.order()
    found.idle = False
    await found.keeper.keep()
    assert await found.ready() == []
    found.idle = True
    await found.keeper.keep()
    assert len(await found.ready()) == 2


async def test_what_is_not_wanted_any_more_is_destroyed(world: World) -> None:
    await stocked(world, wanted=3)
    fewer = Stocked(world, 1)
    world.parts.stock.asked = True
    await fewer.keeper.keep()
    assert (len(await fewer.ready()), len(world.tokens.keys)) == (1, 2)
    none = Stocked(world, 0)
    world.parts.stock.asked = True
    await none.keeper.keep()
    assert (await none.ready(), len(world.tokens.keys)) == ([], 1)
    assert await world.rows(key_intents) == []


async def test_what_could_not_be_destroyed_is_destroyed_at_the_next_start(world: World) -> None:
    await stocked(world)
    none = Stocked(world, 0)
    world.parts.stock.asked, world.tokens.broken = True, True
    await none.keeper.keep()
    assert await none.ready() == []
    assert len(await world.rows(key_intents)) == 2
    world.tokens.broken = False
    await world.parts.intents.recover()
    assert (await world.rows(key_intents), len(world.tokens.keys)) == ([], 1)
