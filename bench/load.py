"""Many clients of the web service in one thread: connections kept alive, requests encoded ahead, answers barely read.

The clients share the machine with the daemon that they measure, so that what they cost is kept small.
"""

import selectors
import socket
import statistics
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec

_RECEIVE = 1 << 16
_LONGEST_WAIT = 120.0


class Reply(NamedTuple):
    """An answer."""

    status: int
    body: bytes


#: One unit of work: yields requests, is sent their replies, and returns whether it went well.
Unit = Generator[bytes, Reply, bool]


class Load(NamedTuple):
    """What came of a load."""

    done: int
    errors: int
    seconds: float
    latencies: tuple[float, ...]
    """Of each unit that went well, in seconds."""

    @property
    def per_second(self) -> float:
        """Units that went well, a second."""
        return self.done / self.seconds

    def percentile(self, percent: int) -> float:
        """Return a percentile of the latencies, in seconds."""
        return statistics.quantiles(self.latencies, n=100, method="inclusive")[percent - 1]


class Requests:
    """Encodes requests of the owner's."""

    def __init__(self, address: str, token: str) -> None:
        parts = urlsplit(address)
        self.endpoint = (parts.hostname or "", parts.port or 80)
        self._common = f"Host: {parts.netloc}\r\nAuthorization: Bearer {token}\r\n"

    def encode(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> bytes:
        """Return a whole request; `body` is sent as JSON."""
        content = b"" if body is None else msgspec.json.encode(body)
        own = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        if body is not None:
            own += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n"
        return f"{method} {path} HTTP/1.1\r\n{self._common}{own}\r\n".encode() + content

    def post(self, path: str, content: bytes, media_type: str) -> bytes:
        """Return a whole request that sends bytes as they are."""
        own = f"Content-Type: {media_type}\r\nContent-Length: {len(content)}\r\n"
        return f"POST {path} HTTP/1.1\r\n{self._common}{own}\r\n".encode() + content


class _Client:
    """One connection and the unit it is at."""

    def __init__(self, endpoint: tuple[str, int], units: Iterator[Unit]) -> None:
        self._endpoint = endpoint
        self.connect()
        self._units = units
        self._unit: Unit | None = None
        self._received = bytearray()
        self._began = 0.0
        self.latencies: list[float] = []
        self.errors = 0

    def connect(self) -> None:
        """Open a connection."""
        self.socket = socket.create_connection(self._endpoint)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def begin(self) -> bool:
        """Send the first request of the next unit; tell whether there was one."""
        self._unit = next(self._units, None)
        if self._unit is None:
            return False
        self._began = time.perf_counter()
        self.socket.sendall(next(self._unit))
        return True

    def go_on(self) -> bool:
        """Take what arrived; tell whether the unit has ended."""
        received = self.socket.recv(_RECEIVE)
        if not received:
            raise ConnectionError("the daemon closed a connection")
        self._received += received
        reply = _taken(self._received)
        if reply is None or self._unit is None:
            return False
        try:
            self.socket.sendall(self._unit.send(reply))
        except StopIteration as end:
            if end.value:
                self.latencies.append(time.perf_counter() - self._began)
            else:
                self.errors += 1
            return True
        return False


def drive(
    requests: Requests,
    clients: Sequence[Iterator[Unit]],
    seconds: float | None = None,
    *,
    connections_kept: bool = True,
) -> Load:
    """Let each client do its units one after the other, for so many seconds or until none has any left.

    A client keeps its connection, or else opens one for each unit.
    """
    selector = selectors.DefaultSelector()
    made = [_Client(requests.endpoint, units) for units in clients]
    started = time.perf_counter()
    try:
        for client in made:
            if client.begin():
                selector.register(client.socket, selectors.EVENT_READ, client)
        while selector.get_map():
            ready = selector.select(_LONGEST_WAIT)
            if not ready:
                raise TimeoutError("the daemon does not answer")
            for key, _ in ready:
                client = key.data
                if not client.go_on():
                    continue
                over = seconds is not None and time.perf_counter() - started >= seconds
                if not (over or connections_kept):
                    selector.unregister(client.socket)
                    client.socket.close()
                    client.connect()
                    selector.register(client.socket, selectors.EVENT_READ, client)
                if over or not client.begin():
                    selector.unregister(client.socket)
        elapsed = time.perf_counter() - started
    finally:
        selector.close()
        for client in made:
            client.socket.close()
    latencies = tuple(each for client in made for each in client.latencies)
    return Load(len(latencies), sum(client.errors for client in made), elapsed, latencies)


def answered(
    requests: Requests,
    questions: Iterator[bytes],
    clients: int,
    seconds: float | None = None,
    *,
    connections_kept: bool = True,
) -> Load:
    """Let so many clients ask what comes next, one question after the other; each answer must be a 200."""
    units = map(_asked, questions)
    load = drive(requests, [units] * clients, seconds, connections_kept=connections_kept)
    if load.errors:
        raise RuntimeError("a question was refused")
    return load


def _asked(question: bytes) -> Unit:
    reply = yield question
    return reply.status == 200


def _taken(received: bytearray) -> Reply | None:
    """Take one whole answer from what was received; None while there is none."""
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = bytes(received[:end]).lower()
    mark = head.find(b"content-length:")
    length = 0 if mark < 0 else int(head[mark + 15 :].split(b"\r\n", 1)[0])
    if len(received) < end + 4 + length:
        return None
    body = bytes(received[end + 4 : end + 4 + length])
    del received[: end + 4 + length]
    return Reply(int(head[9:12]), body)
