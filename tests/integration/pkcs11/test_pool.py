"""Several hosts over one SoftHSM: where calls go, and what a loss costs."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from cardd_pkcs11.client import TokenHost
from cardd_pkcs11.errors import (
    DeadlineExceededError,
    HostLostError,
    NotLoggedInError,
    ObjectNotFoundError,
    PinIncorrectError,
    TokenNotFoundError,
)
from cardd_pkcs11.pool import TokenHostPool
from cardd_pkcs11.types import KeyAlgorithm, ObjectKind, Secret, SignMechanism, Spki, TokenSerial
from tests.support.softhsm import KEY_ID, SIGNING, USER_PIN, new_token, open_pool, until

ECDSA = SignMechanism.ECDSA_SHA256
KEYS = frozenset({ObjectKind.PRIVATE_KEY, ObjectKind.PUBLIC_KEY})


async def _kept_open_key(pool: TokenHostPool) -> tuple[TokenSerial, Spki]:
    serial = await new_token(pool)
    pool.keep_open(serial, lambda: USER_PIN)
    return serial, await pool.generate_key_pair(serial, KEY_ID, "k", KeyAlgorithm.EC_P256, SIGNING)


def _kill(host: TokenHost) -> None:
    assert host.pid is not None
    os.kill(host.pid, signal.SIGKILL)


async def _until_dead(host: TokenHost) -> None:
    await until(lambda: not host.running)


async def test_two_hundred_signatures_at_once_use_every_host(tmp_path: Path) -> None:
    async with open_pool(tmp_path, 2) as pool:
        serial, spki = await _kept_open_key(pool)
        data = [b"message %d" % number for number in range(200)]
        signatures = await asyncio.gather(
            *(pool.sign(serial, KEY_ID, ECDSA, message, spki=spki) for message in data)
        )
        assert len(set(signatures)) == 200
        assert all(host.counters.calls > 50 for host in pool.hosts)
        assert pool.counters.restarts == 0
        assert pool.counters.busy == 0


async def test_a_token_kept_open_survives_the_loss_of_its_hosts(tmp_path: Path) -> None:
    async with open_pool(tmp_path, 2) as pool:
        serial, spki = await _kept_open_key(pool)
        await pool.start()
        for host in pool.hosts:
            _kill(host)
            await _until_dead(host)
        await pool.sign(serial, KEY_ID, ECDSA, b"x", spki=spki)
        assert pool.counters.restarts >= 1


async def test_killing_hosts_under_load_costs_only_the_calls_they_carried(tmp_path: Path) -> None:
    async with open_pool(tmp_path, 2) as pool:
        serial, spki = await _kept_open_key(pool)
        await pool.start()
        calls = [asyncio.create_task(pool.sign(serial, KEY_ID, ECDSA, b"x", spki=spki)) for _ in range(100)]
        await until(lambda: pool.hosts[0].counters.calls >= 10)
        _kill(pool.hosts[0])
        results = await asyncio.gather(*calls, return_exceptions=True)
        failures = [result for result in results if isinstance(result, BaseException)]
        assert all(isinstance(failure, HostLostError) for failure in failures)
        assert len(failures) <= 1


async def _two_at_a_stopped_host(
    pool: TokenHostPool, *, deadlines: tuple[float, float] | tuple[None, None] = (None, None)
) -> tuple[asyncio.Task[bytes], asyncio.Task[bytes]]:
    """Have two signatures made by a host that is held: it is at the first, and was sent the second ahead."""
    serial, spki = await _kept_open_key(pool)
    host, before = pool.hosts[0], pool.counters.calls
    assert host.pid is not None
    os.kill(host.pid, signal.SIGSTOP)

    def begun(deadline: float | None) -> asyncio.Task[bytes]:
        return asyncio.create_task(pool.sign(serial, KEY_ID, ECDSA, b"x", spki=spki, deadline=deadline))

    first, second = begun(deadlines[0]), begun(deadlines[1])
    await until(lambda: pool.counters.calls == before + 2)
    return first, second


async def test_a_host_that_is_killed_loses_the_signature_it_was_at_and_not_the_one_behind(
    tmp_path: Path,
) -> None:
    async with open_pool(tmp_path) as pool:
        at_work, behind = await _two_at_a_stopped_host(pool)
        _kill(pool.hosts[0])
        with pytest.raises(HostLostError):
            await at_work
        assert await behind
        assert (pool.counters.restarts, pool.counters.busy) == (1, 0)


async def test_a_signature_behind_one_that_hangs_has_its_own_deadline_once_its_turn_has_come(
    tmp_path: Path,
) -> None:
    async with open_pool(tmp_path) as pool:
        hung, behind = await _two_at_a_stopped_host(pool, deadlines=(0.6, 0.5))
        with pytest.raises(DeadlineExceededError):
            await hung
        assert await behind
        assert pool.counters.restarts == 1


async def test_a_signature_behind_one_that_hangs_is_not_made_where_nobody_waits_for_it(
    tmp_path: Path,
) -> None:
    async with open_pool(tmp_path) as pool:
        hung, behind = await _two_at_a_stopped_host(pool, deadlines=(0.1, 10))
        behind.cancel()
        with pytest.raises(DeadlineExceededError):
            await hung
        await until(lambda: pool.counters.busy == 0)
        assert not pool.hosts[0].running
        await pool.list_tokens()
        assert pool.counters.restarts == 1


async def _card_key(pool: TokenHostPool) -> tuple[TokenSerial, Spki]:
    """Make a token with a key, as a card has, that is logged in with a PIN that nobody keeps."""
    serial = await new_token(pool)
    await pool.start()
    await pool.login(serial, USER_PIN)
    return serial, await pool.generate_key_pair(serial, KEY_ID, "k", KeyAlgorithm.EC_P256, SIGNING)


async def test_a_login_signs_on_every_host_at_once(tmp_path: Path) -> None:
    async with open_pool(tmp_path, 2) as pool:
        serial, spki = await _card_key(pool)
        await pool.login(serial, USER_PIN)
        before = [host.counters.calls for host in pool.hosts]
        await asyncio.gather(*(pool.sign(serial, KEY_ID, ECDSA, b"x", spki=spki) for _ in range(100)))
        made = [host.counters.calls - earlier for host, earlier in zip(pool.hosts, before, strict=True)]
        assert min(made) > 20


async def test_a_logout_a_wrong_pin_and_a_change_of_pin_leave_no_host_logged_in_behind(
    tmp_path: Path,
) -> None:
    async with open_pool(tmp_path, 2) as pool:
        serial, spki = await _card_key(pool)

        async def signed_by(host: TokenHost) -> None:
            await host.sign(serial, KEY_ID, ECDSA, b"x", spki=spki)

        await pool.login(serial, USER_PIN)
        for host in pool.hosts:
            await signed_by(host)
        with pytest.raises(PinIncorrectError):
            await pool.login(serial, Secret("9999"))
        for host in pool.hosts:
            with pytest.raises(NotLoggedInError):
                await signed_by(host)
        await pool.login(serial, USER_PIN)
        await pool.change_pin(serial, USER_PIN, USER_PIN)
        with pytest.raises(NotLoggedInError):
            await signed_by(pool.hosts[1])
        await pool.login(serial, USER_PIN)
        await pool.logout(serial)
        for host in pool.hosts:
            with pytest.raises(NotLoggedInError):
                await signed_by(host)


async def test_a_helper_that_lost_its_login_is_done_without(tmp_path: Path) -> None:
    async with open_pool(tmp_path, 2) as pool:
        serial, spki = await _card_key(pool)
        await pool.login(serial, USER_PIN)
        await pool.hosts[1].logout(serial)
        await asyncio.gather(*(pool.sign(serial, KEY_ID, ECDSA, b"x", spki=spki) for _ in range(20)))
        before = pool.hosts[1].counters.calls
        await asyncio.gather(*(pool.sign(serial, KEY_ID, ECDSA, b"x", spki=spki) for _ in range(20)))
        assert pool.hosts[1].counters.calls == before


async def test_an_interactive_login_has_one_home_and_is_lost_with_it(tmp_path: Path) -> None:
    async with open_pool(tmp_path, 2) as pool:
        serial = await new_token(pool)
        await pool.login(serial, USER_PIN)
        spki = await pool.generate_key_pair(serial, KEY_ID, "k", KeyAlgorithm.EC_P256, SIGNING)
        await asyncio.gather(*(pool.sign(serial, KEY_ID, ECDSA, b"x", spki=spki) for _ in range(10)))
        [home] = [host for host in pool.hosts if host.running]
        _kill(home)
        await _until_dead(home)
        with pytest.raises(NotLoggedInError):
            await pool.sign(serial, KEY_ID, ECDSA, b"x", spki=spki)
        await pool.login(serial, USER_PIN)
        await pool.sign(serial, KEY_ID, ECDSA, b"x", spki=spki)


async def test_a_new_token_is_usable_on_every_host_and_costs_no_interactive_login(tmp_path: Path) -> None:
    async with open_pool(tmp_path, 2) as pool:
        await pool.start()
        card = await new_token(pool, "card")
        await pool.login(card, USER_PIN)
        card_key = await pool.generate_key_pair(card, KEY_ID, "k", KeyAlgorithm.EC_P256, SIGNING)
        serial, spki = await _kept_open_key(pool)
        before = [host.counters.calls for host in pool.hosts]
        await asyncio.gather(*(pool.sign(serial, KEY_ID, ECDSA, b"x", spki=spki) for _ in range(40)))
        assert all(host.counters.calls > count for host, count in zip(pool.hosts, before, strict=True))
        await pool.sign(card, KEY_ID, ECDSA, b"x", spki=card_key)


async def test_tokens_made_by_another_process_become_visible(tmp_path: Path) -> None:
    async with open_pool(tmp_path) as ours, open_pool(tmp_path) as theirs:
        assert await ours.list_tokens() == ()
        serial = await new_token(theirs)
        assert [token.serial for token in await ours.list_tokens(refresh=True)] == [serial]
        other = await new_token(theirs, "second")
        await ours.login(other, USER_PIN)


async def test_no_interactive_login_is_lost_to_look_for_a_token(tmp_path: Path) -> None:
    async with open_pool(tmp_path) as ours, open_pool(tmp_path) as theirs:
        card = await new_token(ours)
        await ours.login(card, USER_PIN)
        foreign = await new_token(theirs, "foreign")
        with pytest.raises(TokenNotFoundError):
            await ours.login(foreign, USER_PIN)
        await ours.generate_key_pair(card, KEY_ID, "k", KeyAlgorithm.EC_P256, SIGNING)


async def test_a_key_destroyed_by_one_host_is_gone_for_the_other(tmp_path: Path) -> None:
    async with open_pool(tmp_path) as ours, open_pool(tmp_path) as theirs:
        serial, spki = await _kept_open_key(ours)
        theirs.keep_open(serial, lambda: USER_PIN)
        await theirs.sign(serial, KEY_ID, ECDSA, b"x", spki=spki)
        await ours.destroy(serial, kinds=KEYS, key_id=KEY_ID)
        with pytest.raises(ObjectNotFoundError):
            await theirs.sign(serial, KEY_ID, ECDSA, b"x", spki=spki)
        again = await ours.generate_key_pair(serial, KEY_ID, "k", KeyAlgorithm.EC_P256, SIGNING)
        await theirs.sign(serial, KEY_ID, ECDSA, b"x", spki=again)


async def test_a_kept_pin_that_is_refused_is_not_tried_again(tmp_path: Path) -> None:
    asked = 0

    def wrong_pin() -> Secret:
        nonlocal asked
        asked += 1
        return Secret("999999")

    async with open_pool(tmp_path) as pool:
        serial = await new_token(pool)
        pool.keep_open(serial, wrong_pin)
        with pytest.raises(PinIncorrectError):
            await pool.generate_key_pair(serial, KEY_ID, "k", KeyAlgorithm.EC_P256, SIGNING)
        with pytest.raises(NotLoggedInError, match="not tried again"):
            await pool.generate_key_pair(serial, KEY_ID, "k", KeyAlgorithm.EC_P256, SIGNING)
        assert asked == 1


async def test_private_objects_of_a_token_kept_open_are_listed_by_any_host(tmp_path: Path) -> None:
    async with open_pool(tmp_path, 2) as pool:
        serial, _ = await _kept_open_key(pool)
        await pool.start()
        for listed in await asyncio.gather(*(pool.list_objects(serial) for _ in range(4))):
            assert {found.kind for found in listed} == KEYS


async def test_letting_go_of_a_token_closes_it(tmp_path: Path) -> None:
    async with open_pool(tmp_path) as pool:
        serial, spki = await _kept_open_key(pool)
        await pool.let_go(serial)
        with pytest.raises(NotLoggedInError):
            await pool.sign(serial, KEY_ID, ECDSA, b"x", spki=spki)


async def test_nothing_is_written_on_a_token_while_it_must_not_change(tmp_path: Path) -> None:
    async with open_pool(tmp_path, 2) as pool:
        serial = await new_token(pool)
        pool.keep_open(serial, lambda: USER_PIN)
        async with pool.unchanging():
            writing = asyncio.create_task(pool.store_data(serial, "tests", "label", b"value", private=True))
            assert await pool.list_tokens(), "reading goes on"
            assert not writing.done()
        await writing
        assert await pool.read_data(serial, "tests", "label") == b"value"
