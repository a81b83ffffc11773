"""From what a wait knew and what it returned to what happened: a function without I/O.

pcscd counts insertions and removals in the high 16 bits of a reader's state. Two states that both say
PRESENT with another count in between are two stays of a card: a swap that nobody saw happen.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from cardd.readers.names import ReaderName
from cardd.readers.pcsc import ReaderStatus, StateFlag


@dataclass(frozen=True)
class ReaderAppeared:
    """A reader was plugged in, or was there at the start."""

    reader: ReaderName


@dataclass(frozen=True)
class ReaderVanished:
    """A reader was unplugged, or pcscd is gone."""

    reader: ReaderName


@dataclass(frozen=True)
class CardArrived:
    """A card is in the reader. With an empty ATR and not mute, it was gone before it could be seen."""

    reader: ReaderName
    atr: bytes
    counter: int
    is_mute: bool = False


@dataclass(frozen=True)
class CardLeft:
    """The card that arrived last is no longer in the reader."""

    reader: ReaderName


@dataclass(frozen=True)
class AvailabilityChanged:
    """The reader can no longer be used, or can again."""

    reader: ReaderName
    is_available: bool


@dataclass(frozen=True)
class CardFreed:
    """The card is the same; the program that had it for itself alone let it go."""

    reader: ReaderName


ReaderEvent = ReaderAppeared | ReaderVanished | CardArrived | CardLeft | AvailabilityChanged | CardFreed
States = Mapping[ReaderName, ReaderStatus]


class Transition(NamedTuple):
    """What happened, in its order, and the states to wait on next."""

    events: list[ReaderEvent]
    states: dict[ReaderName, ReaderStatus]


def after_wait(previous: States, returned: Iterable[ReaderStatus]) -> Transition:
    """Compare the states that a wait returned with those it was given.

    Readers not waited on are passed over. A reader that is gone is also gone from the new states.
    """
    events: list[ReaderEvent] = []
    states = dict(previous)
    for status in returned:
        before = states.get(status.reader)
        if before is None:
            continue
        after = _keep_atr(before, status.acknowledged)
        events += _events_of(before, after)
        if StateFlag.UNKNOWN in after.flags:
            del states[status.reader]
        else:
            states[status.reader] = after
    return Transition(events, states)


def after_listing(previous: States, names: Iterable[ReaderName]) -> Transition:
    """Compare the readers waited on with those that there are; new ones are waited on as unaware."""
    present = dict.fromkeys(names)
    gone = after_wait(
        previous, [ReaderStatus(name, StateFlag.UNKNOWN) for name in previous if name not in present]
    )
    new = [name for name in present if name not in previous]
    return Transition(
        [*gone.events, *(ReaderAppeared(name) for name in new)],
        gone.states | {name: ReaderStatus(name) for name in new},
    )


class _Occupant(NamedTuple):
    """A stay of a card, as far as two states can tell it from another."""

    counter: int
    atr: bytes
    is_mute: bool


_UNCOUNTED: Final = StateFlag.UNAVAILABLE | StateFlag.UNKNOWN
_HALF: Final = 0x8000
"""A count that is further ahead than this went back instead: the reader was plugged in anew."""


def _events_of(before: ReaderStatus, after: ReaderStatus) -> Iterator[ReaderEvent]:
    reader = after.reader
    left, entered = _occupant(before), _occupant(after)
    if left == entered:
        left = entered = None
    if left is not None:
        yield CardLeft(reader)
    if _was_visited_unseen(before, after):
        yield CardArrived(reader, b"", after.counter)
        yield CardLeft(reader)
    if StateFlag.UNKNOWN in after.flags:
        yield ReaderVanished(reader)
        return
    was_available, is_available = (StateFlag.UNAVAILABLE not in each.flags for each in (before, after))
    if was_available != is_available:
        yield AvailabilityChanged(reader, is_available)
    if entered is not None:
        yield CardArrived(reader, entered.atr, entered.counter, entered.is_mute)
    elif _occupant(after) and StateFlag.EXCLUSIVE in before.flags and StateFlag.EXCLUSIVE not in after.flags:
        yield CardFreed(reader)


def _occupant(status: ReaderStatus) -> _Occupant | None:
    if StateFlag.PRESENT not in status.flags or status.flags & _UNCOUNTED:
        return None
    is_mute = StateFlag.MUTE in status.flags
    return _Occupant(status.counter, b"" if is_mute else status.atr, is_mute)


def _was_visited_unseen(before: ReaderStatus, after: ReaderStatus) -> bool:
    """Whether a card came and went besides those that the two states show."""
    if before.flags == StateFlag.UNAWARE or (before.flags | after.flags) & _UNCOUNTED:
        return False
    counted = (after.counter - before.counter) & 0xFFFF
    shown = (_occupant(before) is not None) + (_occupant(after) is not None)
    return 2 <= counted - shown < _HALF


def _keep_atr(before: ReaderStatus, after: ReaderStatus) -> ReaderStatus:
    """Keep the ATR of a card that stays while its state for a moment is told without one (powered down)."""
    stays = before.counter == after.counter and StateFlag.PRESENT in before.flags & after.flags
    if stays and not after.atr and StateFlag.MUTE not in after.flags:
        return after._replace(atr=before.atr)
    return after
