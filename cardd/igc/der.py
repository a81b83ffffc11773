"""The few DER forms (ITU-T X.690) that `cryptography` does not write: parts of lists and private extensions."""

from datetime import datetime

TAG_INTEGER = 0x02
TAG_BIT_STRING = 0x03
TAG_OCTET_STRING = 0x04
TAG_OBJECT_IDENTIFIER = 0x06
TAG_ENUMERATED = 0x0A
TAG_UTF8_STRING = 0x0C
TAG_PRINTABLE_STRING = 0x13
TAG_UTC_TIME = 0x17
TAG_GENERALIZED_TIME = 0x18
TAG_SEQUENCE = 0x30

#: The first year that is written as a GeneralizedTime (RFC 5280 §4.1.2.5).
_FIRST_GENERALIZED_YEAR = 2050


def tlv(tag: int, *contents: bytes) -> bytes:
    """Return the tag, the definite length and the concatenated `contents`."""
    return b"".join((bytes([tag]), _length(sum(map(len, contents))), *contents))


def sequence(*elements: bytes) -> bytes:
    """Return a SEQUENCE of elements that are already encoded."""
    return tlv(TAG_SEQUENCE, *elements)


def integer(value: int) -> bytes:
    """Return an INTEGER: two's complement, in as few bytes as possible (X.690 §8.3)."""
    size = (value.bit_length() if value >= 0 else (value + 1).bit_length()) // 8 + 1
    return tlv(TAG_INTEGER, value.to_bytes(size, "big", signed=True))


def time(moment: datetime) -> bytes:
    """Return a Time: UTCTime through 2049, GeneralizedTime from 2050, in whole seconds (RFC 5280 §4.1.2.5).

    `moment` is an aware datetime in UTC.
    """
    if moment.year >= _FIRST_GENERALIZED_YEAR:
        return tlv(TAG_GENERALIZED_TIME, moment.strftime("%Y%m%d%H%M%SZ").encode())
    return tlv(TAG_UTC_TIME, moment.strftime("%y%m%d%H%M%SZ").encode())


def element(data: bytes, at: int) -> tuple[int, int]:
    """Return where the contents of the element at `at` begin and end, in DER that was written here."""
    length, start = data[at + 1], at + 2
    if length < 0x80:
        return start, start + length
    size = length & 0x7F
    return start + size, start + size + int.from_bytes(data[start : start + size], "big")


def _length(length: int) -> bytes:
    if length < 0x80:
        return bytes([length])
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([0x80 | len(octets)]) + octets
