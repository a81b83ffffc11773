"""The indexer: parses, verifies and indexes lists in a process of its own (`python -m cardd.revocation.indexer`).

It reads jobs from its standard input and writes an outcome each to its standard output, as `jobs` says. It ends
when its input does, and can be killed at any time: a list is on disk before the transaction that names it, and
that transaction is all or nothing.
"""

import mmap
import os
import sys
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

import msgspec
from cryptography import x509

from cardd.revocation.errors import ListRefusedError
from cardd.revocation.index import IndexWriter
from cardd.revocation.jobs import (
    LENGTH,
    IndexJob,
    Job,
    LookUpJob,
    Outcome,
    RebuildJob,
    RemoveJob,
    TidyJob,
    list_path,
)
from cardd.revocation.lists import ListFacts, ParsedList, facts_of, parse
from cardd.revocation.names import issuer_prefix
from cardd.revocation.scanning import scan
from cardd.revocation.tablemaking import make_table
from cardd.revocation.tables import EntryTable
from cardd.revocation.types import CrlId
from cardd.revocation.verifying import check_extensions, check_signature, check_succession, delta_fits


def perform(directory: Path, job: Job) -> Outcome:
    """Do one job in the index of `directory`."""
    try:
        match job:
            case IndexJob():
                return _index(directory, job)
            case LookUpJob():
                return Outcome(values=tuple(_find(directory, sha256, job) for sha256 in job.sha256))
            case RebuildJob():
                with IndexWriter(directory / "index") as writer:
                    writer.rebuild(lambda facts: _held_table(directory, facts))
            case RemoveJob():
                with IndexWriter(directory / "index") as writer:
                    writer.remove(CrlId(job.source))
            case TidyJob():
                _tidy(directory, job.before)
    except ListRefusedError as refusal:
        return Outcome(rule=refusal.rule, en=refusal.detail.en, fr=refusal.detail.fr)
    return Outcome()


def _index(directory: Path, job: IndexJob) -> Outcome:
    parsed = parse(_mapped(Path(job.path)))
    check_signature(parsed, x509.load_der_x509_certificate(job.signer))
    check_extensions(parsed)
    facts = facts_of(parsed, 0)
    with IndexWriter(directory / "index") as writer, writer.replacing(CrlId(job.source)) as replacement:
        held = replacement.held()
        current = held.delta if job.delta else held.full
        if current is not None and current.sha256 == facts.sha256:
            return Outcome(facts=current, unchanged=True)
        check_succession(facts, held, job.now, delta=job.delta)
        table, entries = _table_of(parsed, facts)
        facts = msgspec.structs.replace(facts, entries=entries)
        _keep(directory, Path(job.path), parsed, facts.sha256)
        if job.delta and held.full is not None:
            replacement.put_delta(held.full, facts, table)
        else:
            stays = held.delta is not None and delta_fits(held.delta, facts)
            replacement.put_full(facts, table, held.delta if stays else None)
    return Outcome(facts=facts)


def _keep(directory: Path, given: Path, parsed: ParsedList, sha256: str) -> None:
    """Keep the DER under its hash, flushed to disk: the file given, or what was in it where it was PEM.

    Its modification time is thisUpdate, with digits of the hash below the second: what serves it takes
    Last-Modified and ETag from there.
    """
    path = list_path(directory, sha256)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    unfinished = path.with_suffix(".new")
    if parsed.was_pem:
        unfinished.write_bytes(parsed.der)
    else:
        given.replace(unfinished)
    with unfinished.open("r+b") as file:
        os.fsync(file.fileno())
    modified = int(parsed.head.last_update_utc.timestamp()) * 10**9 + int(sha256, 16) % 10**9
    os.utime(unfinished, ns=(modified, modified))
    unfinished.replace(path)
    directory_descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory_descriptor)
    finally:
        os.close(directory_descriptor)


def _mapped(path: Path) -> memoryview:
    """Return a file's content without reading it into memory; the files of lists are never written to twice."""
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            return memoryview(b"")
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def _table_of(parsed: ParsedList, facts: ListFacts) -> tuple[memoryview, int]:
    """Return the table of a list, and how many entries it has, duplicates included."""
    entries = scan(parsed, issuer_prefix(parsed.head.issuer) if facts.scope.indirect else None)
    return make_table(entries), len(entries.value)


def _held_table(directory: Path, facts: ListFacts) -> memoryview:
    """Return the table of a list that was taken before."""
    return _table_of(parse(_mapped(list_path(directory, facts.sha256))), facts)[0]


def _find(directory: Path, sha256: str, job: LookUpJob) -> int | None:
    parsed = parse(_mapped(list_path(directory, sha256)))
    facts = facts_of(parsed, 0)
    table = EntryTable(_table_of(parsed, facts)[0])
    return table.find(int(job.serial, 16), job.certificate_issuer if facts.scope.indirect else b"")


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
