"""Runs a private pcscd inside namespaces of its own and opens connections to its virtual readers.

`confined` starts this file by its path, with the standard library alone, under `unshare --mount --net`.
The first argument is the descriptor of a SOCK_SEQPACKET socket to the daemon; its end ends all. Requests
on it are `start`, `ensure`, `kill`, `connect PORT`; answers are `ok` (with the connected socket for `connect`), `busy`
(the reader has not yet taken the card before) or a sentence.
"""

import contextlib
import ctypes
import fcntl
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

_RUN = Path("/run")
_PCSCD_RUN = _RUN / "pcscd"
_USB = Path("/dev/bus/usb")
_SIOCSIFFLAGS = 0x8914
_IFF_UP_RUNNING = 0x41
_PR_SET_PDEATHSIG = 1
_LONGEST_ANSWER = 250
_LISTENING = "0A"
_STARTS_WITHIN_SECONDS = 10.0
_POLL_SECONDS = 0.01
_CONNECTS_WITHIN_SECONDS = 0.1


class Layout(NamedTuple):
    """The command line: pcscd's program, the directory of its socket, its reader configuration, the readers' ports."""

    pcscd: str
    directory: Path
    configuration: Path
    ports: tuple[int, ...]


class Host:
    """pcscd and what surrounds it."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._process: subprocess.Popen[bytes] | None = None

    def prepare(self) -> None:
        """Bring the loopback up, put the directory in the place of /run/pcscd, hide USB readers.

        USB readers stay with the system's own pcscd; two would fight for them.
        """
        _raise_loopback()
        descriptor = os.open(self._layout.directory, os.O_PATH | os.O_DIRECTORY)
        try:
            source = f"/proc/{os.getpid()}/fd/{descriptor}"
            if not _PCSCD_RUN.is_dir():
                _mount("-t", "tmpfs", "tmpfs", str(_RUN))
                _PCSCD_RUN.mkdir()
            _mount("--no-canonicalize", "--bind", source, str(_PCSCD_RUN))
        finally:
            os.close(descriptor)
        if _USB.is_dir():
            _mount("-t", "tmpfs", "tmpfs", str(_USB))

    def start(self) -> None:
        """Start pcscd and wait until it and its readers answer."""
        self.kill()
        for name in ("pcscd.comm", "pcscd.pid"):
            (self._layout.directory / name).unlink(missing_ok=True)
        polkit = ["--disable-polkit"] if _knows_polkit(self._layout.pcscd) else []
        self._process = subprocess.Popen(  # noqa: S603 - our own program, found by our parent
            [self._layout.pcscd, "--foreground", "--config", str(self._layout.configuration), *polkit],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - this process has one thread
        )
        deadline = time.monotonic() + _STARTS_WITHIN_SECONDS
        while not self._is_ready():
            if self._process.poll() is not None:
                raise RuntimeError(f"pcscd ended with status {self._process.returncode}")
            if time.monotonic() > deadline:
                raise RuntimeError("pcscd does not answer")
            time.sleep(_POLL_SECONDS)

    def ensure(self) -> None:
        """Start pcscd if it has ended."""
        if self._process is None or self._process.poll() is not None:
            self.start()

    def kill(self) -> None:
        """Kill pcscd as a crash would, and wait for its end."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def connect(self, port: int) -> socket.socket:
        """Return a connection to the virtual reader at `port`."""
        return socket.create_connection(("127.0.0.1", port), timeout=_CONNECTS_WITHIN_SECONDS)

    def _is_ready(self) -> bool:
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(str(_PCSCD_RUN / "pcscd.comm"))
            except OSError:
                return False
        return set(self._layout.ports) <= _listening_ports()


def serve(host: Host, channel: socket.socket) -> None:
    """Answer requests until the other side closes."""
    while request := channel.recv(64).decode():
        try:
            answer, connection = _execute(host, request)
        except TimeoutError:
            answer, connection = "busy", None
        except (OSError, RuntimeError, ValueError) as error:
            answer, connection = str(error)[:_LONGEST_ANSWER] or "failed", None
        if connection is None:
            channel.send(answer.encode())
        else:
            with connection:
                socket.send_fds(channel, [answer.encode()], [connection.fileno()])


def _execute(host: Host, request: str) -> tuple[str, socket.socket | None]:
    verb, _, argument = request.partition(" ")
    match verb:
        case "start":
            host.start()
        case "ensure":
            host.ensure()
        case "kill":
            host.kill()
        case "connect":
            return "ok", host.connect(int(argument))
        case _:
            return "unknown request", None
    return "ok", None


def main() -> None:
    """Read the layout from the command line and serve."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    descriptor, pcscd, directory, configuration, *ports = sys.argv[1:]
    host = Host(Layout(pcscd, Path(directory), Path(configuration), tuple(map(int, ports))))
    with socket.socket(fileno=int(descriptor)) as channel:
        try:
            host.prepare()
            serve(host, channel)
        except (OSError, subprocess.CalledProcessError) as error:
            with contextlib.suppress(OSError):
                channel.send(str(error)[:_LONGEST_ANSWER].encode())
        finally:
            host.kill()


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)  # noqa: S603, S607 - fixed arguments


def _raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP_RUNNING))


def _listening_ports() -> set[int]:
    """Return the TCP ports of this network namespace that somebody listens on (proc(5), /proc/net/tcp)."""
    lines = Path("/proc/self/net/tcp").read_text().splitlines()[1:]
    rows = [line.split() for line in lines]
    return {int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == _LISTENING}


def _knows_polkit(pcscd: str) -> bool:
    """Whether this pcscd asks polkit who may use cards, which cannot work outside the system's namespaces."""
    shown = subprocess.run([pcscd, "--help"], capture_output=True, check=False)  # noqa: S603 - as above
    return b"--disable-polkit" in shown.stdout + shown.stderr


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    main()
