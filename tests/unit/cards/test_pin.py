"""The PIN's rules, and whole histories of tries against a card that blocks after three wrong ones."""

import asyncio
import tempfile
from functools import partial
from pathlib import Path

import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from cardd.cards.errors import PinFinalTryError, PinIncorrectError, PinLockedError
from cardd.cards.pin import Verdict, form_problem, pin_state, verdict
from cardd.cards.pintries import PinTries
from cardd.cards.types import CardSerial, PinState
from cardd.clock import ManualClock
from cardd.events import EventBus
from cardd.store import Store, tables
from cardd_pkcs11.errors import HostLostError
from cardd_pkcs11.errors import PinIncorrectError as TokenPinIncorrectError
from tests.support.igc import PREPARED

SERIAL = CardSerial("12345678")
TRIES = 3


@given(st.text(max_size=12))
def test_only_four_to_eight_ascii_digits_are_a_pin(pin: str) -> None:
    good = 4 <= len(pin) <= 8 and set(pin) <= set("0123456789")
    problem = form_problem("pin", pin)
    assert (problem is None) == good
    if problem is not None and len(pin) > 2 and not pin.isalpha():
        assert pin not in problem.problem.en


@given(st.integers(-1, 15), st.integers(2, 15), st.booleans())
def test_states_and_verdicts_agree(left: int, tries: int, consent: bool) -> None:
    state, allowed = pin_state(left, tries), verdict(left, accept_final_try=consent)
    assert (state is PinState.LOCKED) == (allowed is Verdict.LOCKED)
    if state is PinState.FINAL:
        assert allowed is (Verdict.ALLOWED if consent else Verdict.NEEDS_CONSENT)


class _CountingToken:
    """Never forgives a fourth wrong PIN in a row."""

    def __init__(self) -> None:
        self.wrong_in_a_row = 0

    async def receive(self, outcome: str) -> None:
        if outcome == "right":
            self.wrong_in_a_row = 0
            return
        self.wrong_in_a_row += 1
        assert self.wrong_in_a_row <= TRIES
        if outcome == "wrong":
            raise TokenPinIncorrectError("wrong")
        raise HostLostError("killed")


@settings(max_examples=20)
@given(
    st.lists(
        st.tuples(st.sampled_from(["right", "wrong", "killed"]), st.booleans(), st.booleans()), max_size=12
    )
)
def test_no_history_lets_more_than_three_wrong_pins_in_a_row_reach_the_card(
    history: list[tuple[str, bool, bool]],
) -> None:
    with tempfile.TemporaryDirectory() as state:
        asyncio.run(_live(Path(state), history))


async def _live(state: Path, history: list[tuple[str, bool, bool]]) -> None:
    """Try PINs one after another; a restart in between forgets everything but the store."""
    store = await Store.open(state, ManualClock(PREPARED), EventBus())
    await _add_card(store)
    token, pins, left = _CountingToken(), PinTries(store, TRIES), TRIES
    for outcome, consent, restart in history:
        if restart:
            pins = PinTries(store, TRIES)
        try:
            await pins.present(SERIAL, partial(token.receive, outcome), accept_final_try=consent)
            left = TRIES
        except (PinIncorrectError, HostLostError):
            left -= 1
        except PinFinalTryError:
            assert (left, consent) == (1, False)
        except PinLockedError:
            assert left == 0
        async with store.read() as connection:
            assert (await connection.execute(sa.select(tables.cards.c.pin_tries_left))).scalar() == left
    await store.close()


async def _add_card(store: Store) -> None:
    async with store.transaction() as tx:
        await tx.execute(
            sa.insert(tables.cards).values(
                serial=SERIAL,
                medium="softhsm",
                type="cps",
                holder={},
                issued_at=PREPARED,
                opposes_at=PREPARED,
                inserted=True,
                pin_tries_left=TRIES,
                capabilities=[],
            )
        )
