"""From states to events: what pcscd's flags and counters mean."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from cardd.readers.names import ReaderName
from cardd.readers.pcsc import ReaderStatus, StateFlag
from cardd.readers.states import (
    AvailabilityChanged,
    CardArrived,
    CardFreed,
    CardLeft,
    ReaderAppeared,
    ReaderEvent,
    ReaderVanished,
    after_listing,
    after_wait,
)
from tests.support.pcsc import BANK_CARD, CPS3

READER = ReaderName("Reader 00 00")
EMPTY, PRESENT, MUTE = StateFlag.EMPTY, StateFlag.PRESENT, StateFlag.PRESENT | StateFlag.MUTE
CHANGED = StateFlag.CHANGED


def between(before: ReaderStatus, after: ReaderStatus) -> Sequence[ReaderEvent]:
    return after_wait({READER: before}, [after]).events


def status(flags: StateFlag, counter: int, atr: bytes = CPS3) -> ReaderStatus:
    return ReaderStatus(READER, flags, counter, atr if StateFlag.PRESENT in flags else b"")


def test_a_reader_first_looked_at_empty_tells_nothing() -> None:
    assert between(ReaderStatus(READER), status(EMPTY | CHANGED, 12)) == []


def test_a_reader_first_looked_at_with_a_card_tells_its_arrival() -> None:
    assert between(ReaderStatus(READER), status(PRESENT | CHANGED, 7)) == [CardArrived(READER, CPS3, 7)]


def test_insertion_and_removal_are_told() -> None:
    assert between(status(EMPTY, 4), status(PRESENT | CHANGED, 5)) == [CardArrived(READER, CPS3, 5)]
    assert between(status(PRESENT, 5), status(EMPTY | CHANGED, 6)) == [CardLeft(READER)]


def test_a_missed_swap_is_a_removal_and_an_insertion() -> None:
    expected = [CardLeft(READER), CardArrived(READER, CPS3, 7)]
    assert between(status(PRESENT, 5), status(PRESENT | CHANGED, 7)) == expected


def test_a_missed_swap_is_seen_when_the_counter_starts_anew() -> None:
    expected = [CardLeft(READER), CardArrived(READER, CPS3, 1)]
    assert between(status(PRESENT, 0xFFFF), status(PRESENT | CHANGED, 1)) == expected


def test_two_missed_swaps_are_told_as_two() -> None:
    expected = [CardLeft(READER), CardArrived(READER, b"", 9), CardLeft(READER), CardArrived(READER, CPS3, 9)]
    assert between(status(PRESENT, 5), status(PRESENT | CHANGED, 9)) == expected


def test_a_card_that_came_and_went_unseen_is_told() -> None:
    assert between(status(EMPTY, 4), status(EMPTY | CHANGED, 6)) == [
        CardArrived(READER, b"", 6),
        CardLeft(READER),
    ]


def test_a_reader_plugged_in_anew_under_its_name_was_not_visited_unseen() -> None:
    assert between(status(EMPTY, 4), status(EMPTY | CHANGED, 0)) == []


def test_use_by_other_programs_is_no_event() -> None:
    in_use, alone = PRESENT | StateFlag.INUSE, PRESENT | StateFlag.EXCLUSIVE
    assert between(status(PRESENT, 5), status(in_use | CHANGED, 5)) == []
    assert between(status(in_use, 5), status(alone | CHANGED, 5)) == []


def test_a_card_given_free_is_told() -> None:
    alone = PRESENT | StateFlag.EXCLUSIVE
    assert between(status(alone, 5), status(PRESENT | CHANGED, 5)) == [CardFreed(READER)]
    assert between(status(alone, 5), status(EMPTY | CHANGED, 6)) == [CardLeft(READER)]


def test_a_mute_card_is_told_as_mute_and_as_another_once_it_answers() -> None:
    assert between(status(EMPTY, 4), status(MUTE | CHANGED, 5)) == [CardArrived(READER, b"", 5, is_mute=True)]
    expected = [CardLeft(READER), CardArrived(READER, CPS3, 5)]
    assert between(status(MUTE, 5), status(PRESENT | CHANGED, 5)) == expected


def test_another_answer_to_reset_is_another_card() -> None:
    expected = [CardLeft(READER), CardArrived(READER, BANK_CARD, 5)]
    assert between(status(PRESENT, 5), status(PRESENT | CHANGED, 5, BANK_CARD)) == expected


def test_a_card_that_is_powered_down_stays() -> None:
    powered_down = status(PRESENT | StateFlag.UNPOWERED | CHANGED, 5, b"")
    events, states = after_wait({READER: status(PRESENT, 5)}, [powered_down])
    assert events == []
    assert states[READER].atr == CPS3


def test_an_unplugged_reader_takes_its_card_along() -> None:
    gone = ReaderStatus(READER, StateFlag.UNKNOWN | StateFlag.UNAVAILABLE | CHANGED)
    events, states = after_wait({READER: status(PRESENT, 5)}, [gone])
    assert events == [CardLeft(READER), ReaderVanished(READER)]
    assert states == {}


def test_an_unavailable_reader_loses_its_card_and_finds_it_again() -> None:
    unavailable = ReaderStatus(READER, StateFlag.UNAVAILABLE | CHANGED)
    assert between(status(PRESENT, 5), unavailable) == [
        CardLeft(READER),
        AvailabilityChanged(READER, is_available=False),
    ]
    expected = [AvailabilityChanged(READER, is_available=True), CardArrived(READER, CPS3, 9)]
    assert between(unavailable.acknowledged, status(PRESENT | CHANGED, 9)) == expected


def test_listing_tells_new_readers_and_those_that_are_gone() -> None:
    other = ReaderName("Other 00 00")
    events, states = after_listing({READER: status(PRESENT, 5)}, [other])
    assert events == [CardLeft(READER), ReaderVanished(READER), ReaderAppeared(other)]
    assert states == {other: ReaderStatus(other)}


def test_readers_that_were_not_waited_on_are_passed_over() -> None:
    assert after_wait({}, [status(PRESENT, 5)]) == ([], {})


moves = st.lists(st.sampled_from(["insert", "remove", "look"]), max_size=40)


@given(moves, st.integers(0, 0xFFFF))
def test_whatever_is_missed_between_looks_every_stay_that_is_seen_is_told_once(
    steps: list[str], counter: int
) -> None:
    states = {READER: status(EMPTY, counter)}
    is_in, told_in, told_counter, movements, real = False, False, counter, 0, 0
    for step in [*steps, "look"]:
        if step == ("remove" if is_in else "insert"):
            is_in, counter, real = not is_in, (counter + 1) & 0xFFFF, real + 1
        elif step == "look":
            events, states = after_wait(states, [status(PRESENT if is_in else EMPTY, counter)])
            for event in events:
                assert isinstance(event, CardLeft if told_in else CardArrived)
                told_in, movements = not told_in, movements + 1
                told_counter = event.counter if isinstance(event, CardArrived) else told_counter
            assert told_in == is_in
            assert told_counter == counter or not is_in
    assert movements <= real
    assert (movements == 0) == (real == 0)


statuses = st.builds(
    ReaderStatus,
    st.just(READER),
    st.sampled_from([*StateFlag]) | st.integers(0, 0x7FF).map(StateFlag),
    st.integers(0, 0xFFFF),
    st.sampled_from([b"", CPS3, BANK_CARD]),
)


@given(st.lists(statuses, max_size=12))
def test_any_states_give_events_that_alternate_and_nothing_when_repeated(
    returned: list[ReaderStatus],
) -> None:
    is_there, is_in = True, False
    states = after_listing({}, [READER]).states
    for each in returned:
        events, states = after_wait(states, [each])
        for event in events:
            assert is_there
            match event:
                case CardArrived():
                    assert not is_in
                    is_in = True
                case CardLeft():
                    assert is_in
                    is_in = False
                case ReaderVanished():
                    assert not is_in
                    is_there = False
        assert (READER in states) == is_there
        assert after_wait(states, [each]).events == []
