"""The rules of a card's PIN, without I/O: form, tries, and what is allowed at each count.

A CPS's PIN has four to eight digits and blocks after three wrong tries in a row (IAS-ECC AODF of a CPS3:
minimum 4, maximum 8). Form is checked before anything is counted, so that a typing error costs no try.
"""

from enum import Enum, auto, unique

from cardd.cards.types import PinState, PinView
from cardd.errors import FieldProblem
from cardd.text import Text

MINIMUM_LENGTH = 4
MAXIMUM_LENGTH = 8


@unique
class Verdict(Enum):
    """Whether a PIN may be tried now."""

    ALLOWED = auto()
    #: One try is left, and the caller did not accept to use it.
    NEEDS_CONSENT = auto()
    LOCKED = auto()


def form_problem(field: str, pin: str) -> FieldProblem | None:
    """Return what is wrong with the form of a PIN, or None; the PIN itself is never repeated."""
    if pin.isascii() and pin.isdigit() and MINIMUM_LENGTH <= len(pin) <= MAXIMUM_LENGTH:
        return None
    return FieldProblem(
        field,
        Text(
            f"must be {MINIMUM_LENGTH} to {MAXIMUM_LENGTH} digits; no try was used",
            f"doit compter {MINIMUM_LENGTH} à {MAXIMUM_LENGTH} chiffres ; aucun essai n’a été consommé",
        ),
    )


def verdict(tries_left: int, *, accept_final_try: bool) -> Verdict:
    """Tell whether a PIN may be tried with that many tries left."""
    if tries_left <= 0:
        return Verdict.LOCKED
    if tries_left == 1 and not accept_final_try:
        return Verdict.NEEDS_CONSENT
    return Verdict.ALLOWED


def pin_state(tries_left: int, tries: int) -> PinState:
    """Name the state of a PIN that blocks after `tries` wrong ones."""
    if tries_left <= 0:
        return PinState.LOCKED
    if tries_left == 1:
        return PinState.FINAL
    return PinState.LOW if tries_left < tries else PinState.OK


def pin_view(tries_left: int, tries: int) -> PinView:
    """Return what is shown of a PIN."""
    return PinView(state=pin_state(tries_left, tries), tries_left=max(tries_left, 0))
