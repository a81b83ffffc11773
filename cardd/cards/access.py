"""How a card that is in a reader is reached: the module that drives it, its token, and who counts its PIN's tries."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from cardd.cards.types import PinState, PinView
from cardd_pkcs11.operations import TokenOperations
from cardd_pkcs11.types import PinFlags, Secret, TokenSerial

#: Sets a new PIN with the PUK; raises the token's errors, which then speak of the PUK.
Unblocking = Callable[[Secret, Secret], Awaitable[None]]


@dataclass(frozen=True)
class CardAccess:
    """The way to one present card."""

    tokens: TokenOperations
    token_serial: TokenSerial
    #: Name of the module's profile.
    module: str
    #: Wrong PINs in a row that block the card.
    tries: int
    #: Whether the card counts wrong PINs; a software token does not, the daemon counts for it.
    counts_tries: bool = False
    #: None where the daemon itself keeps the PUK.
    unblock: Unblocking | None = None


def tries_left(flags: PinFlags, tries: int) -> int:
    """Return the tries that a module's flags leave (PKCS#11 v2.40 §4.2); exact for the family, which has three."""
    if flags.locked:
        return 0
    if flags.final_try:
        return 1
    return max(2, tries - 1) if flags.count_low else tries


def pin_of(flags: PinFlags, tries: int) -> PinView:
    """Return what is shown of a PIN by a module's flags."""
    if flags.locked:
        state = PinState.LOCKED
    elif flags.final_try:
        state = PinState.FINAL
    else:
        state = PinState.LOW if flags.count_low else PinState.OK
    return PinView(state=state, tries_left=tries_left(flags, tries))
