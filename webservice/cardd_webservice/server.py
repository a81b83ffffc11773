"""Serving the application: on the loopback addresses and on a Unix socket, nowhere else."""

import asyncio
import errno
import os
import socket
import ssl
import stat
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import structlog
from aiohttp import web

from cardd.settings import Settings
from cardd.text import Text
from cardd_webservice.errors import PortTakenError, RuntimeDirectoryError, SocketRefusedError
from cardd_webservice.fixedpaths import FIXED_PATHS
from cardd_webservice.guard.connections import connection_factory

SOCKET_NAME = "cardd.sock"

#: Connections that wait to be accepted.
_BACKLOG = 128
#: Seconds that running requests have to end at a stop, where no setting says.
_STOP_SECONDS = 5.0
#: Longest path of a Unix socket in bytes (`sun_path` of unix(7), with its final zero).
_LONGEST_SOCKET_PATH = 107
_ATTEMPTS_AT_A_FREE_PORT = 20
_NO_IPV6 = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Reservation:
    """A port held for the daemon on the loopback addresses; nobody can connect before it is served."""

    port: int
    sockets: tuple[socket.socket, ...]
    unix: tuple[socket.socket, ...] = ()
    """Handed over by the service manager, instead of one made in the runtime directory."""

    @property
    def address(self) -> str:
        """The address to call, such as `http://127.0.0.1:8980`."""
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        """Give the port back."""
        for held in (*self.sockets, *self.unix):
            held.close()


def adopted(handed: Sequence[socket.socket]) -> Reservation | None:
    """Return the port of sockets that a service manager holds for the daemon; None where there is none of TCP.

    Raises `SocketRefusedError` for one that is not of this machine alone.
    """
    tcp = tuple(each for each in handed if each.family in (socket.AF_INET, socket.AF_INET6))
    for each in tcp:
        host, port = each.getsockname()[:2]
        if host not in ("127.0.0.1", "::1"):
            raise SocketRefusedError.of(host)
        if port != tcp[0].getsockname()[1]:
            raise SocketRefusedError.of(f"{host}:{port}")
    return Reservation(tcp[0].getsockname()[1], tcp, unix_of(handed)) if tcp else None


def unix_of(handed: Sequence[socket.socket]) -> tuple[socket.socket, ...]:
    """Return the Unix sockets among those handed over."""
    return tuple(each for each in handed if each.family == socket.AF_UNIX)


def reserve_port(settings: Settings, *, port: int | None = None) -> Reservation:
    """Hold `port`, the settings' by default, on 127.0.0.1 and, where there is IPv6, on ::1; 0 means any free one.

    Raises `PortTakenError` where another program holds it; that program is not spoken to.
    """
    wanted = settings.http_port if port is None else port
    for _ in range(_ATTEMPTS_AT_A_FREE_PORT):
        reservation = _reserve(wanted)
        if reservation is not None:
            return reservation
    raise _taken(wanted)


@dataclass(frozen=True)
class TlsPort:
    """A port held for the daemon's TLS, and what it presents there."""

    reservation: Reservation
    context: ssl.SSLContext


@asynccontextmanager
async def serving(
    application: web.Application,
    reservation: Reservation,
    runtime_directory: Path,
    stop_seconds: float = _STOP_SECONDS,
    *,
    tls: TlsPort | None = None,
) -> AsyncIterator[str]:
    """Serve on the reserved port and on `cardd.sock` while the context is open; yields the address.

    With `tls`, that port is served too. At the end no new connection is taken, and requests under way have
    `stop_seconds` to end.

    Raises `PortTakenError` where another program listens on the port or the socket, and
    `RuntimeDirectoryError` where the socket would not be private.
    """
    runner = web.AppRunner(application, access_log=None, handle_signals=False, shutdown_timeout=stop_seconds)
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        sockets: list[tuple[socket.socket, ssl.SSLContext | None]] = []
        for port, context in ((reservation, None), *([(tls.reservation, tls.context)] if tls else [])):
            stack.callback(port.close)
            for held in port.sockets:
                _listen(held, port.port)
                sockets.append((held, context))
        if reservation.unix:
            sockets.extend((held, None) for held in reservation.unix)
        elif hasattr(socket, "AF_UNIX"):
            sockets.append((stack.enter_context(_unix_socket(runtime_directory)), None))
        stack.push_async_callback(runner.cleanup)
        await runner.setup()
        if runner.server is None:
            raise RuntimeError("the application is set up without a server")
        runner.server.request_handler = application[FIXED_PATHS].before(runner.server.request_handler)
        make_connection = connection_factory(runner.server, application)
        for held, context in sockets:
            listening = await loop.create_server(make_connection, sock=held, ssl=context, backlog=_BACKLOG)
            stack.callback(listening.close)
        yield reservation.address


