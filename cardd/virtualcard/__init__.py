"""A CPS3 card in software, which pcscd, OpenSC and ANS's Cryptolib take for a real one.

`Card` is the card itself, bytes in and bytes out; `VirtualCard` puts it in a virtual reader;
`ConfinedPcscd` runs a private pcscd whose readers nobody else can reach.
"""

from cardd.virtualcard.card import Card
from cardd.virtualcard.confined import ConfinedPcscd
from cardd.virtualcard.content import (
    Activity,
    CardContent,
    CardCredential,
    CardHolder,
    CardKey,
    CardProfile,
    CardSerial,
    CardType,
    Generation,
    Interface,
    KeyRole,
    Labels,
    SoftwareCardKey,
)
from cardd.virtualcard.faults import (
    AlreadyLocked,
    ConnectionLost,
    CorruptedCertificate,
    Fault,
    LastWrongPinAnswers,
    MuteAtPowerOn,
    Silent,
    Slow,
    When,
    WrongStatus,
)
from cardd.virtualcard.runner import CardEvent, VirtualCard
from cardd.virtualcard.slots import VirtualReaderName, VirtualReaders
from cardd.virtualcard.state import FileStateStore, MemoryStateStore, StateStore
from cardd.virtualcard.vpcd import FIRST_PORT, SECOND_PORT, Connector, tcp_connector

__all__ = [
    "FIRST_PORT",
    "SECOND_PORT",
    "Activity",
    "AlreadyLocked",
    "Card",
    "CardContent",
    "CardCredential",
    "CardEvent",
    "CardHolder",
    "CardKey",
    "CardProfile",
    "CardSerial",
    "CardType",
    "ConfinedPcscd",
    "ConnectionLost",
    "Connector",
    "CorruptedCertificate",
    "Fault",
    "FileStateStore",
    "Generation",
    "Interface",
    "KeyRole",
    "Labels",
    "LastWrongPinAnswers",
    "MemoryStateStore",
    "MuteAtPowerOn",
    "Silent",
    "Slow",
    "SoftwareCardKey",
    "StateStore",
    "VirtualCard",
    "VirtualReaderName",
    "VirtualReaders",
    "When",
    "WrongStatus",
    "tcp_connector",
]
