"""A backup of a shared database, made while machines work, restored onto SQLite and onto an empty PostgreSQL."""

import asyncio
import json
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from cardd.store import SharedDatabase
from tests.e2e.conftest import DaemonMaker
from tests.support.ordering import ordered
from tests.support.running import QUICK, RunningDaemon
from tests.support.stores import PostgresqlServer, running_postgresql

pytestmark = pytest.mark.slow

EC = {
    **QUICK,
    "CARDD_PKI__CA_ALGORITHM": "ec_p256",
    "CARDD_READERS__PCSC": "off",
    "CARDD_PUBLICATION__URL": "http://pki.example",
}


@dataclass(frozen=True)
class Saved:
    """A backup of one of two machines, and what was seen of it last; both machines are gone."""

    file: Path
    identity: Path
    made: dict[str, Any]
    order: dict[str, Any]
    crl_number: int
    last_event: int
    serials: set[str]


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresqlServer]:
    with running_postgresql() as found:
        yield found


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory, server: PostgresqlServer) -> Saved:
    """The backup was made while orders and revocations ran; they went on for a while."""
    folder = tmp_path_factory.mktemp("shared")
    shared = {**EC, "CARDD_STORE__URL": _new_database(server, "original")}
    first = RunningDaemon(folder / "first", shared).start()
    second = RunningDaemon(folder / "second", {**shared, "CARDD_MACHINES__NAME": "the-other-desk"}).start()
    order = ordered(first)
    ended = threading.Event()

    def work() -> None:
        while not ended.is_set():
            serial = ordered(first)["certificate"]
            first.call("POST", f"/api/v1/certificates/{serial}/revocation", {"reason": "superseded"})

    load = threading.Thread(target=work)
    load.start()
    identity, file = folder / "identity.txt", folder / "backup.tar.age"
    try:
        made = first.cli("backup", "--new-identity", str(identity), "--output", str(file), "--json")
    finally:
        ended.set()
        load.join()
    ordered(first)
    found = Saved(
        file,
        identity,
        json.loads(made.stdout),
        order,
        _crl_number(first),
        _last_event(first),
        _serials(first),
    )
    for daemon in (first, second):
        daemon.kill()
    return found


@pytest.mark.parametrize("onto", ["sqlite", "postgresql"])
def test_what_was_restored_goes_on_without_a_step_back_and_without_an_alarm(
    saved: Saved, server: PostgresqlServer, make_daemon: DaemonMaker, tmp_path: Path, onto: str
) -> None:
    place = {"CARDD_STORE__URL": _new_database(server, "restored")} if onto == "postgresql" else {}
    restored = make_daemon(tmp_path / "elsewhere", {**EC, **place})
    _restore(restored, saved)
    shutil.rmtree(restored.state)  # as if cut short when the rows were there and the files were not
    report = json.loads(_restore(restored, saved).stdout)
    assert report["journal_lines"] > 0
    assert (report["database"] is None) == (onto == "sqlite")
    assert {token["included"] for token in report["tokens"]} == {True}
    assert (restored.state / "cardd.sqlite3").exists() == (onto == "sqlite")
    restored.start()

    assert restored.call("GET", "/api/v1/health").json["status"] == "ok"
    assert all(token["quarantine"] is None for token in restored.call("GET", "/api/v1/tokens").json["items"])
    assert restored.call("GET", "/api/v1/audit/verification").json["valid"]
    assert _crl_number(restored) > saved.crl_number
    assert _last_event(restored) > saved.last_event
    found = restored.call("GET", f"/api/v1/orders/{saved.order['id']}").json
    assert found["certificate"] == saved.order["certificate"]
    assert restored.call("GET", f"/api/v1/keys/{found['public_key_sha256']}/csr").status == 200
    assert restored.cli("key", "evidence", found["public_key_sha256"]).returncode == 0
    new = ordered(restored)
    assert new["state"] == "retrieved"
    assert new["certificate"] not in saved.serials
    if onto == "postgresql":
        again = _restore(make_daemon(tmp_path / "again", {**EC, **place}), saved, check=False)
        assert (again.returncode, "holds another state" in again.stderr) == (1, True), again.stderr
        assert "Traceback" not in again.stderr
        assert not list((tmp_path / "again").glob("[!.lr]*")), "nothing was put in place"


def test_a_backup_says_what_of_other_machines_is_not_in_it(saved: Saved) -> None:
    (sentence,) = saved.made["left_out"]
    assert sentence["en"].startswith("the-other-desk (machine ")
    assert "its tokens" in sentence["en"]


def _restore(daemon: RunningDaemon, saved: Saved, *, check: bool = True) -> Any:
    arguments = "restore", str(saved.file), "--identity", str(saved.identity), "--json"
    return daemon.cli(*arguments, check=check)


def _new_database(server: PostgresqlServer, name: str) -> str:
    asyncio.run(server.administer(f'CREATE DATABASE "{name}"'))
    return server.database(name).url


def _crl_number(daemon: RunningDaemon) -> int:
    published = daemon.call("GET", "/CRL/ACI-EL-ORG-TEST.crl", token=None).body
    found = x509.load_der_x509_crl(published).extensions.get_extension_for_class(x509.CRLNumber)
    return found.value.crl_number


def _last_event(daemon: RunningDaemon) -> int:
    """Return the number of the newest event."""
    statement = "SELECT max(id) FROM events"
    url = daemon.environment.get("CARDD_STORE__URL")
    if url is None:
        with closing(sqlite3.connect(daemon.state / "cardd.sqlite3")) as database:
            number: int = database.execute(statement).fetchone()[0]
        return number
    return asyncio.run(_ask(SharedDatabase(url=url), statement))


async def _ask(database: SharedDatabase, statement: str) -> int:
    connection = await database.connect("tests")
    try:
        answer: int = await connection.fetchval(statement)
    finally:
        await connection.close()
    return answer


def _serials(daemon: RunningDaemon) -> set[str]:
    items = daemon.call("GET", "/api/v1/certificates?limit=500").json["items"]
    return {each["serial"] for each in items}
