"""Reading all entries of a list at once: array operations over blocks of its bytes, no object an entry.

In a block, every place that looks like an entry of the usual form is found at once. If each of them ends where
the next begins, from the first byte of the block on, they are the block's entries: none is missing between two
that touch. Where they do not touch (an entry of an unusual form, or bytes inside one that look like another),
that block is walked entry by entry. Only the indexer's process loads this module, and NumPy with it.
"""

from bisect import bisect_left
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cardd.revocation.elements import GENERALIZED_TIME, INTEGER, SEQUENCE, UTC_TIME
from cardd.revocation.entries import (
    LONGEST_SERIAL,
    TIMES,
    VALUE_UNIT,
    EntryParts,
    Extensions,
    entry_parts,
    read_extensions,
)
from cardd.revocation.errors import ListRefusedError
from cardd.revocation.lists import ParsedList

Bytes = npt.NDArray[np.uint8]
Numbers = npt.NDArray[np.int64]

#: Bytes of entries worked on at once: their arrays stay in the processor's cache.
_BLOCK = 256 * 1024
#: Extensions remembered at most, by their bytes.
_MOST_REMEMBERED = 4096


class ScannedEntries(NamedTuple):
    """The entries of a list, in its order."""

    der: Bytes
    """The whole list."""
    serial: Numbers
    """Where each serial's contents begin."""
    serial_end: Numbers
    value: Numbers
    """See `entries.VALUE_UNIT`."""
    prefixes: tuple[bytes, ...]
    """Of the certificate issuers of an indirect list."""
    prefix: Numbers
    """Of each entry of an indirect list, the number of its prefix."""


def scan(parsed: ParsedList, default_issuer: bytes | None) -> ScannedEntries:
    """Read every entry.

    `default_issuer` is the prefix of an indirect list's own issuer: its entries are of that issuer until one
    names another (RFC 5280 §5.3.3). None stands for a list that is not indirect. Raises `ListRefusedError` for
    an entry that cannot be read or has a critical extension nobody here knows.
    """
    try:
        return _scan(parsed, default_issuer)
    except (ValueError, IndexError) as error:
        raise ListRefusedError.of(
            "malformed",
            f"An entry of the list cannot be read ({error}).",
            f"Une entrée de la liste est illisible ({error}).",
        ) from None


def windows(der: Bytes, dtype: str) -> npt.NDArray[np.generic]:
    """Return the view whose element at each place is what begins there, aligned or not."""
    size = np.dtype(dtype).itemsize
    return np.ndarray((max(len(der) - size + 1, 0),), dtype, der.data, strides=(1,))


class _Block(NamedTuple):
    """Where the parts of the entries of a block are: the fields of `entries.EntryParts`, as columns."""

    start: Numbers
    serial: Numbers
    serial_end: Numbers
    time: Numbers
    time_tag: Numbers
    extensions: Numbers
    end: Numbers


def _scan(parsed: ParsedList, default_issuer: bytes | None) -> ScannedEntries:
    der = np.frombuffer(parsed.der, np.uint8)
    extensions = _ExtensionReader(der, default_issuer)
    columns: list[tuple[Numbers, Numbers, Numbers]] = []
    for block in _blocks(der, *parsed.entries):
        value = _seconds(der, block) * VALUE_UNIT + extensions.reasons(block)
        columns.append((block.serial, block.serial_end, value))
    none = np.empty(0, np.int64)
    serial, serial_end, value = map(np.concatenate, zip(*(columns or [(none, none, none)]), strict=True))
    return ScannedEntries(der, serial, serial_end, value, *extensions.issuers(len(value)))


def _blocks(der: Bytes, at: int, end: int) -> Iterator[_Block]:
    while at < end:
        stop = min(at + _BLOCK, end)
        block = _usual_entries(der, at, stop, end)
        if not (len(block.start) and block.start[0] == at and (block.end[:-1] == block.start[1:]).all()):
            block = _walked(der, block, at, stop)
        yield block
        at = int(block.end[-1])
    if at != end:
        raise ValueError("the entries' lengths do not agree")


def _usual_entries(der: Bytes, at: int, stop: int, end: int) -> _Block:
    """Find what looks like an entry of less than 128 bytes between `at` and `stop`."""
    likely = der[at:stop] == SEQUENCE
    likely &= der[at + 2 : stop + 2] == INTEGER
    start = np.flatnonzero(likely) + at
    length, size = der.take(start + 1, mode="clip"), der.take(start + 3, mode="clip")
    serial = start + 4
    serial_end = serial + size
    tag = der.take(serial_end, mode="clip")
    time_length = der.take(serial_end + 1, mode="clip")
    time = serial_end + 2
    extensions = time + time_length
    entry_end = start + 2 + length
    fits = (length < 0x80) & (size > 0) & (size <= LONGEST_SERIAL)
    fits &= (extensions <= entry_end) & (entry_end <= end)
    fits &= ((tag == UTC_TIME) & (time_length == TIMES[UTC_TIME])) | (
        (tag == GENERALIZED_TIME) & (time_length == TIMES[GENERALIZED_TIME])
    )
    block = _Block(start, serial, serial_end, time, tag.astype(np.int64), extensions, entry_end)
    return block if fits.all() else _Block(*(column[fits] for column in block))


def _walked(der: Bytes, usual: _Block, at: int, stop: int) -> _Block:
    """Follow the entries one by one from `at`: those found and, between them, those of another form."""
    starts, ends = usual.start.tolist(), usual.end.tolist()
    order: list[int] = []
    others: list[EntryParts] = []
    found = 0
    while at < stop:
        found = bisect_left(starts, at, found)
        if found < len(starts) and starts[found] == at:
            order.append(found)
            at = ends[found]
        else:
            other = entry_parts(der.data, at)
            order.append(len(starts) + len(others))
            others.append(other)
            at = other.end
    table = np.array(usual, np.int64)
    if others:
        table = np.concatenate([table, np.array(others, np.int64).T], axis=1)
    return _Block(*table[:, order])


