"""SHA-1 and SHA-256 that go on from an intermediate state (FIPS 180-4).

A card hashes only the last block of a message: the driver sends the state reached after the blocks
before it. No library lets a caller set that state (hashlib, cryptography and OpenSSL's own interface
keep it to themselves), hence these two compression functions. Nothing else may use them: whole
messages are hashed with `hashlib`.
"""

import hashlib
import struct
from collections.abc import Callable, Sequence
from enum import Enum

BLOCK = 64
_MASK = 0xFFFFFFFF
_SHA1_CONSTANTS = (0x5A827999, 0x6ED9EBA1, 0x8F1BBCDC, 0xCA62C1D6)


def _primes(count: int) -> list[int]:
    found: list[int] = []
    candidate = 2
    while len(found) < count:
        if all(candidate % prime for prime in found):
            found.append(candidate)
        candidate += 1
    return found


def _cube_root_fraction(number: int) -> int:
    """Return the first 32 bits of the fraction of the cube root, the way FIPS 180-4 §4.2.2 defines its constants."""
    target = number << 96
    low, high = 0, 1 << 40
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if middle**3 <= target else (low, middle - 1)
    return low & _MASK


_SHA256_CONSTANTS = tuple(_cube_root_fraction(prime) for prime in _primes(64))


def _left(word: int, by: int) -> int:
    return (word << by | word >> (32 - by)) & _MASK


def _right(word: int, by: int) -> int:
    return (word >> by | word << (32 - by)) & _MASK


def _sha1_block(state: Sequence[int], block: bytes) -> list[int]:
    """FIPS 180-4 §6.1.2."""
    schedule = list(struct.unpack(">16I", block))
    for t in range(16, 80):
        schedule.append(_left(schedule[t - 3] ^ schedule[t - 8] ^ schedule[t - 14] ^ schedule[t - 16], 1))
    a, b, c, d, e = state
    for t, word in enumerate(schedule):
        if t < 20:
            mixed = b & c | ~b & d
        elif 40 <= t < 60:
            mixed = b & c | b & d | c & d
        else:
            mixed = b ^ c ^ d
        a, b, c, d, e = (
            (_left(a, 5) + mixed + e + _SHA1_CONSTANTS[t // 20] + word) & _MASK,
            a,
            _left(b, 30),
            c,
            d,
        )
    return [(old + new) & _MASK for old, new in zip(state, (a, b, c, d, e), strict=True)]


def _sha256_block(state: Sequence[int], block: bytes) -> list[int]:
    """FIPS 180-4 §6.2.2."""
    schedule = list(struct.unpack(">16I", block))
    for t in range(16, 64):
        early, late = schedule[t - 15], schedule[t - 2]
        sigma0 = _right(early, 7) ^ _right(early, 18) ^ early >> 3
        sigma1 = _right(late, 17) ^ _right(late, 19) ^ late >> 10
        schedule.append((schedule[t - 16] + sigma0 + schedule[t - 7] + sigma1) & _MASK)
    a, b, c, d, e, f, g, h = state
    for constant, word in zip(_SHA256_CONSTANTS, schedule, strict=True):
        first = (
            h + (_right(e, 6) ^ _right(e, 11) ^ _right(e, 25)) + (e & f ^ ~e & g) + constant + word
        ) & _MASK
        second = ((_right(a, 2) ^ _right(a, 13) ^ _right(a, 22)) + (a & b ^ a & c ^ b & c)) & _MASK
        a, b, c, d, e, f, g, h = (first + second) & _MASK, a, b, c, (d + first) & _MASK, e, f, g
    return [(old + new) & _MASK for old, new in zip(state, (a, b, c, d, e, f, g, h), strict=True)]


class CardHash(Enum):
    """A hash algorithm the card knows: digest length in bytes, compression function, DigestInfo prefix."""

    SHA1 = (20, _sha1_block, bytes.fromhex("3021300906052B0E03021A05000414"))
    SHA256 = (32, _sha256_block, bytes.fromhex("3031300D060960864801650304020105000420"))

    def __init__(
        self, size: int, compress: Callable[[Sequence[int], bytes], list[int]], digest_info_prefix: bytes
    ) -> None:
        self.size = size
        self._compress = compress
        self._digest_info_prefix = digest_info_prefix

    def digest_info(self, digest: bytes) -> bytes:
        """Return the DER DigestInfo of `digest` (RFC 8017 §9.2, note 1)."""
        return self._digest_info_prefix + digest

    def whole(self, message: bytes) -> bytes:
        """Return the digest of a whole message."""
        return hashlib.new(self.name.lower(), message, usedforsecurity=False).digest()

    def absorb(self, state: bytes, blocks: bytes) -> bytes:
        """Return the state after `blocks`, a whole number of 64-byte blocks, from `state` (big-endian words)."""
        words = list(struct.unpack(f">{self.size // 4}I", state))
        for start in range(0, len(blocks), BLOCK):
            words = self._compress(words, blocks[start : start + BLOCK])
        return struct.pack(f">{len(words)}I", *words)

    def finish(self, state: bytes, bits_before: int, last: bytes) -> bytes:
        """Return the digest of a message of which `bits_before` bits led to `state` and `last` remains.

        `bits_before` is a multiple of 512.
        """
        bits = bits_before + 8 * len(last)
        padding = b"\x80" + bytes(-(len(last) + 9) % BLOCK) + (bits % 2**64).to_bytes(8, "big")
        return self.absorb(state, last + padding)
