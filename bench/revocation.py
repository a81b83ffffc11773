"""A large revocation list taken in and asked, beside GnuPG's dirmngr and the library's own look-up, in one run.

Run as `python -m bench.revocation [--entries 1000000] [--json]`. The list is signed with RSA 4096. dirmngr reads
its trusted certificates from /etc/gnupg only, so that it runs in a mount namespace of its own (root) or is left out.
"""

import argparse
import asyncio
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from cardd.igc import der
from cardd.igc.crl import RevocationReason, encode_entry
from cardd.revocation.entries import entry_key
from cardd.revocation.index import IndexReader
from cardd.revocation.indexer import IndexJob
from cardd.revocation.indexing import Indexer
from cardd.revocation.lists import parse
from cardd.revocation.policies import FRESHNESS_POLICIES
from cardd.revocation.status import Cover, Held, answer
from cardd.revocation.types import CrlId
from tests.support.revocation import Ca

_ALGORITHM = bytes.fromhex("300D06092A864886F70D01010B0500")
_LOOK_UPS = 20_000
_SMALL = 1000
_DIRMNGR = """
set -e
mkdir -p "$1/etc/trusted-certs" "$1/home"; chmod 700 "$1/home"
cp "$1/ca.der" "$1/etc/trusted-certs/ca.der"
mkdir -p /etc/gnupg && mount --bind "$1/etc" /etc/gnupg
exec dirmngr --homedir "$1/home" --load-crl "$1/large.crl"
"""


def large_list(ca: Ca, entries: int, now: datetime) -> tuple[bytes, list[int]]:
    """Sign a list of random 16-byte serials; return it and its serials."""
    numbers = random.Random(entries)  # noqa: S311 (a list for measuring)
    serials = [numbers.getrandbits(127) for _ in range(entries)]
    reasons = list(RevocationReason)
    encoded = [
        encode_entry(serial, now - timedelta(minutes=serial % 500_000), reasons[serial % len(reasons)])
        for serial in serials
    ]
    model = parse(ca.crl(1, at=now))
    start, end = model.entries
    begin = model.der.index(model.tbs)
    head, tail = model.tbs[: start - begin], model.tbs[end - begin :]
    header = 2 if head[1] < 0x80 else 2 + (head[1] & 0x7F)
    one_entry_sequence_header = 2
    tbs = der.sequence(head[header:-one_entry_sequence_header], der.sequence(*encoded), tail)
    if not isinstance(ca.key, rsa.RSAPrivateKey):
        raise TypeError("the list is signed with RSA")
    signature = ca.key.sign(tbs, padding.PKCS1v15(), hashes.SHA256())
    return der.sequence(tbs, _ALGORITHM, der.tlv(der.TAG_BIT_STRING, b"\x00", signature)), serials


async def ingest(directory: Path, source: str, path: Path, ca: Ca, now: datetime) -> tuple[float, float]:
    """Take a list in, as the daemon does; return the seconds and the loop's longest pause meanwhile, in ms."""
    indexer, longest = Indexer(directory), 0.0

    async def watch() -> None:
        nonlocal longest
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.001)
            longest = max(longest, time.perf_counter() - before - 0.001)

    watching = asyncio.create_task(watch())
    started = time.perf_counter()
    certificate = ca.certificate.public_bytes(Encoding.DER)
    await indexer.perform(IndexJob(source=source, path=str(path), signer=certificate, now=now))
    seconds = time.perf_counter() - started
    watching.cancel()
    await indexer.close()
    return seconds, longest * 1000


def look_up_us(index: IndexReader, source: str, serials: list[int], now: datetime) -> float:
    """Return the microseconds of one whole answer."""
    snapshot = index.renew()
    crl_id = CrlId(source)
    held = Held(
        snapshot.lists,
        lambda given, key: (snapshot.entry(given, key), snapshot.delta_entry(given, key)),
        {},
        timedelta(days=1),
    )
    covers, policy = (Cover(crl_id, b"", direct=True, list_issuer=b""),), FRESHNESS_POLICIES["standard"]
    asked = random.Random(1).choices(serials, k=_LOOK_UPS)  # noqa: S311
    return _each_us(asked, lambda serial: answer(covers, serial, held, now, policy=policy))


def dirmngr_seconds(directory: Path) -> float | None:
    """Return the seconds of `dirmngr --load-crl` on the same file, None where it cannot run."""
    if shutil.which("dirmngr") is None or shutil.which("unshare") is None:
        return None
    command = ["unshare", "--mount", "sh", "-c", _DIRMNGR, "sh", str(directory)]
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, check=False)  # noqa: S603 (our own words)
    seconds = time.perf_counter() - started
    taken = done.returncode == 0 and any((directory / "home" / "crls.d").glob("*.db"))
    return seconds if taken else None


async def measure(directory: Path, entries: int) -> dict[str, Any]:
    """Measure everything on a list of so many entries."""
    now = datetime.now(UTC).replace(microsecond=0)
    ca = Ca("BENCH CA", rsa.generate_private_key(public_exponent=65537, key_size=4096))
    (directory / "ca.der").write_bytes(ca.certificate.public_bytes(Encoding.DER))
    content, serials = large_list(ca, entries, now)
    small, few = large_list(ca, _SMALL, now)
    (directory / "large.crl").write_bytes(content)
    (directory / "small.crl").write_bytes(small)
    seconds, pause = await ingest(directory, "large", directory / "large.crl", ca, now)
    await ingest(directory, "small", directory / "small.crl", ca, now)
    peer = await asyncio.to_thread(dirmngr_seconds, directory)
    index = IndexReader(directory / "index")
    library = x509.load_der_x509_crl(content)
    some = [serials[-1], *random.Random(2).sample(serials, 4)]  # noqa: S311
    result = {
        "entries": entries,
        "ingest_s": seconds,
        "dirmngr_s": peer,
        "loop_pause_ms": pause,
        "look_up_us": look_up_us(index, "large", serials, now),
        "look_up_small_us": look_up_us(index, "small", few, now),
        "pyca_look_up_us": _each_us(some, library.get_revoked_certificate_by_serial_number),
        "index_get_us": _each_us(
            serials[:_LOOK_UPS], lambda n: index.now.entry(CrlId("large"), entry_key(n))
        ),
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    index.close()
    return result


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--json", action="store_true", help="one JSON object")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cardd-bench-") as directory:
        result = asyncio.run(measure(Path(directory), arguments.entries))
    if arguments.json:
        sys.stdout.buffer.write(msgspec.json.encode(result) + b"\n")
        return
    for name, value in result.items():
        sys.stdout.write(f"{name:<20} {value if value is None else f'{value:,.2f}'}\n")


def _each_us(items: list[int], work: Callable[[int], object]) -> float:
    started = time.perf_counter()
    for item in items:
        work(item)
    return (time.perf_counter() - started) / len(items) * 1e6


if __name__ == "__main__":
    main()
