"""What the daemon and the indexer's process say to each other: jobs and their outcome, msgpack after a length.

The process reads jobs from its standard input and writes an outcome each to its standard output.
"""

import struct
from datetime import datetime
from pathlib import Path

import msgspec

from cardd.revocation.lists import ListFacts

#: What precedes every message: its length in bytes, big-endian.
LENGTH = struct.Struct(">I")


class IndexJob(msgspec.Struct, frozen=True, kw_only=True, tag="index"):
    """Verify the list in the file `path` and put it in the place of what is held of `source`.

    The file is on the index's file system, nobody writes to it any more, and one that is taken is moved away.
    """

    source: str
    path: str
    signer: bytes
    """The certificate, DER, whose key has to have signed it."""
    now: datetime
    delta: bool = False


class LookUpJob(msgspec.Struct, frozen=True, kw_only=True, tag="look_up"):
    """Look for a serial in archived lists, which have no table."""

    sha256: tuple[str, ...]
    serial: str
    """Hexadecimal: a serial has up to 20 bytes, an integer of msgpack 8."""
    certificate_issuer: bytes
    """Prefix of the name that the certificate's issuer has, for indirect lists."""


class RebuildJob(msgspec.Struct, frozen=True, kw_only=True, tag="rebuild"):
    """Make the tables anew that another version of this program has left in a form of its own."""


class RemoveJob(msgspec.Struct, frozen=True, kw_only=True, tag="remove"):
    """Forget a source."""

    source: str


class TidyJob(msgspec.Struct, frozen=True, kw_only=True, tag="tidy"):
    """Drop what the archive need not keep longer, and files that nothing names."""

    before: datetime


Job = IndexJob | LookUpJob | RebuildJob | RemoveJob | TidyJob


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a job; a refusal has its rule and its sentences."""

    facts: ListFacts | None = None
    unchanged: bool = False
    values: tuple[int | None, ...] = ()
    """Of a look-up: what each list has under the serial."""
    rule: str | None = None
    en: str = ""
    fr: str = ""


def list_path(directory: Path, sha256: str) -> Path:
    """Return where the DER of a list is."""
    return directory / "lists" / f"{sha256}.crl"
