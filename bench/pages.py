"""Times of the pages over many certificates beside few, on two daemons called in turns; at most 50 ms a page.

Run as `python -m bench.pages [--certificates 100000]`. Both stores are filled with copies of one certificate under
other names, dates, structures and states; what is timed is the whole answer over a connection that is kept, as a
browser does.
"""

import argparse
import http.client
import random
import re
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from rich.console import Console
from rich.table import Table

from cardd.orders.filters import search_text
from tests.support.running import QUICK, RunningDaemon

FEW = 1_000
MOST_MS = 50.0
#: A certificate of the store, whatever its serial, stands where it says `{serial}`.
PAGES = (
    "/", "/cartes", "/retirer", "/suivre", "/suivre?tri=name", "/suivre?tri=expiry", "/suivre?etat=renewable",
    "/suivre?etat=revoked&offre=SERV", "/suivre?q=service-000042", "/suivre?q=nothing+of+that+name",
    "/suivre/commandes", "/suivre/commandes?tri=name", "/suivre/commandes?q=hopital", "/suivre/certificats/{serial}",
    "/revoquer", "/revoquer/{serial}", "/revoquer?etat=renewable", "/habilitations", "/crl", "/journal", "/diagnostic",
)  # fmt: skip
_WRITTEN = "%Y-%m-%d %H:%M:%S.%f"
_THREE_YEARS = timedelta(days=1095)
_OFFERED = (("ORG", "AUTH_CLI"), ("ORG", "SIGN"), ("SERV", "SSL_SERV"))


def fill(database: Path, number: int) -> None:
    """Add so many orders with their certificates to the store of a stopped daemon, a tenth of them revoked."""
    chance, now = random.Random(1), datetime.now(UTC)  # noqa: S311 (plausible, not secret)
    with closing(sqlite3.connect(database)) as connection:
        connection.row_factory = sqlite3.Row
        model = dict(connection.execute("SELECT * FROM certificates WHERE kind = 'card'").fetchone())
        structure = dict(connection.execute("SELECT * FROM structures").fetchone())
        (habilitation,) = connection.execute("SELECT id FROM habilitations").fetchone()
        (card,) = connection.execute("SELECT serial FROM cards").fetchone()
        others = [structure | {"id": f"3{10**13 + each}", "name": f"HOPITAL {each}"} for each in range(200)]
        _insert(connection, "structures", others)
        orders, certificates = [], []
        for each in range(number):
            begun = now - chance.random() * _THREE_YEARS
            name, (offer, usage) = f"SERVICE-{chance.randrange(number):06d}", chance.choice(_OFFERED)
            owner = structure if chance.random() < 0.5 else chance.choice(others)
            order_id = f"{chance.getrandbits(64):016x}"
            search = search_text([order_id, name, owner["id"], owner["name"], "bench@example.org"])
            shared = {"offer": offer, "usage": usage, "structure_id": owner["id"], "search": search}
            order = {
                "id": order_id, "state": "retrieved", "habilitation_id": habilitation, "card_serial": card,
                "fields": "{}", "contacts": '["bench@example.org"]', "label": name, "key_source": "csr",
                "algorithm": "rsa_2048", "spki": b"", "spki_sha256": f"{each:064x}", "level": "external",
                "created_at": begun.strftime(_WRITTEN), "proven_at": begun.strftime(_WRITTEN),
                "expires_at": (begun + timedelta(days=30)).strftime(_WRITTEN),
            }  # fmt: skip
            revoked = chance.random() < 0.1
            certificate = {
                "serial": f"{chance.getrandbits(127):032x}", "kind": "order", "order_id": order["id"],
                "card_serial": None, "card_role": None, "subject": f"CN={name}", "common_name": name,
                "not_before": begun.strftime(_WRITTEN), "not_after": (begun + _THREE_YEARS).strftime(_WRITTEN),
                "issued_at": begun.strftime(_WRITTEN), "spki_sha256": order["spki_sha256"], "token_serial": None,
                "key_id": None, "on_token": True, "contacts": order["contacts"],
                "revoked_at": begun.strftime(_WRITTEN) if revoked else None,
                "revocation_reason": "superseded" if revoked else None,
            }  # fmt: skip
            orders.append(order | shared)
            certificates.append(model | certificate | shared)
        _insert(connection, "orders", orders)
        _insert(connection, "certificates", certificates)
        connection.commit()


