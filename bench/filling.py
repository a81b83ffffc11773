"""A store filled with as many certificates as asked, quickly: rows like those of a real one, in one transaction.

Everything but the signatures is what the daemon would have written: each row is a copy of a real one under a name, a
serial and times of its own. The oldest have expired, some are revoked; orders are cancelled and expired as well. What
the store keeps beside its rows, indexes and the search over their text, is made once all of them are there.
"""

import hashlib
import itertools
import random
import secrets
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cardd.igc.crl import RevocationReason, encode_entry

#: From the first certificate to the newest; they are valid for three years.
_SPAN = timedelta(days=4 * 365)
_VALIDITY = timedelta(days=3 * 365)
_REVOKED_ONE_IN = 200
#: Rows that are held in memory at a time.
_CHUNK = 10_000
#: Big enough that none of the serials made here is one of the PKI's.
_SERIAL_BITS = 124
#: The identifier and the text in which a search looks, by table.
_SEARCHED = {"orders": ("id", "search"), "certificates": ("serial", "search || char(10) || serial")}
_WORDS = ("alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india", "juliett")


def fill(state: Path, count: int) -> None:
    """Add `count` orders and their certificates to the store of a daemon that does not run.

    There must be one order with its certificate, which the others are like.
    """
    with _filled(state, "orders", "certificates", searched=True) as database:
        order = dict(database.execute("SELECT * FROM orders").fetchone())
        certificate = dict(
            database.execute("SELECT * FROM certificates WHERE order_id IS NOT NULL").fetchone()
        )
        rows = _rows(order, certificate, count)
        while chunk := list(itertools.islice(rows, _CHUNK)):
            _insert(database, "orders", (placed for placed, _ in chunk))
            _insert(database, "certificates", (issued for _, issued in chunk if issued is not None))


def add_certificates(state: Path, model: str, revoked: int, in_force: int) -> list[str]:
    """Add copies of the certificate whose serial is `model` to the store of a daemon that does not run.

    So many are revoked, and so many are not: the serials of these are returned. They belong to no order, and no search
    finds them.
    """
    with _filled(state, "certificates", searched=False) as database:
        found = database.execute("SELECT * FROM certificates WHERE serial = ?", (model,)).fetchone()
        alone = {"order_id": None, "contacts": "[]", "token_serial": None, "key_id": None, "on_token": 1}
        row = dict(found) | alone
        now = datetime.now(UTC).replace(microsecond=0)
        serials = [
            f"{secrets.randbits(_SERIAL_BITS) | 1 << _SERIAL_BITS:x}" for _ in range(revoked + in_force)
        ]

        def copied(number: int) -> dict[str, Any]:
            serial = serials[number]
            own = row | {"serial": serial, "spki_sha256": f"{serial:0>64}"}
            if number < revoked:
                own["revoked_at"], own["revocation_reason"] = row["issued_at"], "superseded"
                own["crl_entry"] = encode_entry(int(serial, 16), now, RevocationReason.SUPERSEDED)
            return own

        _insert(database, "certificates", map(copied, range(len(serials))))
    return serials[revoked:]


@contextmanager
def _filled(state: Path, *tables: str, searched: bool) -> Iterator[sqlite3.Connection]:
    """Open a store whose tables are added to, and make anew what is kept beside them.

    Made row by row, indexes and the search over the text take ten times as long as the rows themselves.
    """
    with closing(sqlite3.connect(state / "cardd.sqlite3")) as database:
        database.row_factory = sqlite3.Row
        for pragma in ("synchronous=OFF", "journal_mode=MEMORY", "cache_size=-1000000", "foreign_keys=OFF"):
            database.execute(f"PRAGMA {pragma}")
        taken = [each for table in tables for each in _taken_away(database, table)]
        yield database
        if searched:
            for table in tables:
                _make_searchable(database, table)
        for statement in taken:
            database.execute(statement)
        database.commit()
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("ANALYZE")
        database.commit()


def _taken_away(database: sqlite3.Connection, table: str) -> list[str]:
    """Take the indexes of a table and the triggers that index its text away; return what brings them back."""
    found = database.execute(
        "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL AND (type = 'index' AND tbl_name = :table"
        " OR type = 'trigger' AND name IN (:table || '_added', :table || '_search_added'))",
        {"table": table},
    ).fetchall()
    for kind, name, _ in found:
        database.execute(f"DROP {kind} {name}")
    return [statement for _, _, statement in found]


def _make_searchable(database: sqlite3.Connection, table: str) -> None:
    identifier, text = _SEARCHED[table]
    database.execute(
        f'INSERT INTO {table}_search ("row", search) SELECT {identifier}, {text} FROM {table}'  # noqa: S608
        f' WHERE {identifier} NOT IN (SELECT "row" FROM {table}_search) ORDER BY rowid'
    )
    index = f"{table}_search_index"
    database.execute(f"INSERT INTO {index} ({index}) VALUES ('rebuild')")  # noqa: S608 (our own words)


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


def _insert(database: sqlite3.Connection, table: str, rows: Iterable[Mapping[str, Any]]) -> None:
    columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
    marks = ", ".join(f":{name}" for name in columns)
    database.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)  # noqa: S608 (the table's own columns)
