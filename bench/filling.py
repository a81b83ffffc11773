"""A store filled with as many certificates as asked, quickly: rows like those of a real one, in one transaction.

Everything but the signatures is what the daemon would have written: each row is a copy of a real one under a name, a
serial and times of its own. The oldest have expired, some are revoked; orders are cancelled and expired as well.
"""

import hashlib
import random
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cardd.igc.crl import RevocationReason, encode_entry

#: From the first certificate to the newest; they are valid for three years.
_SPAN = timedelta(days=4 * 365)
_VALIDITY = timedelta(days=3 * 365)
_REVOKED_ONE_IN = 200
_WORDS = ("alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india", "juliett")


def fill(state: Path, count: int) -> None:
    """Add `count` orders and their certificates to the store of a daemon that does not run.

    There must be one order with its certificate, which the others are like.
    """
    database = sqlite3.connect(state / "cardd.sqlite3")
    try:
        database.row_factory = sqlite3.Row
        for pragma in ("synchronous=OFF", "journal_mode=MEMORY", "cache_size=-1000000", "foreign_keys=OFF"):
            database.execute(f"PRAGMA {pragma}")
        order = dict(database.execute("SELECT * FROM orders").fetchone())
        certificate = dict(
            database.execute("SELECT * FROM certificates WHERE order_id IS NOT NULL").fetchone()
        )
        _insert(database, "orders", (each for each, _ in _rows(order, certificate, count)))
        issued = (each for _, each in _rows(order, certificate, count) if each is not None)
        _insert(database, "certificates", issued)
        database.commit()
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("ANALYZE")
        database.commit()
    finally:
        database.close()


def _rows(
    order: dict[str, Any], certificate: dict[str, Any], count: int
) -> Iterator[tuple[dict[str, Any], dict[str, Any] | None]]:
    numbers = random.Random(count)  # noqa: S311 (rows for measuring)
    now = datetime.now(UTC).replace(tzinfo=None)
    serial = bytes.fromhex(certificate["serial"])
    place = bytes(certificate["der"]).index(serial)
    for number in range(count):
        at = now - _SPAN * ((count - number) / count)
        name = f"{numbers.choice(_WORDS)} {numbers.choice(_WORDS)} {number:07d}"
        identifier = f"{numbers.getrandbits(64):016x}"
        own = bytes([numbers.getrandbits(6) + 1]) + numbers.randbytes(len(serial) - 1)
        spki = hashlib.sha256(own).hexdigest()
        text = order["search"].replace(order["id"], identifier).replace(order["label"].casefold(), name)
        state = "cancelled" if number % 50 == 7 else "expired" if number % 100 == 11 else "retrieved"
        placed = order | {
            "id": identifier, "label": name, "search": text, "spki_sha256": spki, "created_at": str(at),
            "expires_at": str(at + timedelta(days=30)), "ended_at": str(at), "state": state,
        }  # fmt: skip
        if state != "retrieved":
            yield placed, None
            continue
        revoked = number % _REVOKED_ONE_IN == 3
        der = bytes(certificate["der"])
        yield placed, certificate | {
            "serial": own.hex(), "order_id": identifier, "common_name": name, "search": text, "spki_sha256": spki,
            "issued_at": str(at), "not_before": str(at), "not_after": str(at + _VALIDITY), "noticed_at": str(at),
            "der": der[:place] + own + der[place + len(own) :],
            "revoked_at": str(at) if revoked else None,
            "revocation_reason": "superseded" if revoked else None,
            "crl_entry": _entry(own, at) if revoked else None,
        }  # fmt: skip


def _entry(serial: bytes, at: datetime) -> bytes:
    moment = at.replace(microsecond=0, tzinfo=UTC)
    return encode_entry(int.from_bytes(serial, "big"), moment, RevocationReason.SUPERSEDED)


def _insert(database: sqlite3.Connection, table: str, rows: Iterator[dict[str, Any]]) -> None:
    first = next(rows)
    columns = ", ".join(f'"{name}"' for name in first)
    marks = ", ".join("?" * len(first))
    statement = f"INSERT INTO {table} ({columns}) VALUES ({marks})"  # noqa: S608 (the table's own columns)
    database.execute(statement, tuple(first.values()))
    database.executemany(statement, (tuple(row.values()) for row in rows))
