"""The elements of DER (ITU-T X.690) that lists are cut into: where contents begin and end.

An index beyond the data raises `IndexError`, anything else that is not DER `ValueError`.
"""

SEQUENCE, INTEGER = 0x30, 0x02
UTC_TIME, GENERALIZED_TIME = 0x17, 0x18


def sequence(inside: bytes) -> bytes:
    """Return a SEQUENCE of what is encoded already."""
    size = len(inside)
    if size < 0x80:
        return bytes([SEQUENCE, size]) + inside
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([SEQUENCE, 0x80 | len(octets)]) + octets + inside


def contents(der: bytes | memoryview, at: int, tag: int) -> tuple[int, int]:
    """Return where the contents of the element at `at` begin and end."""
    if der[at] != tag:
        raise ValueError(f"tag {der[at]:#04x} where {tag:#04x} is due")
    return span(der, at)


def after(der: bytes | memoryview, at: int) -> int:
    """Return where the element at `at` ends."""
    return span(der, at)[1]


def span(der: bytes | memoryview, at: int) -> tuple[int, int]:
    """Return where the contents of the element at `at` begin and end, whatever its tag."""
    length = der[at + 1]
    if length < 0x80:
        return at + 2, at + 2 + length
    size = length & 0x7F
    if not 1 <= size <= 5:
        raise ValueError("a length that DER does not have")
    start = at + 2 + size
    return start, start + int.from_bytes(der[at + 2 : start], "big")
