"""What runs out or goes wrong around the daemon under load: disk, clock, token files, clients, descriptors."""

import os
import resource
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.faults.conftest import DaemonStarter
from tests.faults.test_processes import eventually
from tests.support.running import RunningDaemon
from tests.support.softhsm import require_tool
from tests.support.working import Work

pytestmark = pytest.mark.slow

#: What callers may see while nothing can be written: send the same request again.
NOT_WRITABLE = {"503 store_unavailable", "503 token_host_unavailable", "500 token_failure", "502 token_failure"}


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Mount a file system of 48 MiB, or skip."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount the small disk that this test fills")
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", folder], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def _fill(folder: Path) -> Path:
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    return filler


def _stays_readable(daemon: RunningDaemon) -> None:
    assert daemon.call("GET", "/CRL/ACI-EL-ORG-TEST.crl", token=None).status == 200
    assert daemon.call("GET", "/api/v1/orders").status == 200
    assert daemon.call("GET", "/api/v1/health/live", token=None).status == 200


def test_a_full_disk_stops_changes_and_nothing_else(start_daemon: DaemonStarter, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        daemon = start_daemon(disk)
        with Work(daemon) as work:
            work.wait_for_jobs(2)
            filler = _fill(disk)
            eventually(lambda: sum(work.seen.values()) > 3)
            _stays_readable(daemon)
            filler.unlink()
            work.wait_for_jobs(4)
        print(work.seen)
        work.check(tmp_path, NOT_WRITABLE)
        daemon.stop()


def test_a_state_that_becomes_read_only_stops_changes_and_nothing_else(
    start_daemon: DaemonStarter, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk") as disk:
        daemon = start_daemon(disk)
        with Work(daemon) as work:
            work.wait_for_jobs(2)
            # A file system with open files refuses to become read-only at once, a bind mount over it does not.
            subprocess.run(["mount", "-o", "remount,size=4k", disk], check=False)
            eventually(lambda: sum(work.seen.values()) > 3)
            _stays_readable(daemon)
            subprocess.run(["mount", "-o", "remount,size=48m", disk], check=True)
            work.wait_for_jobs(4)
        print(work.seen)
        work.check(tmp_path, NOT_WRITABLE)
        daemon.stop()


def test_a_clock_that_jumps_forth_and_back_makes_no_list_or_number_go_back(
    start_daemon: DaemonStarter, tmp_path: Path
) -> None:
    require_tool("faketime")
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    moved = tmp_path / "clock"
    moved.write_text("+0\n")
    daemon = start_daemon(
        tmp_path,
        LD_PRELOAD=str(library),
        FAKETIME_TIMESTAMP_FILE=str(moved),
        FAKETIME_NO_CACHE="1",
        FAKETIME_DONT_FAKE_MONOTONIC="1",
        FAKETIME_DONT_RESET="1",
    )
    numbers = []
    with Work(daemon) as work:
        for jump in ("+2d", "-3d", "+40d", "+0"):
            work.wait_for_jobs(2)
            moved.write_text(f"{jump}\n")
            work.wait_for_jobs(2)
            numbers.append(_number(daemon, tmp_path))
    print(work.seen, numbers)
    assert numbers == sorted(numbers)
    assert daemon.call("GET", "/api/v1/audit/verification").json["valid"]
    work.check(tmp_path, {"403 card_session_required", "404 card_session_unknown", "401 card_session_unknown"})


def test_damaged_token_files_fail_with_a_reason_and_only_what_needs_them(
    start_daemon: DaemonStarter, tmp_path: Path
) -> None:
    daemon = start_daemon(tmp_path)
    with Work(daemon) as work:
        work.wait_for_jobs(2)
    token = next(t for t in daemon.call("GET", "/api/v1/tokens").json["items"] if t["purpose"] == "structure")
    folder = next(
        path
        for path in (daemon.state / "softhsm" / "tokens").iterdir()
        if path.name.replace("-", "").endswith(token["serial"])
    )
    saved = shutil.copytree(folder, tmp_path / "saved")
    for file in folder.glob("*.object"):
        content = file.read_bytes()
        file.write_bytes(content[: len(content) // 2])
    with Work(daemon) as hurt:
        eventually(lambda: sum(hurt.seen.values()) > 3)
        _stays_readable(daemon)
        assert daemon.cli("key", "list", "--check", check=False).returncode in (0, 1, 4, 6)
        for file in saved.iterdir():
            shutil.copyfile(file, folder / file.name)
        hurt.wait_for_jobs(2)
    print(hurt.seen)
    hurt.check(tmp_path, NOT_WRITABLE)


def test_a_thousand_slow_clients_keep_nobody_from_working(start_daemon: DaemonStarter, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 4096:
        pytest.skip(f"the descriptors of a process are limited to {hard} here; 4096 are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4096), hard))
    daemon = start_daemon(tmp_path)
    parts = urlsplit(daemon.address)
    with ExitStack() as stack, Work(daemon) as work:
        slow = [
            stack.enter_context(socket.create_connection((parts.hostname, parts.port), timeout=30))
            for _ in range(1000)
        ]
        for number, each in enumerate(slow):
            each.sendall(b"POST /api/v1/orders HTTP/1.1\r\nHost: 127.0.0.1\r\n"[: 5 + number % 40])
        work.wait_for_jobs(6)
        assert daemon.call("GET", "/api/v1/health", token=None).status == 200
    work.check(tmp_path, set())


def test_descriptors_that_run_out_refuse_new_callers_and_come_back(
    start_daemon: DaemonStarter, tmp_path: Path
) -> None:
    daemon = start_daemon(tmp_path)
    _, hard = resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE)
    used = len(list(Path(f"/proc/{daemon.pid}/fd").iterdir()))
    resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (used + 8, hard))
    parts = urlsplit(daemon.address)
    with Work(daemon) as work:
        with ExitStack() as stack:
            for _ in range(60):
                stack.enter_context(socket.create_connection((parts.hostname, parts.port), timeout=30))
            time.sleep(2)
        work.wait_for_jobs(6)
    print(work.seen)
    work.check(tmp_path, {"503 store_unavailable", "503 token_host_unavailable", "TimeoutError", "ConnectionResetError", "RemoteDisconnected"})
    assert daemon.stop() == 0


def _number(daemon: RunningDaemon, folder: Path) -> int:
    (folder / "numbered.crl").write_bytes(daemon.call("GET", "/CRL/ACI-EL-ORG-TEST.crl", token=None).body)
    shown = subprocess.run(
        ["openssl", "crl", "-inform", "DER", "-in", folder / "numbered.crl", "-noout", "-crlnumber"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    return int(shown.partition("=")[2], 0)
