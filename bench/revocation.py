"""A revocation list of a million entries taken in and asked, beside GnuPG's dirmngr and the library's own look-up.

dirmngr reads its trusted certificates from /etc/gnupg only, so that it runs in a mount namespace of its own (root).
"""

import asyncio
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from bench.caching import Watched
from bench.frame import GROWTH, Asked, Case, Curve, Group, Missing, Pair, Points, Target, Work
from bench.largelists import LargeList, large_list, rsa_ca
from cardd.clock import SystemClock
from cardd.revocation.index import IndexReader
from cardd.revocation.indexing import Indexer
from cardd.revocation.jobs import IndexJob
from cardd.revocation.policies import FRESHNESS_POLICIES
from cardd.revocation.status import Cover, Held, standing
from cardd.revocation.types import CrlId
from tests.support.revocation import Ca

_ENTRIES, _FEW = 1_000_000, 1000
_LOOK_UPS = 20_000
_DIRMNGR = """
set -e
rm -rf "$1/etc" "$1/home"
mkdir -p "$1/etc/trusted-certs" "$1/home"; chmod 700 "$1/home"
cp "$1/ca.der" "$1/etc/trusted-certs/ca.der"
mkdir -p /etc/gnupg && mount --bind "$1/etc" /etc/gnupg
exec dirmngr --homedir "$1/home" --load-crl "$1/$2"
"""

_DECLARED: tuple[Case | Curve, ...] = (
    Case(
        name="crl/ingest",
        ours="a list of 1,000,000 entries signed with RSA 4096 verified and indexed, its process started",
        beside="dirmngr --load-crl",
        unit="s",
        target=Target("ratio", "at most", 1.0),
    ),
    Case(
        name="crl/loop-held",
        ours="longest pause of the event loop while the cache fetches and indexes it",
        unit="ms",
        target=Target("ours", "at most", 20),
        rounds=5,
    ),
    Case(
        name="crl/memory",
        ours="memory that the cache's own process holds more after it",
        unit="MiB",
        target=Target("ours", "at most", 64),
        rounds=3,
    ),
    Case(
        name="crl/look-up",
        ours="whole answers from 1,000,000 entries",
        beside="get_revoked_certificate_by_serial_number of cryptography",
        unit="a second",
        target=Target("ratio", "at least", 10_000),
        rounds=5,
    ),
    Case(
        name="crl/look-up-time",
        ours="whole answer from 1,000,000 entries",
        unit="µs",
        target=Target("ours", "at most", 5.0),
    ),
    Case(
        name="crl/look-up-growth",
        ours="whole answer from 1,000,000 entries",
        beside="from 1,000",
        unit="µs",
        target=Target("ratio", "at most", 2.0),
    ),
    Curve(
        name="crl/growth-look-up",
        title="One answer from a revocation list, as it grows",
        x="entries of the list",
        unit="µs",
        sizes=GROWTH,
    ),
    Curve(
        name="crl/growth-ingest",
        title="A revocation list verified and indexed, as it grows",
        x="entries of the list",
        unit="s",
        sizes=GROWTH,
    ),
)


