"""Card readers over PC/SC: the watching thread, the states of readers and cards, answers to reset, card serials."""

from cardd.readers.atr import Atr, CardGeneration, identify, parse_atr
from cardd.readers.errors import AtrError, CardNumberError, PcscCode, PcscError
from cardd.readers.lanes import Listener
from cardd.readers.names import ReaderName
from cardd.readers.pcsc import Availability, PcscApi, SystemPcsc, available
from cardd.readers.registry import Readers
from cardd.readers.serial import CardNumber, CardSerial, Reading, ReadingOutcome, read_card_number
from cardd.readers.types import (
    CardIdentified,
    CardInserted,
    CardRemoved,
    ReaderAdded,
    ReaderChanged,
    ReaderCondition,
    ReaderRemoved,
    ReadersEvent,
    ReaderState,
    ServiceDown,
    ServiceUp,
)
from cardd.readers.watch import ReaderWatch

__all__ = [
    "Atr",
    "AtrError",
    "Availability",
    "CardGeneration",
    "CardIdentified",
    "CardInserted",
    "CardNumber",
    "CardNumberError",
    "CardRemoved",
    "CardSerial",
    "Listener",
    "PcscApi",
    "PcscCode",
    "PcscError",
    "ReaderAdded",
    "ReaderChanged",
    "ReaderCondition",
    "ReaderName",
    "ReaderRemoved",
    "ReaderState",
    "ReaderWatch",
    "Readers",
    "ReadersEvent",
    "Reading",
    "ReadingOutcome",
    "ServiceDown",
    "ServiceUp",
    "SystemPcsc",
    "available",
    "identify",
    "parse_atr",
    "read_card_number",
]
