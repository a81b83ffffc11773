"""A directory of revocation lists for programs that read files: hashed names, replaced one by one, never half."""

import base64
import contextlib
import os
import subprocess
import textwrap
from pathlib import Path

from cardd.client import Client, segment
from cardd.errors import CarddError
from cardd.revocation.types import CrlView

_SUFFIX = ".r"


def export_all(client: Client, directory: Path) -> list[str]:
    """Bring a directory up to date with the lists held; return the names that were written.

    A list that cannot be had now leaves its file as it is: the program that reads it sees its nextUpdate.
    """
    directory.mkdir(parents=True, exist_ok=True)
    written, counts = [], dict[str, int]()
    for view in _all_lists(client):
        if view.sha256 is None:
            continue
        try:
            der = client.get(f"/crls/{segment(view.id)}.crl", accept="application/pkix-crl").body
        except CarddError:
            continue
        pem = _pem(der)
        for name, content in ((f"{view.id}.crl", der), (_hashed_name(der, counts), pem)):
            if _replace(directory / name, content):
                written.append(name)
    return written


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
