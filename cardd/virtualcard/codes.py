"""The holder's PIN and the PUK: tries are written down before a code is compared."""

import msgspec

from cardd.virtualcard.apdu import StatusError
from cardd.virtualcard.assumptions import PUK_TRIES
from cardd.virtualcard.content import CardContent
from cardd.virtualcard.state import PIN_TRIES, CardState, StateStore, StoredCode
from cardd.virtualcard.wire import (
    PIN_MINIMUM_LENGTH,
    PIN_PADDING,
    PIN_STORED_LENGTH,
    SW,
    CodeReference,
    sw_tries_left,
)

DEFAULT_COST = 2**12
"""scrypt's N: about ten milliseconds."""
_TRIES = {CodeReference.PIN: PIN_TRIES, CodeReference.PUK: PUK_TRIES}


class AccessCodes:
    """The codes of one card and its persistent state; a kill can never give a try back."""

    def __init__(self, content: CardContent, store: StateStore, cost: int = DEFAULT_COST) -> None:
        self._store = store
        self._cost = cost
        state = store.load()
        if state is None:
            state = CardState(
                pin=StoredCode.of(content.first_pin.encode(), PIN_TRIES, cost),
                puk=StoredCode.of(content.first_puk.encode(), PUK_TRIES, cost),
                cps_data=content.cps_data,
            )
            store.save(state)
        self._state = state
        self._verified: set[CodeReference] = set()
        self.blocking_status: int = SW.VERIFY_FAILED
        """What the wrong PIN that blocks is answered with."""

    @property
    def is_verified(self) -> bool:
        """Whether the holder is logged in."""
        return CodeReference.PIN in self._verified

    @property
    def cps_data(self) -> bytes:
        """The present value of CPS_DATA."""
        return self._state.cps_data

    def tries_left(self, reference: CodeReference) -> int:
        """Return the tries left, 0 when blocked; a blocked PUK can never be unblocked."""
        return self._code(reference).tries_left

    def write_cps_data(self, value: bytes) -> None:
        """Keep a new value of CPS_DATA."""
        self._keep(msgspec.structs.replace(self._state, cps_data=value))

    def log_out(self) -> None:
        """Forget that the PIN was presented."""
        self._verified.discard(CodeReference.PIN)

    def forget_all(self) -> None:
        """Forget every code presented, as without power."""
        self._verified.clear()

    def status(self, reference: CodeReference) -> int:
        """Return the answer to VERIFY without data."""
        tries = self.tries_left(reference)
        if tries == 0:
            return SW.AUTHENTICATION_BLOCKED
        return SW.OK if reference in self._verified else sw_tries_left(tries)

    def verify(self, reference: CodeReference, block: bytes) -> None:
        """Present a code, padded or not; the right PIN logs in.

        Raises:
            StatusError: 6700 for an impossible length, 63Cx, 6983.
        """
        self._require(reference, code_of(block))

    def change(self, reference: CodeReference, blocks: bytes) -> None:
        """Replace a code; `blocks` is the old one and the new one, each padded to eight bytes.

        Raises:
            StatusError: 6700 for impossible lengths, 63Cx, 6983.
        """
        old, new = two_codes(blocks)
        self._require(reference, old)
        self._store_code(reference, StoredCode.of(new, _TRIES[reference], self._cost))

    def unblock(self, *, puk: bytes | None, new_pin: bytes | None) -> None:
        """Give the PIN its tries back, for a PUK given now or presented before, and replace it if so wished.

        Raises:
            StatusError: 63Cx with the PUK's tries, 6983 when the PUK is blocked, 6982 when it was not presented.
        """
        if puk is not None:
            self._require(CodeReference.PUK, puk)
        if CodeReference.PUK not in self._verified:
            raise StatusError(SW.SECURITY_STATUS_NOT_SATISFIED)
        self._verified.clear()
        stored = self._state.pin if new_pin is None else StoredCode.of(new_pin, PIN_TRIES, self._cost)
        self._store_code(CodeReference.PIN, stored.with_tries(PIN_TRIES))

    def block(self) -> None:
        """Block the PIN."""
        self._store_code(CodeReference.PIN, self._state.pin.with_tries(0))
        self._verified.clear()

    def _require(self, reference: CodeReference, code: bytes) -> None:
        """Compare `code`; the try is written off first, and given back only for the right one."""
        self._verified.discard(reference)
        stored = self._code(reference)
        if stored.tries_left == 0:
            raise StatusError(SW.AUTHENTICATION_BLOCKED)
        left = stored.tries_left - 1
        self._store_code(reference, stored.with_tries(left))
        if not stored.matches(code):
            last_pin = left == 0 and reference is CodeReference.PIN
            raise StatusError(self.blocking_status if last_pin else sw_tries_left(left))
        self._store_code(reference, stored.with_tries(_TRIES[reference]))
        self._verified.add(reference)

    def _code(self, reference: CodeReference) -> StoredCode:
        return self._state.pin if reference is CodeReference.PIN else self._state.puk

    def _store_code(self, reference: CodeReference, code: StoredCode) -> None:
        if reference is CodeReference.PIN:
            self._keep(msgspec.structs.replace(self._state, pin=code))
        else:
            self._keep(msgspec.structs.replace(self._state, puk=code))

    def _keep(self, state: CardState) -> None:
        self._store.save(state)
        self._state = state


def code_of(block: bytes) -> bytes:
    """Return the code in a block of four to eight bytes, without its padding.

    Raises:
        StatusError: 6700, no try used.
    """
    code = block.rstrip(bytes([PIN_PADDING]))
    if len(block) > PIN_STORED_LENGTH or len(code) < PIN_MINIMUM_LENGTH:
        raise StatusError(SW.WRONG_LENGTH)
    return code


def two_codes(blocks: bytes) -> tuple[bytes, bytes]:
    """Split two codes: each padded to eight bytes, or both of one length without padding.

    Raises:
        StatusError: 6700, no try used.
    """
    half = len(blocks) // 2
    if len(blocks) % 2:
        raise StatusError(SW.WRONG_LENGTH)
    return code_of(blocks[:half]), code_of(blocks[half:])