class Visitor:
    """A signed-in browser as far as headers go, with a card session open if asked for."""

    def __init__(self, daemon: RunningDaemon, *, with_card: bool) -> None:
        link = urlsplit(daemon.cli("open", "--print-only").stdout.strip())
        self._connection = http.client.HTTPConnection("127.0.0.1", link.port)
        self._connection.request("GET", f"{link.path}?{link.query}")
        answer = self._connection.getresponse()
        answer.read()
        self._serial = str(daemon.call("GET", "/api/v1/certificates?limit=1").json["items"][0]["serial"])
        self._headers = {
            "Cookie": answer.headers["Set-Cookie"].split(";")[0],
            "Sec-Fetch-Site": "same-origin",
        }
        if with_card:
            page = self._get("/cartes")
            form = {"pin": "1234", "_jeton": re.findall(r'name="_jeton" value="([^"]+)"', page)[0]}
            path = re.findall(r"/cartes/\d+/session", page)[0]
            own = {
                **self._headers,
                "Origin": daemon.address,
                "Content-Type": "application/x-www-form-urlencoded",
            }
            daemon.send_form(path, urlencode(form), own)

    def milliseconds(self, path: str) -> float:
        """Return how long a page takes."""
        begun = time.perf_counter()
        self._get(path.format(serial=self._serial))
        return (time.perf_counter() - begun) * 1000

    def _get(self, path: str) -> str:
        try:
            return self._got(path)
        except ConnectionError:
            # It was closed for having been idle.
            self._connection.close()
            return self._got(path)

    def _got(self, path: str) -> str:
        self._connection.request("GET", path, headers=self._headers)
        answer = self._connection.getresponse()
        body = answer.read().decode()
        if answer.status != http.HTTPStatus.OK:
            raise RuntimeError(f"{path} answers {answer.status}")
        return body


@contextmanager
def filled(directory: Path, number: int) -> Iterator[RunningDaemon]:
    """Run a daemon over so many certificates."""
    directory.mkdir()
    daemon = RunningDaemon(directory / "state", {**QUICK, "CARDD_READERS__VIRTUAL": "off"})
    daemon.init()
    fill(daemon.state / "cardd.sqlite3", number)
    daemon.start()
    try:
        yield daemon
    finally:
        daemon.end()


def measure(few: Visitor, many: Visitor, path: str, rounds: int) -> tuple[float, float]:
    """Return the median times of a page on both daemons, called in turns."""
    times = [(few.milliseconds(path), many.milliseconds(path)) for _ in range(rounds + 1)][1:]
    return statistics.median(each[0] for each in times), statistics.median(each[1] for each in times)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.pages", description=__doc__)
    parser.add_argument("--certificates", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=15)
    given = parser.parse_args()
    table = Table("page", "who", f"{FEW:,} (ms)", f"{given.certificates:,} (ms)", f"at most {MOST_MS:g} ms")
    with (
        tempfile.TemporaryDirectory() as scratch,
        filled(Path(scratch) / "few", FEW) as small,
        filled(Path(scratch) / "many", given.certificates) as large,
    ):
        for who, with_card in (("owner", False), ("card", True)):
            few, many = (Visitor(daemon, with_card=with_card) for daemon in (small, large))
            for path in PAGES:
                one, other = measure(few, many, path, given.rounds)
                table.add_row(path, who, f"{one:.1f}", f"{other:.1f}", "yes" if other <= MOST_MS else "no")
    Console().print(table)


def _insert(connection: sqlite3.Connection, table: str, rows: list[dict[str, object]]) -> None:
    columns = list(rows[0])
    named, marks = ", ".join(columns), ", ".join("?" for _ in columns)
    statement = f"INSERT INTO {table} ({named}) VALUES ({marks})"  # noqa: S608 (our own names)
    connection.executemany(statement, [tuple(row[column] for column in columns) for row in rows])


if __name__ == "__main__":
    main()
