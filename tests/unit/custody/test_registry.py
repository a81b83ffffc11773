"""One key, one holder; and no key without one."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from cardd.clock import ManualClock
from cardd.custody.registry import (
    HolderKind,
    KeyAlreadyHeldError,
    KeyBlockedError,
    KeyIntents,
    block,
    claim,
    release,
    spki_hash,
)
from cardd.events import EventBus, EventType
from cardd.store import Store, tables
from cardd_pkcs11 import protocol
from cardd_pkcs11.errors import HostLostError
from cardd_pkcs11.types import KeyAlgorithm, KeyId, KeyTemplate, Secret, TokenSerial
from tests.support.cards import MemoryTokens
from tests.support.igc import PREPARED
from tests.support.stores import open_store

#: Each test runs on SQLite and on PostgreSQL.
pytestmark = pytest.mark.usefixtures("each_store")

SPKI = b"a public key"
TEMPLATE = KeyTemplate(sign=True, decrypt=False)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = await open_store(tmp_path, ManualClock(PREPARED), EventBus())
    yield store
    await store.close()


@pytest.fixture
async def tokens() -> MemoryTokens:
    tokens = MemoryTokens()
    token = await tokens.init_token("structure", Secret("so"), Secret("user"))
    await tokens.login(token.serial, Secret("user"))
    return tokens


async def _claim(store: Store, holder: str) -> str:
    async with store.transaction() as tx:
        return await claim(
            tx,
            spki=SPKI,
            holder_kind=HolderKind.ORDER,
            holder=holder,
            token_serial=None,
            key_id=None,
            level="external",
        )


async def _count(store: Store, table: sa.Table) -> int:
    async with store.read() as connection:
        return (await connection.execute(sa.select(sa.func.count()).select_from(table))).scalar_one()


def _only(tokens: MemoryTokens) -> TokenSerial:
    (serial,) = tokens.tokens
    return serial


async def test_a_second_claim_names_the_holder_of_the_first(store: Store) -> None:
    assert await _claim(store, "first") == spki_hash(SPKI)
    with pytest.raises(KeyAlreadyHeldError) as refused:
        await _claim(store, "second")
    assert refused.value.status == 409
    assert refused.value.data == {
        "conflict": {"holder_kind": "order", "holder": "first", "claimed_at": PREPARED}
    }


async def test_a_claim_by_an_order_names_the_way_out(store: Store) -> None:
    await _claim(store, "first")
    with pytest.raises(KeyAlreadyHeldError) as refused:
        await _claim(store, "second")
    assert "cancel it to free the key" in refused.value.advice.en
    assert "annulez-la pour libérer la clé" in refused.value.advice.fr


async def test_the_same_key_on_another_token_or_card_or_machine_is_refused(
    store: Store, tmp_path: Path
) -> None:
    """Another machine is another daemon's store over the same database."""
    await _claim(store, "first")
    elsewhere = await open_store(tmp_path, ManualClock(PREPARED), EventBus())
    places = (
        (store, HolderKind.ORDER, "token-2"),
        (store, HolderKind.CARD, "card"),
        (elsewhere, HolderKind.CA, "x"),
    )
    for held_by, kind, token in places:
        async with held_by.transaction() as tx:
            with pytest.raises(KeyAlreadyHeldError) as refused:
                await claim(
                    tx, spki=SPKI, holder_kind=kind, holder="other", token_serial=TokenSerial(token),
                    key_id=KeyId(bytes(16)), level="software",
                )  # fmt: skip
        assert refused.value.data["conflict"]["holder"] == "first"
    await elsewhere.close()


async def test_a_blocked_key_is_claimed_by_nobody_and_stays_blocked(store: Store) -> None:
    name = spki_hash(SPKI)
    async with store.transaction() as tx:
        assert await block(tx, name, "leaked")
        assert not await block(tx, name, "again")
    with pytest.raises(KeyBlockedError, match="leaked") as refused:
        await _claim(store, "first")
    assert refused.value.data == {"public_key_sha256": name, "blocked_at": PREPARED}


async def test_of_many_claims_at_once_one_wins(store: Store) -> None:
    outcomes = await asyncio.gather(*(_claim(store, f"{n}") for n in range(20)), return_exceptions=True)
    assert sum(isinstance(outcome, str) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, KeyAlreadyHeldError) for outcome in outcomes) == 19


