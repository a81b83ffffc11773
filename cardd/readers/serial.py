"""A card's number, read from EF.SN without a PIN, through a shared connection that leaves the card as it was.

A card is its serial. It is read anew after every insertion: all CPS3 share one answer to reset.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum, unique
from typing import Final, NamedTuple, NewType

from cardd.readers.errors import CARD_IS_GONE, CardNumberError, PcscCode, PcscError
from cardd.readers.names import Context, ReaderName
from cardd.readers.pcsc import Connection, PcscApi, ReaderStatus
from cardd.text import Text

CardSerial = NewType("CardSerial", str)
"""Eight digits."""


class CardNumber(NamedTuple):
    """What EF.SN holds."""

    issuer: str
    """Ten digits: 80, country 250, issuer 00001."""
    serial: CardSerial


@unique
class ReadingOutcome(Enum):
    """How the reading of a serial ended."""

    READ = "read"
    REMOVED = "removed"
    """The card left, or another came, before the reading was over."""
    IN_USE = "in_use"
    """Another program has the card for itself alone."""
    REFUSED = "refused"
    """The card answers, but not as a CPS3 would."""
    FAILED = "failed"
    """The card does not answer, or pcscd does not."""


@dataclass(frozen=True)
class Reading:
    """The end of a reading: a number if it was read, else what came instead."""

    outcome: ReadingOutcome
    number: CardNumber | None = None
    reason: str = ""


def read_card_number(api: PcscApi, reader: ReaderName, counter: int) -> Reading:
    """Read the number of the card in `reader`, in a context of its own; blocks, never raises `PcscError`.

    `counter` is the reader's event counter when the card arrived: if it has moved at the end, the number
    may be another card's and is not returned.
    """
    try:
        return _read_twice(api, reader, counter)
    except PcscError as error:
        return Reading(_outcome_of(error), reason=error.detail.en)
    except CardNumberError as error:
        return Reading(ReadingOutcome.REFUSED, reason=error.detail.en)


def parse_ef_sn(content: bytes) -> CardNumber:
    """Read EF.SN: `5A 0A`, five bytes of issuer, four of serial (BCD), a check digit and F.

    The check digit is not verified: over which digits it is computed is not published.

    Raises:
        CardNumberError: another length, tag or filler, or digits that are none.
    """
    digits = content[2:].hex().upper()
    if len(content) != _EF_SN_LENGTH or content[:2] != _EF_SN_HEADER or digits[-1] != "F":
        raise _refusal(f"EF.SN holds {content.hex()}", f"EF.SN contient {content.hex()}")
    if not digits[:-1].isdecimal():
        raise _refusal("EF.SN holds other things than digits", "EF.SN contient autre chose que des chiffres")
    return CardNumber(digits[:10], CardSerial(digits[10:18]))


_EF_SN_LENGTH: Final = 12
_EF_SN_HEADER: Final = bytes.fromhex("5A0A")
_ROOT_AID: Final = bytes.fromhex("80250000 01FF0100")
#: SELECT by DF name, no answer wanted (ISO/IEC 7816-4 §11.2.2).
_SELECT_ROOT: Final = bytes([0x00, 0xA4, 0x04, 0x0C, len(_ROOT_AID)]) + _ROOT_AID
#: READ BINARY of short file identifier 1C from its beginning (§11.3.3).
_READ_EF_SN: Final = bytes([0x00, 0xB0, 0x80 | 0x1C, 0x00, _EF_SN_LENGTH])
_OK: Final = b"\x90\x00"
_MORE_DATA: Final = 0x61
_WRONG_LE: Final = 0x6C
_MOST_EXCHANGES: Final = 8
"""A card that sends 61xx or 6Cxx for ever is not waited for."""


def _read_twice(api: PcscApi, reader: ReaderName, counter: int) -> Reading:
    """Read again, once, when another program reset the card meanwhile."""
    with _context(api) as context:
        try:
            number = _read(api, context, reader)
        except PcscError as error:
            if error.result != PcscCode.RESET_CARD:
                raise
            number = _read(api, context, reader)
        (status,) = api.wait_for_change(context, [ReaderStatus(reader)], 0)
        if status.counter != counter:
            return Reading(ReadingOutcome.REMOVED, reason="another card came meanwhile")
        return Reading(ReadingOutcome.READ, number)


def _read(api: PcscApi, context: Context, reader: ReaderName) -> CardNumber:
    with _transaction(api, context, reader) as connection:
        _exchange(api, connection, _SELECT_ROOT)
        return parse_ef_sn(_exchange(api, connection, _READ_EF_SN))


def _exchange(api: PcscApi, connection: Connection, command: bytes) -> bytes:
    """Send a command and fetch its whole answer, the T=0 way when asked to (ISO/IEC 7816-3 §12.2)."""
    data, sent = b"", command
    for _ in range(_MOST_EXCHANGES):
        answer = api.transmit(connection, sent)
        data, status = data + answer[:-2], answer[-2:]
        if status == _OK:
            return data
        if len(status) == 2 and status[0] == _MORE_DATA:
            sent = bytes([command[0], 0xC0, 0x00, 0x00, status[1]])
        elif len(status) == 2 and status[0] == _WRONG_LE and len(sent) == 5:
            sent = sent[:4] + status[1:]
        else:
            break
    raise _refusal(
        f"the card answers {status.hex()} to {command[:4].hex()}",
        f"la carte répond {status.hex()} à {command[:4].hex()}",
    )


@contextmanager
def _context(api: PcscApi) -> Iterator[Context]:
    context = api.establish_context()
    try:
        yield context
    finally:
        api.release_context(context)


@contextmanager
def _transaction(api: PcscApi, context: Context, reader: ReaderName) -> Iterator[Connection]:
    connection = api.connect(context, reader)
    try:
        api.begin_transaction(connection)
        try:
            yield connection
        finally:
            api.end_transaction(connection)
    finally:
        api.disconnect(connection)


def _outcome_of(error: PcscError) -> ReadingOutcome:
    if error.result in CARD_IS_GONE:
        return ReadingOutcome.REMOVED
    if error.result == PcscCode.SHARING_VIOLATION:
        return ReadingOutcome.IN_USE
    return ReadingOutcome.FAILED


def _refusal(en: str, fr: str) -> CardNumberError:
    return CardNumberError(
        Text(f"The card's number cannot be read: {en}.", f"Le numéro de la carte ne peut pas être lu : {fr}.")
    )
