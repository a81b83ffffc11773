"""What the daemon tells the service manager, and what that hands over: sd_notify(3), sd_listen_fds(3).

The protocol is datagrams to the socket in `NOTIFY_SOCKET`, and descriptors from 3 on. Without a service manager nothing
is told, and nothing was handed over.
"""

import asyncio
import os
import socket
import time
from collections.abc import Mapping, MutableMapping
from typing import Self

import structlog

_FIRST_DESCRIPTOR = 3
#: Time that each step of a first start may take, told to the service manager: RSA keys of 4096 bits are slow to make.
_STEP_MICROSECONDS = 300_000_000
_log = structlog.get_logger(__name__)


class ServiceManager:
    """The manager behind `NOTIFY_SOCKET`, or nobody."""

    def __init__(self, address: str | None, watchdog_seconds: float | None = None) -> None:
        self._address = address
        self.watchdog_seconds = watchdog_seconds

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read what the manager said at the start."""
        watched = environment.get("WATCHDOG_PID") in (None, str(os.getpid()))
        microseconds = environment.get("WATCHDOG_USEC", "") if watched else ""
        seconds = int(microseconds) / 1_000_000 if microseconds.isdecimal() and int(microseconds) else None
        return cls(environment.get("NOTIFY_SOCKET") or None, seconds)

    def starting(self, status: str) -> None:
        """Say how far the start is, and ask for time until the next step."""
        self._tell(f"STATUS={status}\nEXTEND_TIMEOUT_USEC={_STEP_MICROSECONDS}")

    def ready(self, status: str) -> None:
        """Say that the daemon answers; also the end of a reload."""
        self._tell(f"READY=1\nSTATUS={status}")

    def reloading(self) -> None:
        """Say that the settings are being read again."""
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={now}")

    def stopping(self, seconds: float) -> None:
        """Say that the daemon ends, and how long what is under way may take."""
        microseconds = int((seconds + 30) * 1_000_000)
        self._tell(f"STOPPING=1\nEXTEND_TIMEOUT_USEC={microseconds}")

    async def keep_watch(self) -> None:
        """Tell the watchdog again and again that the loop turns; returns at once where nobody watches."""
        if self.watchdog_seconds is None:
            return
        while True:
            self._tell("WATCHDOG=1")
            await asyncio.sleep(self.watchdog_seconds / 3)

    def _tell(self, message: str) -> None:
        if self._address is None:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as teller:
                teller.setblocking(False)  # noqa: FBT003
                teller.connect(address)
                teller.send(message.encode())
        except OSError as error:
            _log.warning("service manager not told", why=error.strerror)


def handed_sockets(environment: MutableMapping[str, str]) -> tuple[socket.socket, ...]:
    """Return the listening sockets that were handed over, and take them out of the environment for children."""
    pid, count = environment.pop("LISTEN_PID", ""), environment.pop("LISTEN_FDS", "")
    environment.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdecimal():
        return ()
    descriptors = range(_FIRST_DESCRIPTOR, _FIRST_DESCRIPTOR + int(count))
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)  # noqa: FBT003
    return tuple(socket.socket(fileno=descriptor) for descriptor in descriptors)
