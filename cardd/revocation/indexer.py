"""The indexer: parses, verifies and indexes lists in a process of its own (`python -m cardd.revocation.indexer`).

It reads jobs from its standard input and writes an outcome each to its standard output: msgpack, after four
bytes of length, big-endian. It ends when its input does, and can be killed at any time: a list is on disk
before the transaction that names it, and that transaction is all or nothing.
"""

import os
import struct
import sys
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

import msgspec
from cryptography import x509

from cardd.revocation.entries import Entries, entry_key, scan
from cardd.revocation.errors import ListRefusedError
from cardd.revocation.index import IndexWriter
from cardd.revocation.lists import ListFacts, ParsedList, facts_of, parse
from cardd.revocation.names import issuer_prefix
from cardd.revocation.types import CrlId
from cardd.revocation.verifying import check_extensions, check_signature, check_succession, delta_fits

LENGTH = struct.Struct(">I")


class IndexJob(msgspec.Struct, frozen=True, kw_only=True, tag="index"):
    """Verify the list in `path` and put it in the place of what is held of `source`."""

    source: str
    path: str
    signer: bytes
    """The certificate, DER, whose key has to have signed it."""
    now: datetime
    delta: bool = False


class LookUpJob(msgspec.Struct, frozen=True, kw_only=True, tag="look_up"):
    """Look for a serial in archived lists, which have no index."""

    sha256: tuple[str, ...]
    serial: str
    """Hexadecimal: a serial has up to 20 bytes, an integer of msgpack 8."""
    certificate_issuer: bytes
    """DER of the name that the certificate's issuer has, for indirect lists."""


class RemoveJob(msgspec.Struct, frozen=True, kw_only=True, tag="remove"):
    """Forget a source."""

    source: str


class TidyJob(msgspec.Struct, frozen=True, kw_only=True, tag="tidy"):
    """Drop what the archive need not keep longer, and files that nothing names."""

    before: datetime


Job = IndexJob | LookUpJob | RemoveJob | TidyJob


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a job; a refusal has its rule and its sentences."""

    facts: ListFacts | None = None
    unchanged: bool = False
    values: tuple[bytes | None, ...] = ()
    """Of a look-up: the entry in each list."""
    rule: str | None = None
    en: str = ""
    fr: str = ""


def perform(directory: Path, job: Job) -> Outcome:
    """Do one job in the index of `directory`."""
    try:
        match job:
            case IndexJob():
                return _index(directory, job)
            case LookUpJob():
                return Outcome(values=tuple(_find(directory, sha256, job) for sha256 in job.sha256))
            case RemoveJob():
                with IndexWriter(directory / "index") as writer:
                    writer.remove(CrlId(job.source))
            case TidyJob():
                _tidy(directory, job.before)
    except ListRefusedError as refusal:
        return Outcome(rule=refusal.rule, en=refusal.detail.en, fr=refusal.detail.fr)
    return Outcome()


def list_path(directory: Path, sha256: str) -> Path:
    """Return where the DER of a list is."""
    return directory / "lists" / f"{sha256}.crl"


def _index(directory: Path, job: IndexJob) -> Outcome:
    parsed = parse(Path(job.path).read_bytes())
    check_signature(parsed, x509.load_der_x509_certificate(job.signer))
    check_extensions(parsed)
    facts = facts_of(parsed, 0)
    with IndexWriter(directory / "index") as writer, writer.replacing(CrlId(job.source)) as replacement:
        held = replacement.held()
        current = held.delta if job.delta else held.full
        if current is not None and current.sha256 == facts.sha256:
            return Outcome(facts=current, unchanged=True)
        check_succession(facts, held, job.now, delta=job.delta)
        entries = scan(
            parsed, indirect=facts.scope.indirect, default_issuer=issuer_prefix(parsed.head.issuer)
        )
        facts = msgspec.structs.replace(facts, entries=entries.read)
        _keep(directory, parsed, facts.sha256)
        if job.delta and held.full is not None:
            replacement.put_delta(held.full, facts, entries)
        else:
            stays = held.delta is not None and delta_fits(held.delta, facts)
            replacement.put_full(facts, entries, held.delta if stays else None)
    return Outcome(facts=facts)


def _keep(directory: Path, parsed: ParsedList, sha256: str) -> None:
    """Write the DER under its hash, flushed to disk.

    Its modification time is thisUpdate, with digits of the hash below the second: what serves it takes
    Last-Modified and ETag from there.
    """
    path = list_path(directory, sha256)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    unfinished = path.with_suffix(".new")
    with unfinished.open("wb") as file:
        file.write(parsed.der)
        file.flush()
        os.fsync(file.fileno())
    modified = int(parsed.head.last_update_utc.timestamp()) * 10**9 + int(sha256, 16) % 10**9
    os.utime(unfinished, ns=(modified, modified))
    unfinished.replace(path)
    directory_descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory_descriptor)
    finally:
        os.close(directory_descriptor)


def _find(directory: Path, sha256: str, job: LookUpJob) -> bytes | None:
    parsed = parse(list_path(directory, sha256).read_bytes())
    indirect = facts_of(parsed, 0).scope.indirect
    entries: Entries = scan(parsed, indirect=indirect, default_issuer=issuer_prefix(parsed.head.issuer))
    key = entry_key(int(job.serial, 16))
    if indirect:
        key = job.certificate_issuer + key
    found = dict(zip(entries.keys, entries.values, strict=True))
    return found.get(key)


def _tidy(directory: Path, before: datetime) -> None:
    with IndexWriter(directory / "index") as writer:
        named = writer.expire_archive(before)
    for path in (directory / "lists").glob("*"):
        if path.stem not in named or path.suffix != ".crl":
            path.unlink(missing_ok=True)


def serve(directory: Path, source: BinaryIO, sink: BinaryIO) -> None:
    """Answer jobs until the input ends."""
    while len(head := source.read(LENGTH.size)) == LENGTH.size:
        job = msgspec.msgpack.decode(source.read(*LENGTH.unpack(head)), type=Job)
        encoded = msgspec.msgpack.encode(perform(directory, job))
        sink.write(LENGTH.pack(len(encoded)) + encoded)
        sink.flush()


if __name__ == "__main__":
    serve(Path(sys.argv[1]), sys.stdin.buffer, sys.stdout.buffer)
