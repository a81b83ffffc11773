"""What is known of a reader, and the events that tell of its changes."""

from dataclasses import dataclass
from enum import StrEnum, unique

from cardd.readers.atr import CardGeneration
from cardd.readers.names import ReaderName
from cardd.readers.serial import CardSerial
from cardd.text import Text


@unique
class ReaderCondition(StrEnum):
    """What a reader holds, as published in the API."""

    EMPTY = "empty"
    PRESENT = "present"
    MUTE = "mute"
    """A card that does not answer: inserted the wrong way round, dirty or broken."""
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True)
class ReaderState:
    """A reader and the card in it."""

    name: ReaderName
    state: ReaderCondition = ReaderCondition.EMPTY
    atr: bytes = b""
    generation: CardGeneration = CardGeneration.UNKNOWN
    serial: CardSerial | None = None
    """None also while it is being read, and for cards whose serial cannot be read."""


@dataclass(frozen=True)
class ReaderAdded:
    """A reader is there."""

    reader: ReaderName


@dataclass(frozen=True)
class ReaderRemoved:
    """A reader is gone; a card in it was told removed before."""

    reader: ReaderName


@dataclass(frozen=True)
class ReaderChanged:
    """The state of a reader is another; told at once, while an insertion waits for the card's serial."""

    reader: ReaderName
    state: ReaderState


@dataclass(frozen=True)
class CardInserted:
    """A card came. Each insertion is followed by one removal, also when the card was gone before it was read."""

    reader: ReaderName
    atr: bytes
    generation: CardGeneration
    serial: CardSerial | None
    is_mute: bool = False


@dataclass(frozen=True)
class CardIdentified:
    """The serial of a card told inserted without one: it was slow, or another program had the card."""

    reader: ReaderName
    serial: CardSerial


@dataclass(frozen=True)
class CardRemoved:
    """The card that was inserted last is gone; `serial` as far as it was told."""

    reader: ReaderName
    serial: CardSerial | None


@dataclass(frozen=True)
class ServiceDown:
    """pcscd does not answer; all readers were told removed before."""

    reason: Text


@dataclass(frozen=True)
class ServiceUp:
    """pcscd answers."""


CardMovement = CardInserted | CardIdentified | CardRemoved
ReadersEvent = ReaderAdded | ReaderRemoved | ReaderChanged | CardMovement | ServiceDown | ServiceUp
