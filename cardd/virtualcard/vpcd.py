"""The card's side of a virtual reader: vpcd's frames over TCP.

vpcd (vsmartcard-vpcd) listens; the card connects, which is its insertion, and closes, which is its
removal. Frames both ways are two bytes of length, big-endian, and a payload.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from enum import IntEnum, unique

from cardd.errors import CarddError
from cardd.virtualcard.errors import VirtualReaderUnavailableError

FIRST_PORT = 35963
SECOND_PORT = 35964
"""The port of the second reader that one vpcd entry of pcscd's configuration makes."""

_ATTEMPT_SECONDS = 0.1
_CONNECTS_WITHIN_SECONDS = 5

Connector = Callable[[], Awaitable[socket.socket]]
"""Opens a non-blocking socket to the reader, or raises VirtualReaderUnavailableError."""


@unique
class Control(IntEnum):
    """vpcd's one-byte payloads."""

    POWER_OFF = 0x00
    POWER_ON = 0x01
    RESET = 0x02
    GET_ATR = 0x04
    """The only one that is answered; pcscd asks about every 400 ms whether the card is still there."""


class ReaderClosedError(ConnectionError):
    """The reader closed the connection: pcscd stopped."""


def tcp_connector(host: str = "127.0.0.1", port: int = FIRST_PORT) -> Connector:
    """Return a connector for a reader that listens on `host`."""

    async def attempt() -> socket.socket | None:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setblocking(False)  # noqa: FBT003 - the standard library's signature
        try:
            async with asyncio.timeout(_ATTEMPT_SECONDS):
                await asyncio.get_running_loop().sock_connect(sock, (host, port))
        except TimeoutError:
            sock.close()
            return None
        except BaseException:
            sock.close()
            raise
        return sock

    async def connect() -> socket.socket:
        return await connect_when_free(attempt, f"{host}:{port}")

    return connect


async def connect_when_free(
    attempt: Callable[[], Awaitable[socket.socket | None]], address: str
) -> socket.socket:
    """Call `attempt` until it gives a socket; it returns None while the reader is busy.

    vpcd takes one card at each of pcscd's polls and lets one more wait. The system drops what comes
    beyond that and would try again only after a second, then three; short attempts are quicker.

    Raises:
        VirtualReaderUnavailableError: an attempt raised OSError, or none succeeded in five seconds.
    """
    try:
        async with asyncio.timeout(_CONNECTS_WITHIN_SECONDS):
            while (sock := await attempt()) is None:
                pass
            return sock
    except (OSError, CarddError) as error:
        raise VirtualReaderUnavailableError.at(address) from error


class VpcdLink:
    """One connection to a virtual reader."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    async def receive(self) -> bytes:
        """Return the next payload.

        Raises:
            ReaderClosedError: the reader is gone.
        """
        length = int.from_bytes(await self._receive_exactly(2), "big")
        return await self._receive_exactly(length)

    async def send(self, payload: bytes) -> None:
        """Send one payload.

        Raises:
            ReaderClosedError: the reader is gone.
        """
        try:
            frame = len(payload).to_bytes(2, "big") + payload
            await asyncio.get_running_loop().sock_sendall(self._socket, frame)
        except OSError as error:
            raise ReaderClosedError from error

    def close(self) -> None:
        """Leave the reader."""
        self._socket.close()

    async def _receive_exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            self._acknowledge_at_once()
            try:
                piece = await asyncio.get_running_loop().sock_recv(self._socket, size - len(data))
            except OSError as error:
                raise ReaderClosedError from error
            if not piece:
                raise ReaderClosedError
            data += piece
        return bytes(data)

    def _acknowledge_at_once(self) -> None:
        """Set TCP_QUICKACK, which Linux forgets after each receipt; without it each APDU costs 40 ms."""
        if hasattr(socket, "TCP_QUICKACK"):
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
