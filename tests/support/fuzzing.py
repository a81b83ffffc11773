"""What is given arbitrary bytes: each target lets no exception out but the documented ones."""

import contextlib
import struct
from collections.abc import Callable, Iterator
from functools import cache
from typing import Final

from cardd.cards.dataobjects import read_objects
from cardd.cards.recognition import recognise
from cardd.cards.types import CardSerial
from cardd.readers import AtrError, CardNumberError, identify, parse_atr
from cardd.readers.serial import parse_ef_sn
from cardd.virtualcard import Card, Interface, KeyRole
from cardd.virtualcard.tlv import Tlv, TlvError
from cardd_pkcs11.types import KeyId, ObjectInfo, ObjectKind
from tests.support.virtualcard import certificate, content, terminal

Target = Callable[[bytes], None]

LABELS: Final = (
    "CPS_DATA",
    "CPS_ID_CARD",
    "CPS_NAME_PS",
    "CPS_LANG_PS",
    "CPS_INFO_PS",
    "CPS_ACTIVITY_01_PS",
    "CPS_ACTIVITY_16_PS",
    "CPS_SIT_FACT",
)


def commands(data: bytes) -> None:
    """Give a card the commands that `data` holds, each after two bytes of length."""
    card = _card()
    card.reset()
    for command in _pieces(data):
        answer = card.transmit(command)
        assert 2 <= len(answer) <= 258
        assert answer[-2] & 0xF0 in (0x60, 0x90)


def atr(data: bytes) -> None:
    """Parse and identify an answer to reset."""
    identify(data)
    with contextlib.suppress(AtrError):
        parse_atr(data)


def ef_sn(data: bytes) -> None:
    """Parse a card's serial number file."""
    with contextlib.suppress(CardNumberError):
        parse_ef_sn(data)


def tlv(data: bytes) -> None:
    """Parse TLV objects, and theirs."""
    with contextlib.suppress(TlvError):
        for found in Tlv.parse_all(data):
            with contextlib.suppress(TlvError):
                Tlv.parse_all(found.value)


def certificates(data: bytes) -> None:
    """Recognise a card by what stands in the place of its authentication certificate."""
    label = "Certificat d'Authentification CPS"
    info = ObjectInfo(
        kind=ObjectKind.CERTIFICATE,
        label=label,
        key_id=KeyId(b"\x02"),
        private=False,
        application=None,
        certificate=data,
    )
    recognise([info])


def data_objects(data: bytes) -> None:
    """Read a card's data objects, each of which holds a piece of `data`."""
    pieces = list(_pieces(data)) or [data]
    objects = {label: pieces[number % len(pieces)] for number, label in enumerate(LABELS)}
    view = read_objects(CardSerial("00000017"), objects, complete=True)
    assert view.objects == tuple(sorted(LABELS))


TARGETS: Final[dict[str, Target]] = {
    target.__name__: target for target in (commands, atr, ef_sn, tlv, certificates, data_objects)
}
"""By name."""


def seeds(name: str) -> list[bytes]:
    """Return bytes that make sense to a target."""
    match name:
        case "commands":
            return [_packed("00A4040408 8025000001FF0100", "00200001 08 31323334FFFFFFFF", "00B09C000C")]
        case "atr":
            return [
                bytes.fromhex("3BAC00402A001225006480000310009000"),
                bytes.fromhex("3B8F80010031B86404B0ECC1739401808290000E"),
            ]
        case "ef_sn":
            return [bytes.fromhex("5A0A8025000001280063626F")]
        case "certificates":
            return [certificate(role) for role in KeyRole]
        case "data_objects":
            return [_packed("80 04 31323334 81 02 6162"), b"identifier=899700000017\nlast_name=X\n"]
        case _:
            return [bytes.fromhex("7F4906810180820103")]


@cache
def _card() -> Card:
    return terminal(card_content=content(interface=Interface.CONTACT)).card


def _packed(*pieces: str) -> bytes:
    raw = (bytes.fromhex(piece) for piece in pieces)
    return b"".join(struct.pack(">H", len(piece)) + piece for piece in raw)


def _pieces(data: bytes) -> Iterator[bytes]:
    while len(data) >= 2:
        length = int.from_bytes(data[:2], "big") % 301
        yield data[2 : 2 + length]
        data = data[2 + length :]
