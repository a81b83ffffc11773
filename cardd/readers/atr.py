"""Answers to reset: parsed after ISO/IEC 7816-3 §8, and told apart by their historical bytes."""

from dataclasses import dataclass
from enum import Enum, StrEnum, unique
from functools import reduce
from operator import xor
from typing import Final, NamedTuple

from cardd.readers.errors import AtrError
from cardd.text import Text

LONGEST_ATR: Final = 33
"""TS and at most 32 characters (ISO/IEC 7816-3 §8.2.1)."""


@unique
class Convention(Enum):
    """TS: how bits are coded on the line (ISO/IEC 7816-3 §8.1)."""

    DIRECT = 0x3B
    INVERSE = 0x3F


class InterfaceByte(NamedTuple):
    """One of TA1, TB1, TC1, TD1, TA2…"""

    letter: str
    level: int
    value: int


@dataclass(frozen=True)
class Atr:
    """An answer to reset in its parts."""

    raw: bytes
    convention: Convention
    interface_bytes: tuple[InterfaceByte, ...]
    historical_bytes: bytes
    is_checksum_right: bool | None
    """TCK makes the exclusive-or zero; False also when it is missing, None when none is due (T=0 alone)."""

    @property
    def protocols(self) -> tuple[int, ...]:
        """The transmission protocols offered, first one first; T=0 when nothing is said (§8.2.3)."""
        offered = [byte.value & 0x0F for byte in self.interface_bytes if byte.letter == "D"]
        return tuple(dict.fromkeys(protocol for protocol in offered if protocol != _GLOBAL)) or (0,)


@unique
class CardGeneration(StrEnum):
    """The members of the CPS family, as far as an answer to reset tells them apart."""

    CPS2TER = "cps2ter"
    CPS3 = "cps3"
    CPS3_CONTACTLESS = "cps3_contactless"
    CPS4 = "cps4"
    UNKNOWN = "unknown"
    """Not of the family: reported and left alone."""

    @property
    def has_readable_serial(self) -> bool:
        """Whether EF.SN is read: only where its place on the card is known."""
        return self in (CardGeneration.CPS3, CardGeneration.CPS3_CONTACTLESS)


def parse_atr(raw: bytes) -> Atr:
    """Take an answer to reset apart (ISO/IEC 7816-3 §8.2).

    A wrong or missing checksum is told, not refused, and bytes after the end are passed over: readers
    and cards in the field get both wrong.

    Raises:
        AtrError: an unknown first byte, or an end inside the interface or the historical bytes.
    """
    if len(raw) > LONGEST_ATR:
        raise _refusal("it is longer than 33 bytes", "elle dépasse 33 octets")
    if len(raw) < 2:
        raise _refusal("it is shorter than two bytes", "elle compte moins de deux octets")
    convention = next((each for each in Convention if each.value == raw[0]), None)
    if convention is None:
        raise _refusal("its first byte is neither 3B nor 3F", "son premier octet n’est ni 3B ni 3F")
    interface_bytes, position = _interface_bytes(raw)
    end = position + (raw[1] & 0x0F)
    if len(raw) < end:
        raise _refusal("its historical bytes are cut short", "ses octets historiques sont tronqués")
    return Atr(
        raw=raw,
        convention=convention,
        interface_bytes=interface_bytes,
        historical_bytes=raw[position:end],
        is_checksum_right=_checksum(raw, interface_bytes, end),
    )


def identify(raw: bytes) -> CardGeneration:
    """Return the generation of the card that answers `raw`; `UNKNOWN` for anything else, never an error."""
    try:
        return _BY_HISTORICAL_BYTES.get(parse_atr(raw).historical_bytes, CardGeneration.UNKNOWN)
    except AtrError:
        return CardGeneration.UNKNOWN


#: T=15 qualifies global interface bytes and is no protocol.
_GLOBAL: Final = 15
_LETTERS: Final = (("A", 0x10), ("B", 0x20), ("C", 0x40), ("D", 0x80))

#: The historical bytes are compared whole and the rest not at all: interface bytes describe the chip's
#: clock and protocols and change with the chip's supplier or the reader, the checksum follows them. In the
#: historical bytes (ISO/IEC 7816-4 §8.1.1) a contact card says 00 (COMPACT-TLV, status at the end), 12 2500
#: (country 250, France), 64 80 xx xx xx (pre-issuing data, which names the model: 82 02 12, 00 03 10,
#: 04 01 00). The meaning of these three bytes is not published, so no mask is put over them. The contactless
#: card says 31 B8, 64 04 B0 EC C1 (pre-issuing data of its IAS-ECC platform), 73 94 01 80, 82 90 00: other
#: IAS-ECC cards come close, one more reason to compare everything.
_BY_HISTORICAL_BYTES: Final = {
    bytes.fromhex("00 12 25 00 64 80 82 02 12 00 90 00"): CardGeneration.CPS2TER,
    bytes.fromhex("00 12 25 00 64 80 00 03 10 00 90 00"): CardGeneration.CPS3,
    bytes.fromhex("00 31 B8 64 04 B0 EC C1 73 94 01 80 82 90 00"): CardGeneration.CPS3_CONTACTLESS,
    bytes.fromhex("00 12 25 00 64 80 04 01 00 00 90"): CardGeneration.CPS4,
}


def _interface_bytes(raw: bytes) -> tuple[tuple[InterfaceByte, ...], int]:
    """Return the interface bytes and the place where the historical bytes begin."""
    found: list[InterfaceByte] = []
    position, level, announced = 2, 1, raw[1]
    while announced & 0xF0:
        following = 0
        for letter, bit in _LETTERS:
            if not announced & bit:
                continue
            if position >= len(raw):
                raise _refusal("its interface bytes are cut short", "ses octets d’interface sont tronqués")
            found.append(InterfaceByte(letter, level, raw[position]))
            following = raw[position] if letter == "D" else 0
            position += 1
        announced, level = following, level + 1
    return tuple(found), position


def _checksum(raw: bytes, interface_bytes: tuple[InterfaceByte, ...], end: int) -> bool | None:
    """TCK is due unless T=0 is the only protocol named (§8.2.5)."""
    if not any(byte.letter == "D" and byte.value & 0x0F for byte in interface_bytes):
        return None
    return len(raw) > end and reduce(xor, raw[1 : end + 1]) == 0


def _refusal(en: str, fr: str) -> AtrError:
    return AtrError(
        Text(
            f"These bytes are not an answer to reset: {en}.",
            f"Ces octets ne sont pas une réponse à la remise à zéro : {fr}.",
        )
    )