class _Ground:
    """Lists of every size asked for, on disk and in an index."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._ca = rsa_ca()
        self._lists: dict[int, LargeList] = {}
        self._now = datetime.now(UTC).replace(microsecond=0)
        self._indexed: set[int] = set()
        self._index: IndexReader | None = None
        (directory / "ca.der").write_bytes(self._ca.certificate.public_bytes(Encoding.DER))
        (directory / "ca.pem").write_text(self._ca.pem)

    def close(self) -> None:
        """Let go of the index."""
        if self._index is not None:
            self._index.close()

    def ingest_s(self, entries: int = _ENTRIES) -> float:
        """Return the seconds of taking a list in, with an index and a process that are new."""
        directory = self._directory / "ingest"
        shutil.rmtree(directory, ignore_errors=True)
        return indexed_seconds(directory, "list", self._list(entries).der, self._ca)

    def dirmngr_s(self, entries: int = _ENTRIES) -> float:
        """Return the seconds of `dirmngr --load-crl` on the same file."""
        self._list(entries)
        command = ["unshare", "--mount", "sh", "-c", _DIRMNGR, "sh", str(self._directory), f"{entries}.crl"]
        started = time.perf_counter()
        subprocess.run(command, capture_output=True, check=True)  # noqa: S603 (our own words)
        return time.perf_counter() - started

    def watched(self) -> Watched:
        """Have a cache of its own fetch the large list, and return what was seen in it."""
        self._list(_ENTRIES)
        directory = self._directory / "cache"
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
        shutil.copy(self._directory / "ca.pem", directory)
        with _served(self._directory) as address:
            command = [sys.executable, "-m", "bench.caching", str(directory), f"{address}/{_ENTRIES}.crl"]
            done = subprocess.run(command, capture_output=True, check=True)  # noqa: S603
        return msgspec.json.decode(done.stdout, type=Watched)

    def answer_us(self, entries: int = _ENTRIES) -> float:
        """Return the microseconds of one whole answer, as the API has it made."""
        content, index = self._list(entries), self._index_with(entries)
        source, clock, snapshot = CrlId(str(entries)), SystemClock(), index.now
        held = Held(snapshot.lists, snapshot.tables, {}, timedelta(days=1))
        covers = (Cover(source, b"", direct=True, list_issuer=b""),)
        kept = standing(covers, held, clock.now(), policy=FRESHNESS_POLICIES["standard"])

        def answer(serial: int) -> None:
            if kept.holds(clock.now()):
                kept.answer(serial)

        asked = random.Random(1).choices(content.serials, k=_LOOK_UPS)  # noqa: S311
        each_us(asked, answer)  # the first look-ups bring the index in from the system's cache
        return each_us(asked, answer)

    def library_us(self, entries: int = _ENTRIES) -> float:
        """Return the microseconds of one look-up of the library, in the mean over places in the list."""
        content = self._list(entries)
        library = x509.load_der_x509_crl(content.der)
        places = [*content.serials[:: entries // 4], content.serials[-1]]
        return each_us(places, library.get_revoked_certificate_by_serial_number)

    def _list(self, entries: int) -> LargeList:
        if entries not in self._lists:
            made = self._lists[entries] = large_list(self._ca, entries, self._now)
            (self._directory / f"{entries}.crl").write_bytes(made.der)
        return self._lists[entries]

    def _index_with(self, entries: int) -> IndexReader:
        if entries not in self._indexed:
            directory = self._directory / "index-of-all"
            indexed_seconds(directory, str(entries), self._list(entries).der, self._ca)
            self._indexed.add(entries)
            if self._index is None:
                self._index = IndexReader(directory / "index")
            self._index.renew()
        if self._index is None:
            raise RuntimeError("there is no index")
        return self._index


def indexed_seconds(directory: Path, source: str, content: bytes, ca: Ca) -> float:
    """Have a list indexed as the daemon does; return the seconds from asking to the answer."""
    directory.mkdir(exist_ok=True)
    path = directory / f"{source}.part"
    path.write_bytes(content)
    certificate = ca.certificate.public_bytes(Encoding.DER)
    job = IndexJob(source=source, path=str(path), signer=certificate, now=datetime.now(UTC))

    async def perform() -> float:
        indexer = Indexer(directory)
        started = time.perf_counter()
        await indexer.perform(job)
        seconds = time.perf_counter() - started
        await indexer.close()
        return seconds

    return asyncio.run(perform())


def each_us(items: Sequence[int], work: Callable[[int], object]) -> float:
    """Return the microseconds of the processor that one call takes in the mean: it waits for nothing."""
    started = time.thread_time()
    for item in items:
        work(item)
    return (time.thread_time() - started) / len(items) * 1e6


@contextmanager
def opened(asked: Asked) -> Iterator[Work]:
    """Prepare the ground."""
    ground = _Ground(asked.directory)
    missing = _missing_for_dirmngr()

    def ingested(entries: int) -> Mapping[str, float]:
        ours = {"cardd": ground.ingest_s(entries)}
        return ours if missing else ours | {"dirmngr": ground.dirmngr_s(entries)}

    def looked_up(entries: int) -> Mapping[str, float]:
        return {"cardd": ground.answer_us(entries), "cryptography": ground.library_us(entries)}

    try:
        yield {
            "crl/ingest": Missing(missing) if missing else Pair(ground.ingest_s, ground.dirmngr_s),
            "crl/loop-held": Pair(lambda: ground.watched().pause_ms),
            "crl/memory": Pair(lambda: ground.watched().more_mib),
            "crl/look-up": Pair(lambda: 1e6 / ground.answer_us(), lambda: 1e6 / ground.library_us()),
            "crl/look-up-time": Pair(ground.answer_us),
            "crl/look-up-growth": Pair(ground.answer_us, lambda: ground.answer_us(_FEW)),
            "crl/growth-ingest": Points(ingested),
            "crl/growth-look-up": Points(looked_up),
        }
    finally:
        ground.close()


def _missing_for_dirmngr() -> str | None:
    missing = [program for program in ("dirmngr", "unshare") if shutil.which(program) is None]
    if missing:
        return f"{', '.join(missing)}: not installed"
    return None if os.geteuid() == 0 else "dirmngr trusts /etc/gnupg alone, which root alone can replace"


@contextmanager
def _served(directory: Path) -> Iterator[str]:
    """Serve a directory over HTTP from a process of its own."""
    command = [
        sys.executable,
        "-u",
        "-m",
        "http.server",
        "--bind",
        "127.0.0.1",
        "--directory",
        str(directory),
        "0",
    ]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)  # noqa: S603
    try:
        if server.stdout is None:
            raise RuntimeError("the server has no output")
        port = server.stdout.readline().split("port ", 1)[1].split(" ", 1)[0]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.communicate()


GROUP = Group("crl", _DECLARED, opened)
