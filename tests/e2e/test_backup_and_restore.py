"""A backup made under load, restored elsewhere: nothing goes back a step, and only real copies alarm."""

import asyncio
import json
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import DaemonMaker
from tests.support.ordering import ordered
from tests.support.running import QUICK, RunningDaemon
from tests.support.stores import running_postgresql

EC = {**QUICK, "CARDD_PKI__CA_ALGORITHM": "ec_p256"}


@dataclass(frozen=True)
class Saved:
    """A backup, its identity, the daemon that it is of (stopped), and what was seen of it last."""

    file: Path
    identity: Path
    daemon: RunningDaemon
    order: dict[str, Any]
    crl_number: int
    last_event: int
    counters: dict[str, int]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Saved]:
    """A backup made while orders and revocations run; the daemon went on for a while, and is gone."""
    folder = tmp_path_factory.mktemp("saved")
    daemon = RunningDaemon(folder / "state", EC).start()
    order = ordered(daemon)
    ended = threading.Event()

    def work() -> None:
        while not ended.is_set():
            serial = ordered(daemon)["certificate"]
            daemon.call("POST", f"/api/v1/certificates/{serial}/revocation", {"reason": "superseded"})

    load = threading.Thread(target=work)
    load.start()
    identity, file = folder / "identity.txt", folder / "backup.tar.age"
    try:
        for name in (identity, folder / "second.txt"):
            daemon.cli("backup", "--new-identity", str(name), "--output", str(file))
            file.rename(folder / f"{name.stem}.age")
    finally:
        ended.set()
        load.join()
    yield Saved(
        file=folder / "identity.age",
        identity=identity,
        daemon=daemon,
        order=order,
        crl_number=_crl_number(daemon, folder),
        last_event=_last_event(daemon),
        counters=_counters(daemon.state),
    )
    daemon.kill()


def test_what_was_restored_goes_on_without_a_step_back_and_without_an_alarm(
    saved: Saved, make_daemon: DaemonMaker, tmp_path: Path
) -> None:
    restored = make_daemon(tmp_path / "elsewhere", EC)
    report = _restore(restored, saved)
    assert report["journal_lines"] > 0
    assert {token["included"] for token in report["tokens"]} == {True}
    restored.start()

    assert restored.call("GET", "/api/v1/health").json["status"] == "ok"
    assert all(token["quarantine"] is None for token in restored.call("GET", "/api/v1/tokens").json["items"])
    assert {token["level"] for token in restored.call("GET", "/api/v1/tokens").json["items"]} == {
        token["level"] for token in saved.daemon.call("GET", "/api/v1/tokens").json["items"]
    }
    assert restored.call("GET", "/api/v1/audit/verification").json["valid"]
    assert _crl_number(restored, tmp_path) > saved.crl_number
    assert _last_event(restored) > saved.last_event
    counters = _counters(restored.state)
    assert all(counters[serial] > counter for serial, counter in saved.counters.items())
    found = restored.call("GET", f"/api/v1/orders/{saved.order['id']}").json
    assert found["certificate"] == saved.order["certificate"]
    assert restored.call("GET", f"/api/v1/keys/{found['public_key_sha256']}/csr").status == 200
    assert restored.cli("key", "evidence", found["public_key_sha256"]).returncode == 0
    assert ordered(restored)["state"] == "retrieved"
    assert "state.restored" in restored.cli("audit", "list", "--limit", "500").stdout
    restored.stop()
    restored.start()
    assert restored.call("GET", "/api/v1/health").json["status"] == "ok", "a second start is like any other"

    token = next(
        t for t in restored.call("GET", "/api/v1/tokens").json["items"] if t["purpose"] == "structure"
    )
    restored.stop()
    copied = _directory(saved.daemon.state, token["serial"])
    own = _directory(restored.state, token["serial"])
    shutil.rmtree(own)
    shutil.copytree(copied, own)
    restored.start()
    (noticed,) = [
        t for t in restored.call("GET", "/api/v1/tokens").json["items"] if t["serial"] == token["serial"]
    ]
    assert noticed["quarantine"] is not None, "a token put there by hand is still a copy"


@pytest.mark.slow
def test_the_backup_of_a_machine_that_was_alone_is_restored_into_a_database_for_several(
    saved: Saved, make_daemon: DaemonMaker, tmp_path: Path
) -> None:
    with running_postgresql() as server:
        asyncio.run(server.administer("CREATE DATABASE cardd"))
        place = {
            "CARDD_STORE__URL": server.database("cardd").url,
            "CARDD_PUBLICATION__URL": "http://pki.example",
        }
        restored = make_daemon(tmp_path / "elsewhere", {**EC, **place})
        _restore(restored, saved)
        shutil.rmtree(restored.state)  # as if cut short when the rows were there and the files were not
        assert _restore(restored, saved)["database"] == "localhost/cardd"
        restored.start()
        assert restored.call("GET", "/api/v1/health").json["status"] == "ok"
        assert _crl_number(restored, tmp_path) > saved.crl_number
        found = restored.call("GET", f"/api/v1/orders/{saved.order['id']}").json
        assert found["certificate"] == saved.order["certificate"]
        assert ordered(restored)["state"] == "retrieved"
        restored.stop()


