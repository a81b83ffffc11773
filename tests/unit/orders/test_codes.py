"""Revocation codes."""

import asyncio
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cardd.errors import InvalidFieldsError
from cardd.orders.codes import CODE_POLICY, check_code, code_matches, hash_code, spend_try
from cardd.orders.errors import RevocationCodeIncorrectError, RevocationCodeLockedError
from cardd.orders.forms import Problems
from tests.support.orders import CODE, QUICK, World


def faults(code: str, confirmation: str) -> set[str]:
    problems = Problems()
    check_code(code, confirmation, problems)
    try:
        problems.raise_any()
    except InvalidFieldsError as error:
        return {problem.field for problem in error.fields}
    return set()


@pytest.mark.parametrize("code", ["123456", "a" * 64, "é" * 64, "mot de passe"])
def test_a_code_of_6_to_64_characters_is_taken(code: str) -> None:
    assert faults(code, code) == set()


@pytest.mark.parametrize("code", ["", "12345", "a" * 65, "abc\x00def", "abc\ndef"])
def test_another_code_is_refused(code: str) -> None:
    assert faults(code, code) == {"revocation_code"}


def test_a_code_must_be_typed_twice_alike() -> None:
    assert faults("123456", "123457") == {"confirmation"}


@settings(max_examples=25)
@given(st.text(min_size=1, max_size=20), st.text(min_size=1, max_size=20))
async def test_only_the_code_itself_matches_its_hash(code: str, other: str) -> None:
    code_hash = await hash_code(code, QUICK)
    assert code not in code_hash or len(code) < 4
    assert await code_matches(code_hash, code)
    if other != code:
        assert not await code_matches(code_hash, other + "x" + code)


async def test_a_code_is_kept_as_argon2id_with_the_policy_s_cost() -> None:
    code_hash = await hash_code(CODE)
    assert code_hash.startswith(f"$argon2id$v=19$m={CODE_POLICY.memory_kib},t={CODE_POLICY.time_cost},p=4$")


async def test_a_letter_composed_otherwise_is_the_same_code() -> None:
    assert await code_matches(await hash_code("e\u0301te\u0301 2026", QUICK), "été 2026")


async def test_what_is_no_hash_matches_nothing() -> None:
    assert not await code_matches("not a hash", CODE)


async def test_wrong_codes_in_a_row_lock_the_code_for_a_while(world: World) -> None:
    serial = (await world.retrieve()).serial
    orders = world.parts.settings.orders
    for left in reversed(range(orders.code_tries)):
        with pytest.raises(RevocationCodeIncorrectError) as wrong:
            await spend_try(world.store, serial, "wrong code", orders)
        assert wrong.value.data == {"tries_left": left}
    with pytest.raises(RevocationCodeLockedError) as locked:
        await spend_try(world.store, serial, CODE, orders)
    assert locked.value.data == {"retry_after": orders.code_lock_minutes * 60}
    world.clock.advance(timedelta(minutes=orders.code_lock_minutes))
    await spend_try(world.store, serial, CODE, orders)


@pytest.mark.parametrize("days", [40, -40])
async def test_a_clock_that_is_set_never_makes_a_lock_longer(world: World, days: int) -> None:
    serial = (await world.retrieve()).serial
    orders = world.parts.settings.orders
    for _ in range(orders.code_tries):
        with pytest.raises(RevocationCodeIncorrectError):
            await spend_try(world.store, serial, "wrong code", orders)
    world.clock.set_by(timedelta(days=days))
    await spend_try(world.store, serial, CODE, orders)


async def test_the_last_try_may_be_right(world: World) -> None:
    serial = (await world.retrieve()).serial
    orders = world.parts.settings.orders
    for _ in range(orders.code_tries - 1):
        with pytest.raises(RevocationCodeIncorrectError):
            await spend_try(world.store, serial, "wrong code", orders)
    await spend_try(world.store, serial, CODE, orders)


async def test_many_wrong_codes_at_once_get_no_more_tries_than_one_by_one(world: World) -> None:
    serial = (await world.retrieve()).serial
    orders = world.parts.settings.orders
    tries = [spend_try(world.store, serial, f"wrong {number}", orders) for number in range(12)]
    outcomes = await asyncio.gather(*tries, return_exceptions=True)
    incorrect = [outcome for outcome in outcomes if isinstance(outcome, RevocationCodeIncorrectError)]
    locked = [outcome for outcome in outcomes if isinstance(outcome, RevocationCodeLockedError)]
    assert (len(incorrect), len(locked)) == (orders.code_tries, 12 - orders.code_tries)


async def test_a_code_is_never_in_the_journal_the_events_or_the_clear(world: World) -> None:
    serial = (await world.retrieve()).serial
    with pytest.raises(RevocationCodeIncorrectError) as wrong:
        await spend_try(world.store, serial, "wrong code 77", world.parts.settings.orders)
    kept = [
        repr(await world.store.journal()),
        repr(await world.store.events_after(0)),
        repr(wrong.value.data),
    ]
    assert not any(secret in text for text in kept for secret in (CODE, "wrong code 77"))
