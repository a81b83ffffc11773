"""Making the table of a list's entries; its form is told in `tables`. Only the indexer's process loads this module."""

import os

import numpy as np
import numpy.typing as npt

from cardd.revocation.entries import REMOVE_FROM_CRL, VALUE_UNIT
from cardd.revocation.scanning import Bytes, Numbers, ScannedEntries, windows
from cardd.revocation.tables import HEADER, MAGIC, ROW_NUMBER_BYTES, WORD_BYTES, Shape

Words = npt.NDArray[np.uint64]

#: Rows worked on at once: their arrays stay in the processor's cache.
_BLOCK = 8 * 1024
#: Rows of a bucket, about; and most bits of a directory, whose row numbers take four bytes each.
_BUCKET_ROWS, _MOST_BITS = 4, 24
_NEGATIVE, _ALL_ONES = 0x80, 0xFF


def make_table(entries: ScannedEntries) -> memoryview:
    """Return the table of a list, ready to be stored.

    Of duplicate serials the first revocation stays, whatever follows; a `removeFromCRL` counts where there is
    nothing else.
    """
    serial_bytes = _whole_words(int((entries.serial_end - entries.serial).max(initial=1)))
    keys, prefixes = _keys(entries, serial_bytes), _prefix_words(entries)
    prefix_words = prefixes.shape[1]
    multipliers = _multipliers(prefix_words + keys.shape[1])
    mixed = _mixed(keys, multipliers[prefix_words:])
    if prefix_words:
        mixed += _mixed(prefixes, multipliers[:prefix_words])[entries.prefix]
    order, row = _sorted(mixed, entries, keys)
    shape = Shape(
        prefix_bytes=prefix_words * WORD_BYTES,
        serial_bytes=serial_bytes,
        bits=min(max((len(row) // _BUCKET_ROWS).bit_length(), 1), _MOST_BITS),
        rows=len(row),
    )
    table = np.empty(shape.rows_at + shape.rows * shape.row_bytes, np.uint8)
    HEADER.pack_into(table.data, 0, MAGIC, *shape)
    table[HEADER.size : shape.directory_at] = multipliers.astype("<u8").view(np.uint8)
    table[shape.directory_at : shape.rows_at] = _directory(order, shape)
    rows = table[shape.rows_at :].view("<u8").reshape(shape.rows, shape.words + 1)
    for start in range(0, len(row), _BLOCK):
        part, into = row[start : start + _BLOCK], rows[start : start + _BLOCK]
        if prefix_words:
            into[:, :prefix_words] = prefixes[entries.prefix[part]]
        into[:, prefix_words:-1] = keys[part]
        into[:, -1] = entries.value[part].view(np.uint64)
    return table.data


def _keys(entries: ScannedEntries, serial_bytes: int) -> Words:
    """Return the serials as signed big-endian numbers of `serial_bytes`: their bytes, in words."""
    der, begins, ends = entries.der, entries.serial, entries.serial_end
    if len(ends) and ends[0] < serial_bytes:  # a list's head may be shorter than a key
        der = np.concatenate([np.zeros(serial_bytes, np.uint8), der])
        begins, ends = begins + serial_bytes, ends + serial_bytes
    window = windows(der, f"V{serial_bytes}")
    keys = np.empty((len(ends), serial_bytes), np.uint8)
    for start in range(0, len(ends), _BLOCK):
        begin, end = begins[start : start + _BLOCK], ends[start : start + _BLOCK]
        part = keys[start : start + _BLOCK]
        part[:] = window[end - serial_bytes].view(np.uint8).reshape(-1, serial_bytes)
        size, sign = end - begin, np.where(der[begin] >= _NEGATIVE, _ALL_ONES, 0)
        for each in np.flatnonzero(np.bincount(size)).tolist():
            if each < serial_bytes:
                rows = np.flatnonzero(size == each)
                part[rows, : serial_bytes - each] = sign[rows, None]
    return keys.view(np.uint64)


def _prefix_words(entries: ScannedEntries) -> Words:
    joined = np.frombuffer(b"".join(entries.prefixes), np.uint64)
    return joined.reshape(len(entries.prefixes), -1) if entries.prefixes else np.empty((0, 0), np.uint64)


def _multipliers(words: int) -> Words:
    return np.frombuffer(os.urandom(WORD_BYTES * words), np.uint64) | np.uint64(1)


def _mixed(words: Words, multipliers: Words) -> Words:
    """Return the sum of each row's words, read as big-endian numbers, times their multipliers."""
    mixed = np.zeros(len(words), np.uint64)
    for start in range(0, len(words), _BLOCK):
        part = words[start : start + _BLOCK].view(">u8")
        for column, multiplier in enumerate(multipliers):
            mixed[start : start + _BLOCK] += part[:, column].astype(np.uint64) * multiplier
    return mixed


def _sorted(mixed: Words, entries: ScannedEntries, keys: Words) -> tuple[Words, Numbers]:
    """Return the mixed keys in order, with the number of their entry in the low bits, and these numbers."""
    number_bits = np.uint64(max(len(mixed), 1).bit_length())
    numbers = (np.uint64(1) << number_bits) - np.uint64(1)
    order = (mixed & ~numbers) | np.arange(len(mixed), dtype=np.uint64)
    order.sort()
    alike = np.flatnonzero((order[1:] ^ order[:-1]) <= numbers)
    row = (order & numbers).astype(np.int64)
    if len(alike):
        unique = np.ones(len(row), np.bool_)
        unique[_repeated(row, np.union1d(alike, alike + 1).tolist(), entries, keys)] = False
        order, row = order[unique], row[unique]
    return order, row


def _repeated(row: Numbers, places: list[int], entries: ScannedEntries, keys: Words) -> list[int]:
    """Return which of the places in `row` are of entries that another of the same serial replaces."""
    kept: dict[tuple[int, bytes], int] = {}
    dropped = []
    for place in places:
        entry = row[place]
        key = (int(entries.prefix[entry]) if entries.prefixes else 0, keys[entry].tobytes())
        first = kept.setdefault(key, place)
        if first == place:
            continue
        if entries.value[row[first]] % VALUE_UNIT == REMOVE_FROM_CRL:
            kept[key] = place
            dropped.append(first)
        else:
            dropped.append(place)
    return dropped


def _directory(order: Words, shape: Shape) -> Bytes:
    bucket = (order >> np.uint64(64 - shape.bits)).astype(np.int64)
    begins = np.zeros((shape.rows_at - shape.directory_at) // ROW_NUMBER_BYTES, "<u4")
    buckets = 1 << shape.bits
    begins[1 : buckets + 1] = np.cumsum(np.bincount(bucket, minlength=buckets))
    return begins.view(np.uint8)


def _whole_words(size: int) -> int:
    return -(-size // WORD_BYTES) * WORD_BYTES