async def test_a_refused_claim_leaves_the_transaction_usable(store: Store) -> None:
    await _claim(store, "first")
    async with store.transaction() as tx:
        with pytest.raises(KeyAlreadyHeldError):
            await claim(
                tx,
                spki=SPKI,
                holder_kind=HolderKind.CARD,
                holder="x",
                token_serial=None,
                key_id=None,
                level="software",
            )
        await tx.execute(sa.insert(tables.instance).values(name="later", value=1))
    assert await _count(store, tables.instance) == 1


async def test_a_released_key_can_be_claimed_again(store: Store) -> None:
    name = await _claim(store, "first")
    async with store.transaction() as tx:
        assert await release(tx, name)
        assert not await release(tx, name)
    assert await _claim(store, "second") == name


async def test_a_fulfilled_intent_keeps_its_key(store: Store, tokens: MemoryTokens) -> None:
    serial = _only(tokens)
    async with KeyIntents(store, tokens).making(serial) as intent:
        assert len(intent.key_id) == 16
        assert await _count(store, tables.key_intents) == 1
        await tokens.generate_key_pair(serial, intent.key_id, "k", KeyAlgorithm.RSA_2048, TEMPLATE)
        async with store.transaction() as tx:
            await intent.fulfil(tx)
    assert len(tokens.tokens[serial].objects) == 2
    assert await _count(store, tables.key_intents) == 0


@pytest.mark.parametrize("failure", [None, RuntimeError("later"), asyncio.CancelledError()])
async def test_an_intent_left_unfulfilled_destroys_its_key(
    store: Store, tokens: MemoryTokens, failure: BaseException | None
) -> None:
    serial = _only(tokens)

    async def make() -> None:
        async with KeyIntents(store, tokens).making(serial) as intent:
            await tokens.generate_key_pair(serial, intent.key_id, "k", KeyAlgorithm.RSA_2048, TEMPLATE)
            if failure is not None:
                raise failure

    outcome = (await asyncio.gather(make(), return_exceptions=True))[0]
    assert type(outcome) is type(failure)
    assert tokens.tokens[serial].objects == []
    assert await _count(store, tables.key_intents) == 0


async def test_a_transaction_that_fails_after_fulfilling_destroys_the_key(
    store: Store, tokens: MemoryTokens
) -> None:
    serial = _only(tokens)
    with pytest.raises(RuntimeError):
        async with KeyIntents(store, tokens).making(serial) as intent:
            await tokens.generate_key_pair(serial, intent.key_id, "k", KeyAlgorithm.RSA_2048, TEMPLATE)
            async with store.transaction() as tx:
                await intent.fulfil(tx)
                raise RuntimeError("rolled back")
    assert tokens.tokens[serial].objects == []


async def test_a_key_that_cannot_be_destroyed_now_is_destroyed_at_the_next_start(
    store: Store, tokens: MemoryTokens
) -> None:
    serial, intents = _only(tokens), KeyIntents(store, tokens)

    async def die(call: protocol.Call[Any]) -> None:
        if isinstance(call, protocol.Destroy):
            raise HostLostError("killed")

    tokens.before = die
    async with intents.making(serial) as intent:
        await tokens.generate_key_pair(serial, intent.key_id, "k", KeyAlgorithm.RSA_2048, TEMPLATE)
    assert len(tokens.tokens[serial].objects) == 2
    assert await intents.recover() == 0
    tokens.before = None
    assert await intents.recover() == 1
    assert tokens.tokens[serial].objects == []
    (line,) = [line for line in await store.journal() if line.action == "key.destroyed"]
    assert (line.subject, line.details["key_id"]) == (f"token:{serial}", intent.key_id.hex())
    assert [event.type for event in await store.events_after(0)] == [EventType.KEY_DESTROYED]


async def test_an_intent_whose_token_is_gone_is_settled(store: Store, tokens: MemoryTokens) -> None:
    intents = KeyIntents(store, tokens)
    async with store.transaction() as tx:
        row = {"key_id": "00" * 16, "token_serial": "gone", "created_at": PREPARED}
        await tx.execute(sa.insert(tables.key_intents).values(row))
    assert await intents.recover() == 1
    assert await _count(store, tables.key_intents) == 0
