"""Questions that are asked together."""

import asyncio
from collections.abc import Mapping

import pytest

from cardd.store.gathering import Gathered


class _Answers:
    """Answers with the key's length, but for the empty one; waits where it is told to, and notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[frozenset[str]] = []
        self.is_asked = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def __call__(self, keys: frozenset[str]) -> Mapping[str, int]:
        self.asked.append(keys)
        self.is_asked.set()
        await self.may_answer.wait()
        if "fail" in keys:
            raise ValueError("of the store")
        return {key: len(key) for key in keys if key}


async def test_what_comes_while_a_question_is_being_answered_is_asked_together_afterwards() -> None:
    answers = _Answers()
    answers.may_answer.clear()
    ask = Gathered(answers)
    first = asyncio.create_task(ask("a"))
    await answers.is_asked.wait()
    others = [asyncio.create_task(ask(key)) for key in ("a", "bb", "bb", "")]
    await asyncio.sleep(0)
    answers.may_answer.set()
    assert await asyncio.gather(first, *others) == [1, 1, 2, 2, None]
    assert answers.asked == [{"a"}, {"a", "bb", ""}], (
        "what was asked later is not answered from an earlier state"
    )


async def test_an_error_is_that_of_all_who_asked_and_of_nobody_after() -> None:
    ask = Gathered(_Answers())
    for each in await asyncio.gather(ask("fail"), ask("other"), return_exceptions=True):
        assert isinstance(each, ValueError)
    assert await ask("other") == 5


async def test_who_goes_away_costs_the_others_nothing() -> None:
    answers = _Answers()
    answers.may_answer.clear()
    ask = Gathered(answers)
    gone, other = asyncio.create_task(ask("a")), asyncio.create_task(ask("a"))
    await answers.is_asked.wait()
    gone.cancel()
    answers.may_answer.set()
    assert await other == 1
    with pytest.raises(asyncio.CancelledError):
        await gone
