"""BER-TLV objects as bytes: built in one expression, parsed with every length checked.

Tags of one to three bytes and lengths of up to 65535 bytes (ISO/IEC 7816-4 §5.2), which is all that
cards use.
"""

from collections.abc import Iterator
from typing import NamedTuple, Self

_LONGEST_TAG = 3


class TlvError(ValueError):
    """The bytes are not whole BER-TLV objects."""


class Tlv(bytes):
    """One encoded object: the bytes are the whole of it; `tag` and `value` are its parts."""

    _tag: int
    _value: bytes

    def __new__(cls, tag: int, *values: bytes) -> Self:
        """Encode `values`, one after the other, under `tag`."""
        value = b"".join(values)
        encoded = super().__new__(cls, encode_tag(tag) + encode_length(len(value)) + value)
        encoded._tag = tag
        encoded._value = value
        return encoded

    @property
    def tag(self) -> int:
        """The tag, its bytes read as one number (7F41, BF8101…)."""
        return self._tag

    @property
    def value(self) -> bytes:
        """The content, without tag and length."""
        return self._value

    @classmethod
    def parse_all(cls, data: bytes) -> list["Tlv"]:
        """Return every object in `data`.

        Raises:
            TlvError: `data` ends inside an object, or uses a form that cards do not.
        """
        return list(_objects(data))

    @classmethod
    def parse_one(cls, data: bytes, tag: int) -> "Tlv":
        """Return the only object in `data`, which must bear `tag`.

        Raises:
            TlvError: there is not exactly one object, or it bears another tag.
        """
        match cls.parse_all(data):
            case [Tlv(tag=found) as only] if found == tag:
                return only
        raise TlvError(f"expected exactly one object with tag {tag:X}")


class Header(NamedTuple):
    """What precedes a value: its tag, its length, and where it begins."""

    tag: int
    length: int
    start: int


def encode_tag(tag: int) -> bytes:
    """Return the bytes of a tag given as one number."""
    return tag.to_bytes(max(1, (tag.bit_length() + 7) // 8), "big")


def encode_length(length: int) -> bytes:
    """Return a length in its shortest definite form.

    Raises:
        TlvError: more than 65535.
    """
    if length < 0x80:
        return bytes([length])
    if length < 0x100:
        return bytes([0x81, length])
    if length < 0x10000:
        return b"\x82" + length.to_bytes(2, "big")
    raise TlvError("longer than 65535 bytes")


def read_tag(data: bytes, offset: int) -> tuple[int, int]:
    """Return the tag at `offset` and the offset behind it.

    Raises:
        TlvError: `data` ends inside the tag, or the tag is longer than three bytes.
    """
    end = offset + 1
    if offset >= len(data):
        raise TlvError("no tag")
    if data[offset] & 0x1F == 0x1F:
        while True:
            if end >= len(data) or end - offset >= _LONGEST_TAG:
                raise TlvError("tag cut short or longer than three bytes")
            end += 1
            if not data[end - 1] & 0x80:
                break
    return int.from_bytes(data[offset:end], "big"), end


def _objects(data: bytes) -> Iterator[Tlv]:
    offset = 0
    while offset < len(data):
        header = _read_header(data, offset)
        offset = header.start + header.length
        if offset > len(data):
            raise TlvError("value cut short")
        yield Tlv(header.tag, data[header.start : offset])


def _read_header(data: bytes, offset: int) -> Header:
    tag, offset = read_tag(data, offset)
    if offset >= len(data):
        raise TlvError("no length")
    first = data[offset]
    offset += 1
    if first < 0x80:
        return Header(tag, first, offset)
    width = first & 0x7F
    if width not in (1, 2) or offset + width > len(data):
        raise TlvError("length cut short or of an unused form")
    return Header(tag, int.from_bytes(data[offset : offset + width], "big"), offset + width)
