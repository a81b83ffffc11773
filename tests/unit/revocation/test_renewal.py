"""When a list is fetched next: well before its end, each client at a moment of its own."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cardd.revocation.policies import RenewalPolicy
from cardd.revocation.renewal import after_failure, after_success, is_due

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
POLICY = RenewalPolicy()
CLIENTS = 2000


@pytest.mark.parametrize("left", [2 * HOUR, 12 * HOUR, 24 * HOUR, timedelta(days=7), timedelta(days=90)])
def test_clients_of_one_list_come_spread_over_hours_and_all_well_before_its_end(left: timedelta) -> None:
    """A list of a million clients must not be asked for by all of them at nextUpdate."""
    plans = [after_success(NOW, NOW + left, POLICY, Random(client)) for client in range(CLIENTS)]
    moments = [plan.next_fetch_at for plan in plans]
    assert max(moments) <= NOW + left * 0.75
    assert max(moments) <= NOW + POLICY.longest
    earliest, latest = min(moments), max(moments)
    assert latest - earliest >= min(left, POLICY.longest) / 5
    tenth = (latest - earliest) / 10
    crowds = Counter(int((moment - earliest) / tenth) for moment in moments)
    assert max(crowds.values()) < CLIENTS / 5, "no tenth of the window has more than a fifth of the clients"
    assert all(plan.next_fetch_at < plan.stale_at <= NOW + left for plan in plans)


def test_clients_whose_fetch_failed_do_not_come_back_together() -> None:
    for failures in (1, 3, 10):
        moments = {
            after_failure(NOW, failures, NOW + 24 * HOUR, policy=POLICY, random=Random(client), wish=None)
            for client in range(CLIENTS)
        }
        assert len(moments) > CLIENTS * 0.99
        assert max(moments) - min(moments) >= (max(moments) - NOW) / 3


def test_failures_in_a_row_wait_longer_up_to_an_hour_and_less_near_the_end() -> None:
    def wait(failures: int, end: datetime | None = None) -> timedelta:
        return after_failure(NOW, failures, end, policy=POLICY, random=Random(1), wish=None) - NOW

    waits = [wait(failures) for failures in range(1, 20)]
    assert waits == sorted(waits)
    assert waits[-1] <= POLICY.last_retry
    assert wait(10, NOW + HOUR) <= HOUR / 4
    assert wait(10, NOW - HOUR) == wait(10)


def test_a_servers_wish_is_kept_even_near_the_end_but_not_for_ever() -> None:
    def wait(wish: float) -> timedelta:
        return (
            after_failure(NOW, 1, NOW + timedelta(minutes=5), policy=POLICY, random=Random(1), wish=wish)
            - NOW
        )

    assert timedelta(seconds=7200) <= wait(7200) <= timedelta(seconds=7920)
    assert wait(10**8) <= POLICY.longest_wish * 1.1


def test_a_list_that_is_over_already_is_asked_for_again_soon_and_not_at_once() -> None:
    plan = after_success(NOW, NOW - HOUR, POLICY, Random(1))
    assert plan.next_fetch_at == NOW + POLICY.shortest


@given(st.integers(1, 40), st.floats(0, 10**6), st.integers(0, 2**32))
def test_every_fetch_that_is_planned_waits_for_its_moment(failures: int, wish: float, seed: int) -> None:
    random = Random(seed)
    retry = after_failure(NOW, failures, NOW + 90 * DAY, policy=POLICY, random=random, wish=wish)
    for moment in (after_success(NOW, NOW + 90 * DAY, POLICY, random).next_fetch_at, retry):
        assert not is_due(moment, NOW, POLICY)
        assert is_due(moment, moment, POLICY)


def test_a_fetch_that_was_planned_before_the_clock_was_set_back_is_due() -> None:
    assert is_due(NOW, NOW - 40 * DAY, POLICY)