def _seconds(der: Bytes, block: _Block) -> Numbers:
    """Return the moments of entries in seconds since 1970; raises `ValueError` for what is none."""
    short = block.time_tag == UTC_TIME
    if short.all():
        return _moments(der, block.time, UTC_TIME)
    seconds = np.empty(len(short), np.int64)
    seconds[short] = _moments(der, block.time[short], UTC_TIME)
    seconds[~short] = _moments(der, block.time[~short], GENERALIZED_TIME)
    return seconds


_ZERO, _ZULU = ord("0"), ord("Z")
#: Days before each month, and in it, in common years and in leap years; months are counted from 1.
_MONTH_DAYS = np.array(
    [
        [0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31],
        [0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31],
    ]
)
_DAYS_BEFORE = np.cumsum(_MONTH_DAYS, axis=1) - _MONTH_DAYS
_DAYS_BEFORE_1970 = 719_162
_NOT_A_TIME = "an entry's time is not valid"


def _moments(der: Bytes, at: Numbers, tag: int) -> Numbers:
    digits = TIMES[tag] - 1
    given = windows(der, f"V{digits}")[at].view(np.uint8).reshape(-1, digits) - _ZERO
    if not ((given <= 9).all() and (der[at + digits] == _ZULU).all()):
        raise ValueError(_NOT_A_TIME)
    pairs = (given[:, 0::2] * 10 + given[:, 1::2]).T.astype(np.int64)
    # RFC 5280 §4.1.2.5.1: two digits of 50 and more are of the twentieth century.
    century = np.where(pairs[0] < 50, 2000, 1900) if tag == UTC_TIME else pairs[0] * 100
    year = century + pairs[-6]
    month, day, hour, minute, second = pairs[-5:]
    leap = ((year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))).astype(np.int64)
    valid = (year > 0) & (month > 0) & (month <= 12) & (hour < 24) & (minute < 60) & (second < 60)
    valid &= (day > 0) & (day <= _MONTH_DAYS[leap, np.minimum(month, 12)])
    if not valid.all():
        raise ValueError(_NOT_A_TIME)
    before = year - 1
    days = before * 365 + before // 4 - before // 100 + before // 400 - _DAYS_BEFORE_1970
    days += _DAYS_BEFORE[leap, month] + day - 1
    seconds: Numbers = ((days * 24 + hour) * 60 + minute) * 60 + second
    return seconds


#: An entry's extensions that are a CRLReason and nothing else: all but the last byte, in numbers that compare at once.
_REASON_ONLY = bytes.fromhex("300C300A0603551D1504030A01")
_REASON_ONLY_BYTES = len(_REASON_ONLY) + 1
_FIRST_8, _NEXT_4 = (int.from_bytes(part, "little") for part in (_REASON_ONLY[:8], _REASON_ONLY[8:12]))
_IS_REASON = np.array([number <= 10 and number != 7 for number in range(256)])


class _ExtensionReader:
    """Reads the extensions of blocks of entries, and follows the certificate issuer from one to the next."""

    def __init__(self, der: Bytes, default_issuer: bytes | None) -> None:
        self._der = der
        self._first_8, self._next_4 = windows(der, "<u8"), windows(der, "<u4")
        self._is_indirect = default_issuer is not None
        self._prefixes = {} if default_issuer is None else {default_issuer: 0}
        self._changes: list[tuple[int, int]] = []
        self._read = 0
        self._remembered: dict[bytes, Extensions] = {}

    def reasons(self, block: _Block) -> Numbers:
        """Return the reason of every entry of the next block."""
        der, at = self._der, block.extensions
        size = block.end - at
        reason = np.zeros(len(size), np.int64)
        rows = np.flatnonzero(size == _REASON_ONLY_BYTES)
        place = at[rows]
        given = der[place + _REASON_ONLY_BYTES - 1]
        plain = (self._first_8[place] == _FIRST_8) & (self._next_4[place + 8] == _NEXT_4)
        plain &= (der[place + 12] == _REASON_ONLY[12]) & _IS_REASON[given]
        reason[rows[plain]] = given[plain]
        size[rows[plain]] = 0
        for row in np.flatnonzero(size).tolist():
            found = self._extensions(der[at[row] : block.end[row]].tobytes())
            reason[row] = found.reason
            if found.issuer is not None:
                self._change(row, found.issuer)
        self._read += len(size)
        return reason

    def issuers(self, entries: int) -> tuple[tuple[bytes, ...], Numbers]:
        """Return the prefixes of the issuers, and of each entry the number of its own."""
        if not self._is_indirect:
            return (), np.empty(0, np.int64)
        rows, prefixes = np.array([(0, 0), *self._changes], np.int64).T
        return tuple(self._prefixes), np.repeat(prefixes, np.diff(rows, append=entries))

    def _extensions(self, encoded: bytes) -> Extensions:
        found = self._remembered.get(encoded)
        if found is None:
            found = read_extensions(encoded)
            if len(self._remembered) >= _MOST_REMEMBERED:
                self._remembered.clear()
            self._remembered[encoded] = found
        return found

    def _change(self, row: int, issuer: bytes) -> None:
        if not self._is_indirect:
            raise ListRefusedError.of(
                "indirect_entry",
                "An entry names a certificate issuer, and the list does not say that it is indirect.",
                "Une entrée nomme un émetteur de certificat, et la liste ne se dit pas indirecte.",
            )
        prefix = self._prefixes.setdefault(issuer, len(self._prefixes))
        self._changes.append((self._read + row, prefix))
