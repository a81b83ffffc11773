"""A directory of revocation lists for programs that read files: hashed names, replaced one by one, never half.

`NAME.crl` is a list as held, DER; `HASH.rN` the same as PEM under OpenSSL's name for it; `crls.pem` all of them in
one file, for programs that take one. What was written is noted in `.exported.json`, so that the files of a list that
is no longer kept go with it, and nobody else's.
"""

import base64
import contextlib
import hashlib
import os
import subprocess
import textwrap
from pathlib import Path
from typing import NamedTuple

import msgspec

from cardd.client import Client, segment
from cardd.errors import CarddError
from cardd.revocation.types import CrlView

_SUFFIX = ".r"
#: All lists in one file.
BUNDLE = "crls.pem"
_NOTE = ".exported.json"


class Exported(NamedTuple):
    """What an export changed."""

    written: list[str]
    removed: list[str]


def export_all(client: Client, directory: Path) -> Exported:
    """Bring a directory up to date with the lists held.

    A list that cannot be had now leaves its file as it is: the program that reads it sees its nextUpdate.
    """
    directory.mkdir(parents=True, exist_ok=True)
    kept = {view.id: _current(client, directory, view) for view in _all_lists(client)}
    contents: dict[str, bytes] = {}
    counts: dict[str, int] = {}
    for name, der in kept.items():
        if der is not None:
            contents[f"{name}.crl"] = der
            contents[_hashed_name(der, counts)] = _pem(der)
    hashed = [content for name, content in contents.items() if not name.endswith(".crl")]
    contents[BUNDLE] = b"".join(hashed)
    written = [name for name, content in contents.items() if _replace(directory / name, content)]
    removed = _remove_others(directory, set(contents))
    _replace(directory / _NOTE, msgspec.json.encode(sorted(contents)))
    _flush(directory)
    return Exported(written, removed)


def _current(client: Client, directory: Path, view: CrlView) -> bytes | None:
    """Return a list as held: from its file where that is the same, else from the daemon; None where there is none."""
    with contextlib.suppress(OSError):
        der = (directory / f"{view.id}.crl").read_bytes()
        if hashlib.sha256(der).hexdigest() == view.sha256:
            return der
    with contextlib.suppress(CarddError):
        return client.get(f"/crls/{segment(view.id)}.crl", accept="application/pkix-crl").body
    with contextlib.suppress(OSError):
        return (directory / f"{view.id}.crl").read_bytes()
    return None


def _pem(der: bytes) -> bytes:
    """Return a list as PEM (RFC 7468 §6)."""
    lines = textwrap.wrap(base64.b64encode(der).decode(), 64)
    return "\n".join(["-----BEGIN X509 CRL-----", *lines, "-----END X509 CRL-----", ""]).encode()


def _all_lists(client: Client) -> list[CrlView]:
    found: list[CrlView] = []
    cursor: str | None = None
    while True:
        page = client.get("/crls", {"limit": 500, "cursor": cursor}).page(CrlView)
        found += page.items
        cursor = page.next_cursor
        if cursor is None:
            return found


def _hashed_name(der: bytes, counts: dict[str, int]) -> str:
    """Return `HASH.rN`, OpenSSL's name for a list in a directory (openssl-rehash(1))."""
    done = subprocess.run(
        ["openssl", "crl", "-inform", "DER", "-hash", "-noout"],  # noqa: S607 (found on the user's PATH)
        input=der,
        capture_output=True,
        check=True,
    )
    value = done.stdout.decode().strip()
    number = counts.get(value, 0)
    counts[value] = number + 1
    return f"{value}{_SUFFIX}{number}"


def _remove_others(directory: Path, present: set[str]) -> list[str]:
    """Remove what an earlier export wrote and this one did not."""
    try:
        before = msgspec.json.decode((directory / _NOTE).read_bytes(), type=set[str])
    except (OSError, msgspec.DecodeError):
        return []
    gone = sorted(name for name in before - present if Path(name).name == name)
    for name in gone:
        (directory / name).unlink(missing_ok=True)
    return gone


def _replace(path: Path, content: bytes) -> bool:
    with contextlib.suppress(FileNotFoundError):
        if path.read_bytes() == content:
            return False
    unfinished = path.with_name(f".{path.name}.new")
    with unfinished.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
    return True


def _flush(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
