"""The table of a list's entries: one block of bytes in which a serial is found without reading the rest.

    header      magic, bytes of a key's prefix and of its serial, bits of the directory, rows
    multipliers one 64-bit number for each eight bytes of a key
    directory   2**bits + 1 row numbers, 32 bits: where the rows of each bucket begin
    rows        key and value, sorted by bucket; all of one length

A key is the serial as a signed big-endian number of fixed length, so that -1 and 255 differ, after the hash
of its certificate issuer in an indirect list. A key's bucket is the top `bits` of the sum of its 64-bit words
times their multipliers, modulo 2**64 (multiply-shift hashing). The multipliers are drawn for each table, so
that nobody can choose serials that share a bucket. A value is the moment in seconds since 1970, times 256,
plus the reason: see `entries`. All numbers but keys are little-endian.
"""

import struct
from collections.abc import Callable
from operator import mul
from typing import NamedTuple

#: Looks a serial up; the prefix is that of the certificate's issuer, empty for a list of one issuer.
Find = Callable[[int, bytes], int | None]

MAGIC = b"cdt1"
HEADER = struct.Struct("<4sBBBxQ")
WORD_BYTES = 8
ROW_NUMBER_BYTES = 4
VALUE_BYTES = 8

_BOUNDS = struct.Struct("<II")
_VALUE = struct.Struct("<q")
_WORD = (1 << 64) - 1


class Shape(NamedTuple):
    """The sizes that a table's header gives, and where its parts begin."""

    prefix_bytes: int
    serial_bytes: int
    """Both are multiples of eight."""
    bits: int
    rows: int

    @property
    def words(self) -> int:
        """64-bit words of a key."""
        return (self.prefix_bytes + self.serial_bytes) // WORD_BYTES

    @property
    def row_bytes(self) -> int:
        """Length of a row."""
        return self.words * WORD_BYTES + VALUE_BYTES

    @property
    def directory_at(self) -> int:
        """Where the directory begins."""
        return HEADER.size + self.words * WORD_BYTES

    @property
    def rows_at(self) -> int:
        """Where the rows begin: after the directory, on a multiple of eight."""
        end = self.directory_at + ((1 << self.bits) + 1) * ROW_NUMBER_BYTES
        return -(-end // WORD_BYTES) * WORD_BYTES


class EntryTable:
    """A table that is looked into where it lies, such as in mapped memory."""

    def __init__(self, block: memoryview) -> None:
        """Read the header; raises `ValueError` for what is not a table of this form."""
        if len(block) < HEADER.size:
            raise ValueError("too short for a table of entries")
        magic, prefix_bytes, serial_bytes, bits, rows = HEADER.unpack_from(block)
        shape = Shape(prefix_bytes, serial_bytes, bits, rows)
        if magic != MAGIC or len(block) != shape.rows_at + rows * shape.row_bytes:
            raise ValueError("not a table of entries")
        self._block = block
        self._serial_bytes = serial_bytes
        self._words = struct.Struct(f">{shape.words}Q").unpack
        self._multipliers = struct.unpack_from(f"<{shape.words}Q", block, HEADER.size)
        self._shift = 64 - bits
        self._directory_at = shape.directory_at
        self._rows_at = shape.rows_at
        self._row_bytes = shape.row_bytes
        self._key_bytes = shape.words * WORD_BYTES

    def find(self, serial: int, prefix: bytes) -> int | None:
        """Return the value under a serial, None where it has none."""
        try:
            key = prefix + serial.to_bytes(self._serial_bytes, "big", signed=True)
        except OverflowError:
            return None
        bucket = (sum(map(mul, self._words(key), self._multipliers)) & _WORD) >> self._shift
        first, last = _BOUNDS.unpack_from(self._block, self._directory_at + ROW_NUMBER_BYTES * bucket)
        size = self._row_bytes
        rows = self._block[self._rows_at + first * size : self._rows_at + last * size].tobytes()
        at = rows.find(key)
        while at > 0 and at % size:  # the same bytes, across a key and its neighbours
            at = rows.find(key, at + 1)
        if at < 0:
            return None
        value: int = _VALUE.unpack_from(rows, at + self._key_bytes)[0]
        return value
