"""A shared database that dies, or cuts connections, under load: nothing acknowledged is lost, nothing is done twice."""

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.faults.conftest import EC
from tests.faults.test_processes import becomes_well, children, eventually
from tests.support.running import RunningDaemon
from tests.support.stores import PostgresqlServer, running_postgresql
from tests.support.working import Work

pytestmark = pytest.mark.slow

#: What callers may see while the database is away or has cut a connection: send the same request again.
AWAY = {"503 store_unavailable"}
_PUBLISHED = {"CARDD_PUBLICATION__URL": "http://pki.example", "CARDD_READERS__PCSC": "off"}


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresqlServer]:
    """A server that, other than the one of the ordinary tests, keeps what it has acknowledged."""
    with running_postgresql(outlasts_kill=True) as found:
        yield found


@pytest.fixture
def daemon(server: PostgresqlServer, tmp_path: Path) -> Iterator[RunningDaemon]:
    """A daemon on a database of its own."""
    name = f"of_{tmp_path.name}".lower()
    asyncio.run(server.administer(f'CREATE DATABASE "{name}"'))
    found = RunningDaemon(
        tmp_path / "state", {**EC, **_PUBLISHED, "CARDD_STORE__URL": server.database(name).url}
    )
    yield found.start()
    found.kill()


def test_a_database_that_is_killed_and_started_again_has_kept_all_that_was_acknowledged(
    daemon: RunningDaemon, server: PostgresqlServer, tmp_path: Path
) -> None:
    with Work(daemon) as work:
        for _ in range(3):
            work.wait_for_jobs(2)
            _kill(server)
            refused = daemon.call("GET", "/api/v1/orders")
            assert (refused.status, refused.json["type"]) == (503, "urn:cardd:error:store_unavailable")
            assert int(refused.headers["retry-after"]) > 0
            assert daemon.call("GET", "/CRL/ACI-EL-ORG-TEST.crl", token=None).status == 200
            assert daemon.call("GET", "/api/v1/health/live", token=None).status == 200
            assert daemon.call("GET", "/api/v1/health/ready", token=None).status == 503
            server.start()
        work.wait_for_jobs(2)
    work.check(tmp_path, AWAY)
    becomes_well(daemon)
    assert work.seen, "nobody was refused: nothing was proved"


def test_connections_that_are_cut_in_mid_transaction_cost_their_request_and_nothing_else(
    daemon: RunningDaemon, server: PostgresqlServer, tmp_path: Path
) -> None:
    with Work(daemon) as work:
        for _ in range(6):
            work.wait_for_jobs(1)
            asyncio.run(_cut_transactions(server))
        work.wait_for_jobs(2)
    work.check(tmp_path, AWAY)
    becomes_well(daemon)
    assert work.seen, "nobody was refused: nothing was proved"


def _kill(server: PostgresqlServer) -> None:
    """Kill the server and every process of it at once, as a power cut would; they are gone when this returns."""
    processes = (server.pid, *children(server.pid, ""))
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    eventually(lambda: not any(Path(f"/proc/{process}").exists() for process in processes))


async def _cut_transactions(server: PostgresqlServer) -> None:
    """Cut ten connections that are in a transaction, each at whatever statement it is."""
    connection = await server.database("postgres").connect("tests")
    try:
        async with asyncio.timeout(30):
            cut = 0
            while cut < 10:
                cut += await connection.fetchval(_CUT_ONE)
    finally:
        await connection.close()


_CUT_ONE = """
    SELECT count(pg_terminate_backend(pid)) FROM (
        SELECT pid FROM pg_stat_activity
        WHERE application_name LIKE 'cardd %' AND xact_start IS NOT NULL ORDER BY random() LIMIT 1
    ) AS one
"""
