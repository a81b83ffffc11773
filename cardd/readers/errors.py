"""What the readers' room can refuse."""

from enum import IntEnum, unique
from typing import Final

from cardd.errors import CarddError, UnavailableError
from cardd.text import Text


@unique
class PcscCode(IntEnum):
    """Return codes of the PC/SC calls that are decided on here (pcsc-lite, pcsclite.h)."""

    CANCELLED = 0x80100002
    INVALID_HANDLE = 0x80100003
    UNKNOWN_READER = 0x80100009
    TIMEOUT = 0x8010000A
    SHARING_VIOLATION = 0x8010000B
    NO_SMARTCARD = 0x8010000C
    PROTO_MISMATCH = 0x8010000F
    COMM_ERROR = 0x80100013
    """What a wait returns when pcscd dies under it."""
    NOT_TRANSACTED = 0x80100016
    READER_UNAVAILABLE = 0x80100017
    NO_SERVICE = 0x8010001D
    """pcscd is not running, or a context outlived the pcscd it was made with."""
    SERVICE_STOPPED = 0x8010001E
    NO_READERS_AVAILABLE = 0x8010002E
    """No reader at all: a normal state, not a failure."""
    UNRESPONSIVE_CARD = 0x80100066
    UNPOWERED_CARD = 0x80100067
    RESET_CARD = 0x80100068
    """Another program reset the card since the connection was made."""
    REMOVED_CARD = 0x80100069


#: The card left, or its reader did.
CARD_IS_GONE: Final = frozenset(
    {
        PcscCode.NO_SMARTCARD,
        PcscCode.REMOVED_CARD,
        PcscCode.UNKNOWN_READER,
        PcscCode.READER_UNAVAILABLE,
        PcscCode.NO_READERS_AVAILABLE,
    }
)


class PcscError(UnavailableError):
    """A PC/SC call failed; `result` is its return code."""

    code = "pcsc_failed"
    title = Text("The smart card service refused a call", "Le service de cartes à puce a refusé un appel")

    def __init__(self, result: int, call: str) -> None:
        self.result = result & 0xFFFFFFFF
        named = f"0x{self.result:08X}"
        known = next((each.name for each in PcscCode if each == self.result), None)
        if known is not None:
            named += f" ({known})"
        super().__init__(
            Text(f"{call} returned {named}.", f"{call} a renvoyé {named}."), result=f"0x{self.result:08X}"
        )


class AtrError(CarddError):
    """The bytes are not an answer to reset."""

    code = "atr_invalid"
    status = 422
    title = Text("Not an answer to reset", "Ce n’est pas une réponse à la remise à zéro")
    default_advice = Text(
        "Take the card out, clean its contacts and insert it again.",
        "Retirez la carte, nettoyez ses contacts et réinsérez-la.",
    )


class CardNumberError(CarddError):
    """EF.SN does not hold a card's number."""

    code = "card_number_invalid"
    status = 422
    title = Text("The card's number cannot be read", "Le numéro de la carte est illisible")
    default_advice = Text(
        "Use a CPS3 card; other cards of the family are recognised but not read.",
        "Utilisez une carte CPS3 ; les autres cartes de la famille sont reconnues sans être lues.",
    )
