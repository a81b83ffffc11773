"""Faults on demand, as data: what a card or its contacts may do wrong, and when.

Expired and opposed cards need no fault: their certificates say so.
"""

from collections.abc import Iterable
from typing import Annotated, Final, TypeVar

import msgspec
from msgspec import Meta

from cardd.virtualcard.content import KeyRole
from cardd.virtualcard.wire import SW

_MOST_COMMANDS: Final = 1_000_000


class When(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which commands a fault strikes; by default all of them."""

    ins: Annotated[int, Meta(ge=0, le=0xFF)] | None = None
    """Instruction byte, None for any."""
    p1p2: Annotated[int, Meta(ge=0, le=0xFFFF)] | None = None
    """Both parameters as one number, None for any."""
    skip: Annotated[int, Meta(ge=0, le=_MOST_COMMANDS)] = 0
    """How many matching commands pass unharmed first."""
    times: Annotated[int, Meta(ge=0, le=_MOST_COMMANDS)] | None = None
    """How many are struck afterwards, None for all."""

    def matches(self, command: bytes) -> bool:
        """Whether `command` is of the kind meant."""
        if self.ins is not None and command[1:2] != bytes([self.ins]):
            return False
        return self.p1p2 is None or command[2:4] == self.p1p2.to_bytes(2, "big")


class MuteAtPowerOn(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="mute"):
    """The card is felt but gives no usable answer to reset: pcscd reports it mute."""


class Silent(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="silent"):
    """The card never answers the command; the reader waits until the card is removed."""

    when: When = When()


class Slow(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="slow"):
    """The card takes `seconds` more to answer."""

    seconds: Annotated[float, Meta(ge=0, le=3600)]
    when: When = When()


class WrongStatus(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="wrong_status"):
    """The card does nothing and answers `sw`."""

    sw: Annotated[int, Meta(ge=0, le=0xFFFF)]
    when: When = When()


class ConnectionLost(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="connection_lost"):
    """The card leaves the reader inside the command, before any byte of the answer.

    Half an answer is not offered: vpcd 3.3 takes it for a whole one, and one byte of it makes pcscd crash.
    """

    when: When = When()
    after_execution: bool = True
    """Whether the card did what it was told (a wrong PIN has then cost its try)."""


class CorruptedCertificate(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="corrupted_certificate"
):
    """The certificate of `role` can be read but not decoded."""

    role: KeyRole


class AlreadyLocked(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="already_locked"):
    """The PIN is blocked when the card is inserted; the PUK unblocks it."""


class LastWrongPinAnswers(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="last_wrong_pin"):
    """The status word of the wrong PIN that blocks: 63C0 (the default of this card) or 6983."""

    sw: Annotated[int, Meta(ge=0, le=0xFFFF)] = SW.AUTHENTICATION_BLOCKED


Fault = (
    MuteAtPowerOn
    | Silent
    | Slow
    | WrongStatus
    | ConnectionLost
    | CorruptedCertificate
    | AlreadyLocked
    | LastWrongPinAnswers
)
_TimedT = TypeVar("_TimedT", Silent, Slow, WrongStatus, ConnectionLost)
_AnyT = TypeVar("_AnyT", bound=Fault)


class FaultPlan:
    """Faults in force, with the count of the commands that each has seen."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self._faults = tuple(faults)
        self._seen = [0] * len(self._faults)

    def standing(self, kind: type[_AnyT]) -> list[_AnyT]:
        """Return the faults of `kind`, whatever their time."""
        return [fault for fault in self._faults if isinstance(fault, kind)]

    def strike(self, kind: type[_TimedT], command: bytes) -> _TimedT | None:
        """Return the first fault of `kind` that strikes `command`, and count the command for each of that kind."""
        struck: _TimedT | None = None
        for index, fault in enumerate(self._faults):
            if not isinstance(fault, kind) or not fault.when.matches(command):
                continue
            position = self._seen[index] - fault.when.skip
            self._seen[index] += 1
            if position >= 0 and (fault.when.times is None or position < fault.when.times):
                struck = struck or fault
        return struck
