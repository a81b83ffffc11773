"""The daemon under a service manager: it says how it is, serves the sockets handed over, reloads, and ends in order."""

import fcntl
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.running import QUICK, RunningDaemon

#: Puts the descriptors named first where a service manager puts them, and becomes the daemon.
_HAND_OVER = """
import os, sys
for position, given in enumerate(map(int, sys.argv[1].split(","))):
    os.dup2(given, 3 + position)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.executable, [sys.executable, "-m", "cardd.cli", "run"])
"""


@dataclass
class Manager:
    """A service manager: a socket for what is told, listening sockets, and the daemon."""

    folder: Path
    heard: list[str] = field(default_factory=list)
    process: subprocess.Popen[str] | None = None

    def __post_init__(self) -> None:
        self._ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._ear.bind(str(self.folder / "notify"))
        self._ear.settimeout(60)
        self.tcp = socket.create_server(("127.0.0.1", 0))
        self.unix = socket.socket(socket.AF_UNIX)
        self.unix.bind(str(self.folder / "cardd.sock"))
        self.unix.listen()

    def start(self, config: Path) -> None:
        daemon = RunningDaemon(self.folder / "state", {**QUICK, "CARDD_PKI__CA_ALGORITHM": "ec_p256"})
        environment = {
            **daemon.environment,
            "CARDD_CONFIG": str(config),
            "NOTIFY_SOCKET": str(self.folder / "notify"),
            "WATCHDOG_USEC": "600000",
            "LISTEN_FDS": "2",
        }
        # Far from 3 and 4, so that putting the one there does not close the other.
        inherited = [fcntl.fcntl(each.fileno(), fcntl.F_DUPFD, 100) for each in (self.tcp, self.unix)]
        with (self.folder / "log").open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _HAND_OVER, ",".join(map(str, inherited))],
                env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True,
                pass_fds=inherited,
            )  # fmt: skip
        for descriptor in inherited:
            os.close(descriptor)

    def wait_for(self, told: str) -> str:
        """Listen until a message holds a text; a silence of a minute fails."""
        while True:
            message = self._ear.recv(4096).decode()
            self.heard.append(message)
            if told in message:
                return message

    def get(self, path: str) -> bytes:
        """Ask over the Unix socket."""
        with socket.socket(socket.AF_UNIX) as caller:
            caller.connect(str(self.folder / "cardd.sock"))
            caller.sendall(f"GET {path} HTTP/1.1\r\nHost: cardd\r\nConnection: close\r\n\r\n".encode())
            return b"".join(iter(lambda: caller.recv(65536), b""))

    def end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
        if self.process is not None:
            self.process.wait()
            assert self.process.stdout is not None
            self.process.stdout.close()
        for each in (self._ear, self.tcp, self.unix):
            each.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(tmp_path)
    yield made
    made.end()


def test_the_daemon_tells_its_manager_and_serves_what_it_was_handed(manager: Manager, tmp_path: Path) -> None:
    config = tmp_path / "cardd.toml"
    config.write_text('[log]\nlevel = "info"\n')
    manager.start(config)
    assert manager.process is not None
    ready = manager.wait_for("READY=1")
    port = manager.tcp.getsockname()[1]
    assert f"http://127.0.0.1:{port}" in ready
    assert any("EXTEND_TIMEOUT_USEC=" in message for message in manager.heard), "a first start takes its time"
    assert b"200 OK" in manager.get("/api/v1/health/ready")
    for _ in range(3):
        manager.wait_for("WATCHDOG=1")

    config.write_text('[log]\nlevel = "warning"\nnonsense = 1\n')
    manager.process.send_signal(signal.SIGHUP)
    assert re.search(r"MONOTONIC_USEC=\d+", manager.wait_for("RELOADING=1"))
    assert "nonsense" in manager.wait_for("not reloaded")
    config.write_text('stop_seconds = 33\n[log]\nlevel = "debug"\n')
    manager.process.send_signal(signal.SIGHUP)
    manager.wait_for("STATUS=settings reloaded")
    assert '"waiting_for_a_restart": ["stop_seconds"]' in (tmp_path / "log").read_text()

    slow = socket.create_connection(("127.0.0.1", port))
    slow.sendall(b"POST /ocsp HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/ocsp-request\r\n")
    slow.sendall(b"Content-Length: 5\r\n\r\n12")
    assert b"200 OK" in manager.get("/api/v1/health/live")
    manager.process.send_signal(signal.SIGTERM)
    manager.wait_for("STOPPING=1")
    slow.sendall(b"345")
    assert slow.recv(65536).startswith(b"HTTP/1.1 200"), "what was under way is finished"
    slow.close()
    assert manager.process.wait(30) == 0
    assert (tmp_path / "cardd.sock").exists(), "the manager's socket is the manager's to remove"


def test_a_socket_that_others_could_reach_is_refused(manager: Manager, tmp_path: Path) -> None:
    manager.tcp.close()
    manager.tcp = socket.create_server(("0.0.0.0", 0))  # noqa: S104 - what is to be refused
    config = tmp_path / "cardd.toml"
    config.touch()
    manager.start(config)
    assert manager.process is not None
    assert manager.process.wait(60) == 4
    assert "The socket on 0.0.0.0 is not" in (tmp_path / "log").read_text()
