"""Machines as network namespaces of this one: each with a network of its own, joined by virtual cables (veth(4))."""

import http.client
import os
import secrets
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.running import RunningDaemon


class Namespace:
    """A network namespace; what `launcher` starts lives in it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.launcher = ("ip", "netns", "exec", name)

    def take(self, interface: str, address: str) -> None:
        """Give the namespace one end of a cable, with an address of a /24."""
        _ip("link", "set", interface, "netns", self.name)
        _ip("-n", self.name, "address", "add", f"{address}/24", "dev", interface)
        _ip("-n", self.name, "link", "set", interface, "up")


@contextmanager
def namespaces(count: int) -> Iterator[list[Namespace]]:
    """Make network namespaces for the length of the context.

    Raises `pytest.skip.Exception` where they cannot be made.
    """
    made: list[Namespace] = []
    try:
        for _ in range(count):
            name = f"cardd-{secrets.token_hex(4)}"
            try:
                _ip("netns", "add", name)
            except (OSError, subprocess.CalledProcessError):
                pytest.skip("network namespaces cannot be made: that needs root and iproute2")
            made.append(Namespace(name))
            _ip("-n", name, "link", "set", "lo", "up")
        yield made
    finally:
        for each in made:
            _ip("netns", "delete", each.name)


def join(one: Namespace, its_address: str, other: Namespace, other_address: str) -> None:
    """Join two namespaces by a cable."""
    ends = f"cd{secrets.token_hex(4)}a", f"cd{secrets.token_hex(4)}b"
    _ip("link", "add", ends[0], "type", "veth", "peer", "name", ends[1])
    one.take(ends[0], its_address)
    other.take(ends[1], other_address)


class DistantDaemon(RunningDaemon):
    """A daemon in a namespace, whose loopback addresses are out of reach: it is called by its Unix socket."""

    def __init__(self, state: Path, environment: Mapping[str, str], namespace: Namespace) -> None:
        super().__init__(state, environment)
        self.launcher = namespace.launcher

    def connect(self) -> http.client.HTTPConnection:
        return _SocketConnection(self.state / "run" / "cardd.sock")


class _SocketConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=60)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        # A path of a test may be longer than a socket's name may be; through the descriptor of its directory it is not.
        directory = os.open(self._path.parent, os.O_RDONLY)
        try:
            self.sock.connect(f"/proc/self/fd/{directory}/{self._path.name}")
        finally:
            os.close(directory)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
