"""Work that is cut short when its card goes away: the caller is told at once, and nothing is half done."""

import asyncio

import pytest

from cardd.cards.errors import CardRemovedError
from cardd.cards.types import CardSerial
from cardd.cards.uses import CardUses
from cardd.text import Text

CARD = CardSerial("00000017")


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


async def test_work_that_was_past_the_point_of_no_return_is_answered() -> None:
    uses, begun, committed = CardUses(), asyncio.Event(), asyncio.Event()

    async def work() -> str:
        begun.set()
        try:
            await committed.wait()
        except asyncio.CancelledError:
            return "done"
        return "in time"

    caller = asyncio.create_task(uses.while_present(CARD, work()))
    await begun.wait()
    uses.interrupt(CARD, _removed())
    assert await caller == "done"


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
