"""Work that is cut short when its card goes away: the caller is told at once, and nothing is half done."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cardd.cards.errors import CardRemovedError
from cardd.cards.types import CardSerial
from cardd.cards.uses import CardUses
from cardd.clock import SystemClock
from cardd.events import EventBus
from cardd.store import Store
from cardd.text import Text
from tests.support.stores import open_store

CARD = CardSerial("00000017")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = await open_store(tmp_path, SystemClock(), EventBus())
    yield store
    await store.close()


def _removed() -> CardRemovedError:
    return CardRemovedError(Text("It was removed.", "Elle a été retirée."))


async def test_the_caller_is_told_before_slow_work_has_undone_what_it_began() -> None:
    uses, begun, undone = CardUses(), asyncio.Event(), asyncio.Event()
    may_undo = asyncio.Event()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await may_undo.wait()
            undone.set()

    caller = asyncio.create_task(uses.while_present(CARD, work()))
    await begun.wait()
    uses.interrupt(CARD, _removed())
    with pytest.raises(CardRemovedError):
        await caller
    assert not undone.is_set()
    may_undo.set()
    await uses.settle()
    assert undone.is_set()


async def test_work_whose_effect_is_being_committed_is_waited_for_and_answered(store: Store) -> None:
    uses, committed, may_go_on = CardUses(), asyncio.Event(), asyncio.Event()

    async def work() -> str:
        async with store.transaction() as tx:
            tx.journal("order.created", "order:1")
            await tx.answer("order", "1")
        committed.set()
        await may_go_on.wait()
        return "done"

    caller = asyncio.create_task(uses.while_present(CARD, work()))
    await committed.wait()
    uses.interrupt(CARD, _removed())
    may_go_on.set()
    assert await caller == "done"


async def test_work_that_has_only_prepared_something_is_cut_short(store: Store) -> None:
    uses, prepared = CardUses(), asyncio.Event()

    async def work() -> None:
        async with store.transaction() as tx:
            tx.journal("order.created", "order:1")
        prepared.set()
        await asyncio.Event().wait()

    caller = asyncio.create_task(uses.while_present(CARD, work()))
    await prepared.wait()
    uses.interrupt(CARD, _removed())
    with pytest.raises(CardRemovedError):
        await caller
    await uses.settle()


async def test_work_that_fails_at_its_commit_says_so_where_the_card_left_meanwhile(store: Store) -> None:
    uses = CardUses()

    async def work() -> None:
        async with store.transaction() as tx:
            await tx.answer("order", "1")
        uses.interrupt(CARD, _removed())
        await asyncio.sleep(0)
        raise ValueError("its own")

    with pytest.raises(ValueError, match="its own"):
        await uses.while_present(CARD, work())


async def test_work_s_own_error_is_its_caller_s() -> None:
    async def work() -> None:
        await asyncio.sleep(0)
        raise CardRemovedError(Text("Its own.", "La sienne."))

    with pytest.raises(CardRemovedError, match="Its own"):
        await CardUses().while_present(CARD, work())


async def test_a_caller_that_goes_away_takes_its_work_with_it() -> None:
    uses, begun, ended = CardUses(), asyncio.Event(), asyncio.Event()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    caller = asyncio.create_task(uses.while_present(CARD, work()))
    await begun.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert ended.is_set()
