"""What runs out or goes wrong around the daemon under load: disk, clock, token files, clients, descriptors."""

import os
import resource
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.faults.conftest import DaemonStarter
from tests.faults.test_processes import BROKEN, SESSIONS_GONE, children, eventually, free_port
from tests.support.running import RunningDaemon
from tests.support.working import Work

pytestmark = pytest.mark.slow

#: What callers may see while nothing can be written: send the same request again.
NOT_WRITABLE = {
    "503 store_unavailable",
    "503 token_host_unavailable",
    "502 token_error",
    "502 token_failure",
}


#: What callers may see while no connection can be taken.
BUSY = {
    "503 token_host_unavailable",
    "503 store_unavailable",
    "503 resources_exhausted",
    "TimeoutError",
    "BrokenPipeError",
    "ConnectionResetError",
    "RemoteDisconnected",
}


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Mount a file system of 48 MiB, or skip."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount the small disk that this test fills")
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", folder],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@contextmanager
def failing_disk(folder: Path) -> Iterator[Path]:
    """Mount an ext4 file system of a file, which the kernel can be told to give up, or skip."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount the disk that this test makes fail")
    folder.mkdir()
    image = folder.with_suffix(".img")
    with image.open("wb") as file:
        file.truncate(128 * 1024 * 1024)
    subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
    mounted = subprocess.run(
        ["mount", "-o", "loop", image, folder], capture_output=True, text=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"no file system in a file can be mounted here: {mounted.stderr.strip()}")
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
        work.check(tmp_path, NOT_WRITABLE)
        daemon.stop()


def test_a_state_that_cannot_be_written_is_refused_with_a_sentence_and_taken_once_it_can(
    start_daemon: DaemonStarter, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk") as disk:
        daemon = start_daemon(disk)
        daemon.stop()
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        refused = daemon.cli("run", check=False)
        assert (refused.returncode, refused.stderr.count("\n")) == (4, 1), refused.stderr
        assert "Traceback" not in refused.stderr
        assert "unexpected" not in refused.stderr
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
        daemon.start()
        _stays_readable(daemon)
        daemon.stop()


def test_a_clock_that_jumps_forth_and_back_makes_no_list_or_number_go_back(
    start_daemon: DaemonStarter, tmp_path: Path
) -> None:
    daemon = start_daemon(tmp_path)
    work, numbers = Work(daemon), [_number(daemon, tmp_path)]
    for days in ("2", "40", "1"):
        daemon.stop()
        daemon.environment["CARDD_CLOCK_OFFSET_DAYS"] = days
        daemon.start()
        session = Work(daemon, done=work.done)
        with session:
            session.wait_for_jobs(2)
        session.check(tmp_path, set())
        numbers.append(_number(daemon, tmp_path))
    assert numbers == sorted(set(numbers))
    assert daemon.call("GET", "/api/v1/audit/verification").json["valid"]


def test_a_file_system_that_turns_read_only_stops_changes_until_it_is_mounted_again(
    start_daemon: DaemonStarter, tmp_path: Path
) -> None:
    with failing_disk(tmp_path / "disk") as disk:
        daemon = start_daemon(disk, CARDD_HTTP_PORT=str(free_port()))
        # What is synced is the copy of the prepared state, not what is done from here.
        subprocess.run(["sync", "-f", disk], check=True)
        with Work(daemon) as work:
            work.wait_for_jobs(2)
            # As the kernel does after an error of the disk.
            subprocess.run(["mount", "-o", "remount,abort", disk], check=True)
            eventually(lambda: sum(work.seen.values()) > 3)
            _stays_readable(daemon)
            daemon.kill()
            # The daemon's token hosts end a moment after it.
            eventually(lambda: subprocess.run(["umount", disk], check=False).returncode == 0)
            # A mount namespace made meanwhile keeps the file system that was given up; its disk's copy is another.
            copy = shutil.copy(disk.with_suffix(".img"), disk.with_suffix(".copy"))
            subprocess.run(["mount", "-o", "loop", copy, disk], check=True)
            daemon.start()
            work.wait_for_jobs(4)
        # A token host that was started meanwhile does not see the tokens: SoftHSM shows none that it cannot write.
        work.check(tmp_path, NOT_WRITABLE | BROKEN | SESSIONS_GONE | {"409 token_absent"})
        daemon.stop()


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
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    for host in children(daemon.pid, "cardd_pkcs11.host"):
        os.kill(host, signal.SIGKILL)  # a host that had read the files goes on with what it read
    daemon.cli("key", "list", "--check", check=False)
    hurt = [key for key in daemon.call("GET", "/api/v1/keys").json["items"] if key["findings"]]
    assert {key["token_serial"] for key in hurt} == {token["serial"]}, (
        "what is damaged is named, and that only"
    )
    assert daemon.cli("status", check=False).returncode == 6
    _stays_readable(daemon)

    daemon.stop()
    shutil.rmtree(folder)
    shutil.copytree(saved, folder)
    daemon.start()
    now = next(
        t for t in daemon.call("GET", "/api/v1/tokens").json["items"] if t["serial"] == token["serial"]
    )
    if now["quarantine"] is not None:
        daemon.cli("token", "release", token["serial"], "--yes")
    daemon.cli("key", "list", "--check", check=False)
    assert not [key for key in daemon.call("GET", "/api/v1/keys").json["items"] if key["findings"]]
    with Work(daemon) as after:
        after.wait_for_jobs(2)
    after.check(tmp_path, set())


def test_a_thousand_slow_clients_keep_nobody_from_working(
    start_daemon: DaemonStarter, tmp_path: Path
) -> None:
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
    with Work(daemon) as work:
        work.wait_for_jobs(3)  # what the daemon opens to work is open
        soft, hard = resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE)
        used = len(list(Path(f"/proc/{daemon.pid}/fd").iterdir()))
        resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (used + 20, hard))
        parts = urlsplit(daemon.address)
        with ExitStack() as stack:
            for _ in range(120):
                stack.enter_context(socket.create_connection((parts.hostname, parts.port), timeout=30))
            before = work.jobs
            # Refused while there are none left, or back at work because the crowd was shed.
            eventually(lambda: sum(work.seen.values()) > 3 or work.jobs > before + 3)
        resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (soft, hard))
        work.wait_for_jobs(4)
    work.check(tmp_path, BUSY)
    assert daemon.stop() == 0


def _number(daemon: RunningDaemon, folder: Path) -> int:
    (folder / "numbered.crl").write_bytes(daemon.call("GET", "/CRL/ACI-EL-ORG-TEST.crl", token=None).body)
    shown = subprocess.run(
        ["openssl", "crl", "-inform", "DER", "-in", folder / "numbered.crl", "-noout", "-crlnumber"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    return int(shown.partition("=")[2], 0)
