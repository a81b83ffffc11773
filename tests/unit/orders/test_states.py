"""The lives of orders, certificates and habilitations."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cardd.orders.errors import (
    AlreadyRetrievedError,
    HabilitationDecidedError,
    OrderCancelledError,
    OrderEndedError,
    OrderExpiredError,
)
from cardd.orders.states import (
    HABILITATION_STEPS,
    ORDER_STEPS,
    certificate_state,
    check_habilitation_step,
    check_order_step,
    order_state,
)
from cardd.orders.types import CertificateState, HabilitationState, OrderState

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NOTICE = timedelta(days=60)


@given(st.lists(st.sampled_from(list(OrderState)), max_size=6))
def test_an_order_ends_once_and_for_ever(steps: list[OrderState]) -> None:
    state, endings = OrderState.TO_RETRIEVE, 0
    for step in steps:
        if step in ORDER_STEPS[state]:
            check_order_step(state, step)
            state, endings = step, endings + 1
        elif state is not OrderState.TO_RETRIEVE:
            with pytest.raises(OrderEndedError) as caught:
                check_order_step(state, step)
            assert caught.value.data["state"] == state.value
    assert endings <= 1


def test_every_state_is_in_the_tables() -> None:
    assert set(ORDER_STEPS) == set(OrderState)
    assert set(HABILITATION_STEPS) == set(HabilitationState)


@pytest.mark.parametrize(
    ("present", "error"),
    [
        (OrderState.RETRIEVED, AlreadyRetrievedError),
        (OrderState.CANCELLED, OrderCancelledError),
        (OrderState.EXPIRED, OrderExpiredError),
    ],
)
def test_an_ended_order_says_how_it_ended(present: OrderState, error: type[OrderEndedError]) -> None:
    with pytest.raises(error):
        check_order_step(present, OrderState.RETRIEVED)


def test_a_waiting_order_is_expired_from_the_moment_it_expires() -> None:
    assert order_state(OrderState.TO_RETRIEVE, NOW, NOW - timedelta(microseconds=1)) is OrderState.TO_RETRIEVE
    assert order_state(OrderState.TO_RETRIEVE, NOW, NOW) is OrderState.EXPIRED
    assert order_state(OrderState.RETRIEVED, NOW, NOW) is OrderState.RETRIEVED


@given(st.integers(-100_000, 100_000), st.booleans())
def test_a_certificate_is_in_exactly_the_state_of_its_dates(minutes: int, revoked: bool) -> None:
    state = certificate_state(
        revoked_at=NOW if revoked else None,
        not_after=NOW,
        now=NOW + timedelta(minutes=minutes),
        notice=NOTICE,
    )
    if revoked:
        assert state is CertificateState.REVOKED
    elif minutes > 0:
        assert state is CertificateState.EXPIRED
    else:
        renewable = minutes >= -60 * 24 * 60
        assert state is (CertificateState.RENEWABLE if renewable else CertificateState.ACTIVE)


def test_a_refused_habilitation_stays_refused() -> None:
    for step in HabilitationState:
        with pytest.raises(HabilitationDecidedError):
            check_habilitation_step(HabilitationState.REFUSED, step)


def test_an_approved_habilitation_can_only_be_withdrawn() -> None:
    check_habilitation_step(HabilitationState.APPROVED, HabilitationState.WITHDRAWN)
    with pytest.raises(HabilitationDecidedError):
        check_habilitation_step(HabilitationState.APPROVED, HabilitationState.REFUSED)
