"""The lives of orders, certificates and habilitations as pure functions: what may follow what, and when."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from types import MappingProxyType

from cardd.orders.errors import (
    AlreadyRetrievedError,
    HabilitationDecidedError,
    OrderCancelledError,
    OrderEndedError,
    OrderExpiredError,
)
from cardd.orders.types import CertificateState, HabilitationState, OrderState
from cardd.text import Text

#: What may follow each state of an order; the states that nothing follows are final.
ORDER_STEPS: Mapping[OrderState, frozenset[OrderState]] = MappingProxyType(
    {
        OrderState.TO_RETRIEVE: frozenset({OrderState.RETRIEVED, OrderState.CANCELLED, OrderState.EXPIRED}),
        OrderState.RETRIEVED: frozenset(),
        OrderState.CANCELLED: frozenset(),
        OrderState.EXPIRED: frozenset(),
    }
)

#: What may follow each state of a habilitation.
HABILITATION_STEPS: Mapping[HabilitationState, frozenset[HabilitationState]] = MappingProxyType(
    {
        HabilitationState.SUBMITTED: frozenset(
            {HabilitationState.APPROVED, HabilitationState.REFUSED, HabilitationState.WITHDRAWN}
        ),
        HabilitationState.APPROVED: frozenset({HabilitationState.WITHDRAWN}),
        HabilitationState.REFUSED: frozenset(),
        HabilitationState.WITHDRAWN: frozenset(),
    }
)

_ENDED: Mapping[OrderState, tuple[type[OrderEndedError], Text]] = MappingProxyType(
    {
        OrderState.RETRIEVED: (
            AlreadyRetrievedError,
            Text("Its certificate was issued and handed over.", "Son certificat a été émis et remis."),
        ),
        OrderState.CANCELLED: (
            OrderCancelledError,
            Text("It was cancelled, and its key is destroyed.", "Elle a été annulée et sa clé est détruite."),
        ),
        OrderState.EXPIRED: (
            OrderExpiredError,
            Text(
                "It was not retrieved in time, and its key is destroyed.",
                "Elle n’a pas été retirée à temps et sa clé est détruite.",
            ),
        ),
    }
)


def order_state(stored: OrderState, expires_at: datetime, now: datetime) -> OrderState:
    """Return where an order stands at `now`: one that waits beyond `expires_at` is expired already."""
    if stored is OrderState.TO_RETRIEVE and expires_at <= now:
        return OrderState.EXPIRED
    return stored


def check_order_step(present: OrderState, step: OrderState) -> None:
    """Raise the error that says why `step` cannot follow `present`."""
    if step in ORDER_STEPS[present]:
        return
    error, detail = _ENDED[present]
    raise error(detail, state=present.value)


def check_habilitation_step(present: HabilitationState, step: HabilitationState) -> None:
    """Raise `HabilitationDecidedError` where `step` cannot follow `present`."""
    if step not in HABILITATION_STEPS[present]:
        raise HabilitationDecidedError(
            Text(
                f"It is {present.value}; it cannot become {step.value}.",
                f"Elle est dans l’état « {present.value} » et ne peut passer à « {step.value} ».",
            ),
            state=present.value,
        )


def certificate_state(
    *, revoked_at: datetime | None, not_after: datetime, now: datetime, notice: timedelta
) -> CertificateState:
    """Return where a certificate stands at `now`; `notice` before its end it becomes renewable.

    It is valid through the second of notAfter (RFC 5280 §4.1.2.5).
    """
    if revoked_at is not None:
        return CertificateState.REVOKED
    if now > not_after:
        return CertificateState.EXPIRED
    return CertificateState.RENEWABLE if now >= not_after - notice else CertificateState.ACTIVE