def _reserve(port: int) -> Reservation | None:
    """Bind both loopback addresses; `None` where a free port was wanted and the one found is not free on ::1."""
    first = _bound(socket.AF_INET, "127.0.0.1", port)
    found = int(first.getsockname()[1])
    try:
        second = _bound(socket.AF_INET6, "::1", found)
    except OSError as error:
        if error.errno in _NO_IPV6:
            return Reservation(found, (first,))
        first.close()
        raise
    except PortTakenError:
        first.close()
        if port == 0:
            return None
        raise
    return Reservation(found, (first, second))


def _bound(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind((host, port))
    except OSError as error:
        made.close()
        if error.errno in (errno.EADDRINUSE, errno.EACCES):
            raise _taken(port) from None
        raise
    return made


def _listen(held: socket.socket, port: int) -> None:
    try:
        held.listen(_BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise _taken(port) from None
        raise


def _taken(port: int) -> PortTakenError:
    return PortTakenError(
        Text(
            f"Port {port} of this machine's loopback address is not free for the daemon.",
            f"Le port {port} de l’adresse locale de cette machine n’est pas libre pour le démon.",
        ),
        advice=Text(
            f"`ss -ltnp 'sport = :{port}'` names the program that listens there; stop it, ask its owner, "
            "or choose another port with `cardd run --port` or CARDD_HTTP_PORT.",
            f"`ss -ltnp 'sport = :{port}'` nomme le programme qui y écoute ; arrêtez-le, adressez-vous à son "
            "propriétaire, ou choisissez un autre port avec `cardd run --port` ou CARDD_HTTP_PORT.",
        ),
        port=port,
    )


@contextmanager
def _unix_socket(directory: Path) -> Iterator[socket.socket]:
    """Bind `cardd.sock` (0600) in `directory` (0700), and remove it at the end."""
    _make_private(directory)
    path = directory / SOCKET_NAME
    with _short(directory) as short:
        address = str(short / SOCKET_NAME)
        _remove_stale(path, address)
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        made.bind(address)
    path.chmod(0o600)
    ours = path.stat().st_ino
    try:
        yield made
    finally:
        made.close()
        with suppress(FileNotFoundError):
            if path.stat().st_ino == ours:
                path.unlink()


def _make_private(directory: Path) -> None:
    """Make the directory, or close ours to others; one that is somebody else's or shared is left alone."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = directory.stat()
    if status.st_uid != os.getuid() or status.st_mode & stat.S_IWOTH:
        raise RuntimeDirectoryError(
            Text(
                f"{directory} belongs to another user, or everybody may write there.",
                f"{directory} appartient à un autre utilisateur, ou tous peuvent y écrire.",
            )
        )
    directory.chmod(0o700)


@contextmanager
def _short(directory: Path) -> Iterator[Path]:
    """Yield a path of `directory` that leaves room for a socket's name, by way of `/proc` where it is long."""
    if len(os.fsencode(directory / SOCKET_NAME)) <= _LONGEST_SOCKET_PATH:
        yield directory
        return
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield Path(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)


def _remove_stale(path: Path, address: str) -> None:
    """Remove a socket that a killed daemon left; refuse where something still listens or is no socket."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if stat.S_ISSOCK(mode):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.connect(address)
            except (ConnectionRefusedError, FileNotFoundError):
                path.unlink(missing_ok=True)
                _log.info("stale_socket_removed", path=str(path))
                return
    raise PortTakenError(
        Text(f"{path} is in use by another program.", f"{path} est utilisé par un autre programme."),
        advice=Text(
            "Another daemon runs with this runtime directory: stop it, or set CARDD_RUNTIME_DIR.",
            "Un autre démon utilise ce répertoire : arrêtez-le, ou définissez CARDD_RUNTIME_DIR.",
        ),
        path=str(path),
    )