def test_a_restore_killed_at_any_moment_leaves_nothing_or_all(
    saved: Saved, make_daemon: DaemonMaker, tmp_path: Path
) -> None:
    daemon = make_daemon(tmp_path / "state", EC)
    command = [
        sys.executable,
        "-m",
        "cardd.cli",
        "restore",
        str(saved.file),
        "--identity",
        str(saved.identity),
    ]
    outcomes = set()
    for moment in (0.5, 0.8, 1.0, 1.3):
        shutil.rmtree(daemon.state, ignore_errors=True)
        restoring = subprocess.Popen(
            command, env=daemon.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            restoring.wait(moment)
        except subprocess.TimeoutExpired:
            restoring.kill()
            restoring.wait()
        names = {path.name for path in daemon.state.glob("*")} - {"lock"}
        if names <= {".restoring"}:
            outcomes.add("nothing")
            if names:
                refused = daemon.cli("run", check=False)
                assert refused.returncode == 1, "no new PKI begins beside a restore that was cut short"
                assert "cardd restore" in refused.stderr
        else:
            outcomes.add("all")
            assert ".restored" in names or "cardd.sqlite3" in names
    if outcomes == {"nothing"} or names <= {".restoring"}:
        _restore(daemon, saved)
    daemon.start()
    assert daemon.call("GET", f"/api/v1/orders/{saved.order['id']}").status == 200


def test_what_is_no_backup_for_here_is_refused_with_a_sentence(
    saved: Saved, make_daemon: DaemonMaker, tmp_path: Path
) -> None:
    daemon = make_daemon(tmp_path / "state", EC)
    short = tmp_path / "short.age"
    short.write_bytes(saved.file.read_bytes()[:-4000])
    other = saved.identity.parent / "second.txt"
    for file, identity, sentence in (
        (short, saved.identity, "damaged, cut short"),
        (saved.identity, saved.identity, "damaged, cut short"),
        (saved.file, other, "not one of its recipients"),
        (saved.file, saved.file, "neither an age identity"),
        (tmp_path / "none", saved.identity, "No such file"),
    ):
        done = daemon.cli("restore", str(file), "--identity", str(identity), check=False)
        assert (done.returncode, sentence in done.stderr) == (1, True), done.stderr
        assert {path.name for path in daemon.state.glob("*")} <= {"lock"}
    (daemon.state / "something").touch()
    done = daemon.cli("restore", str(saved.file), "--identity", str(saved.identity), check=False)
    assert (done.returncode, "it holds something" in done.stderr) == (1, True), done.stderr


def test_no_private_key_and_no_pin_lies_open_in_a_backup_directory(saved: Saved) -> None:
    names = {path.name for path in (saved.daemon.state / "backups").iterdir()}
    assert all(name.endswith((".tar.age", ".json")) for name in names)
    assert not (saved.daemon.state / ".backup").exists()
    assert all(
        path.read_bytes().startswith(b"age-encryption.org/v1")
        for path in (saved.daemon.state / "backups").glob("*.age")
    )


def test_a_backup_that_nobody_could_open_is_refused(saved: Saved) -> None:
    refused = saved.daemon.cli("backup", check=False)
    assert (refused.returncode, "at least one is needed" in refused.stderr) == (1, True)
    refused = saved.daemon.cli("backup", "--recipient", "age1nobody", check=False)
    assert (refused.returncode, "recipients[0]" in refused.stderr) == (1, True)


def _restore(daemon: RunningDaemon, saved: Saved) -> dict[str, Any]:
    done = daemon.cli("restore", str(saved.file), "--identity", str(saved.identity), "--json")
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def _crl_number(daemon: RunningDaemon, folder: Path) -> int:
    (folder / "list.crl").write_bytes(daemon.call("GET", "/CRL/ACI-EL-ORG-TEST.crl", token=None).body)
    shown = subprocess.run(
        ["openssl", "crl", "-inform", "DER", "-in", folder / "list.crl", "-noout", "-crlnumber"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    return int(shown.partition("=")[2], 0)


def _last_event(daemon: RunningDaemon) -> int:
    with closing(sqlite3.connect(daemon.state / "cardd.sqlite3")) as database:
        number: int = database.execute("SELECT max(id) FROM events").fetchone()[0]
    return number


def _counters(state: Path) -> dict[str, int]:
    with closing(sqlite3.connect(state / "cardd.sqlite3")) as database:
        return dict(database.execute("SELECT token_serial, counter FROM token_chains").fetchall())


def _directory(state: Path, serial: str) -> Path:
    """SoftHSM names a token's directory by a UUID that ends in its serial."""
    tokens = (state / "softhsm" / "tokens").iterdir()
    return next(path for path in tokens if path.name.replace("-", "").endswith(serial))
