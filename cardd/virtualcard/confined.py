"""A private pcscd with two virtual readers that only this program can reach.

vpcd listens on every interface and takes any client for a card. Here it runs in a network namespace of
its own, where nobody else is, and connections to it are opened from inside and handed out. pcscd's
socket lies in a directory of its owner (0700): libpcsclite finds it there by PCSCLITE_CSOCK_NAME, so
that neither the system's pcscd nor its users are disturbed. Works as root and, where the system allows
user namespaces, as anybody. Linux only.
"""

import asyncio
import os
import shutil
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from cardd.text import Text
from cardd.virtualcard import reader_host
from cardd.virtualcard.errors import ConfinementUnavailableError
from cardd.virtualcard.vpcd import FIRST_PORT, SECOND_PORT, Connector, connect_when_free

_DRIVERS = (
    Path("/usr/lib/pcsc/drivers/serial/libifdvpcd.so"),
    Path("/usr/lib64/pcsc/drivers/serial/libifdvpcd.so"),
)
_PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
_SOCKET = "pcscd.comm"
_LONGEST_SOCKET_PATH = 107
"""unix(7), sun_path without its final zero byte."""
_DESCRIPTOR_BYTES = 4
_ANSWERS_WITHIN_SECONDS = 20
_READER_CONFIGURATION = """\
FRIENDLYNAME "Virtual PCD"
DEVICENAME   /dev/null:0x{port:04X}
LIBPATH      {driver}
CHANNELID    0x{port:04X}
"""


class _Reply(NamedTuple):
    """What the host answers: “ok”, “busy” or a reason, and the connection asked for."""

    answer: str
    connection: socket.socket | None


class ConfinedPcscd:
    """pcscd, its readers “Virtual PCD 00 00” (port 35963) and “Virtual PCD 00 01” (port 35964), confined."""

    def __init__(self, directory: Path) -> None:
        """Keep pcscd's socket and configuration in `directory`, which is made, 0700."""
        self._directory = directory.absolute()
        self._run = _run_directory(self._directory)
        self._process: asyncio.subprocess.Process | None = None
        self._channel: socket.socket | None = None
        self._turn = asyncio.Lock()

    @staticmethod
    def missing_part() -> Text | None:
        """Return what keeps a confined pcscd from running here, in one sentence, None when nothing is known to."""
        if sys.platform != "linux":
            return Text("namespaces exist on Linux only", "les espaces de noms n’existent que sous Linux")
        for program in ("pcscd", "unshare", "mount"):
            if shutil.which(program, path=_PATH) is None:
                return Text(f"the program {program} is missing", f"le programme {program} est absent")
        if _driver() is None:
            return Text(
                "the virtual reader's driver is missing (package vsmartcard-vpcd)",
                "le pilote du lecteur virtuel est absent (paquet vsmartcard-vpcd)",
            )
        return None

    @property
    def socket_path(self) -> Path:
        """Where libpcsclite reaches this pcscd."""
        return self._run / _SOCKET

    @property
    def environment(self) -> Mapping[str, str]:
        """What a client process needs in its environment, before its first call to libpcsclite."""
        return {"PCSCLITE_CSOCK_NAME": str(self.socket_path)}

    async def start(self) -> None:
        """Start pcscd; return when its readers are there.

        Raises:
            ConfinementUnavailableError: a part is missing, or the system allows no namespaces.
        """
        missing = self.missing_part()
        if missing is not None:
            raise _unavailable(missing)
        if not fits(self._directory):
            raise _unavailable(
                Text("the directory's path is too long", "le chemin du répertoire est trop long")
            )
        configuration = await asyncio.to_thread(self._write_configuration)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)  # noqa: FBT003 - the standard library's signature
        with theirs:
            self._channel = ours
            self._process = await asyncio.create_subprocess_exec(
                *self._command(configuration, theirs.fileno()),
                stdin=asyncio.subprocess.DEVNULL,
                env={"PATH": _PATH},
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        try:
            await self._order("start")
        except BaseException:
            await self.stop()
            raise

    async def kill(self) -> None:
        """Kill pcscd as a crash would."""
        await self._order("kill")

    async def restart(self) -> None:
        """Kill pcscd and start it again."""
        await self._order("start")

    async def ensure(self) -> None:
        """Start pcscd again if it has ended, with its host where that has ended too.

        Raises:
            ConfinementUnavailableError: it does not start any more.
        """
        if self._process is not None and self._process.returncode is not None:
            await self.stop()
            await self.start()
            return
        await self._order("ensure")

    async def stop(self) -> None:
        """End everything that was started; nothing happens when nothing was."""
        async with self._turn:
            channel, self._channel = self._channel, None
            process, self._process = self._process, None
            if channel is not None:
                channel.close()
            if process is not None:
                await process.wait()

    def connector(self, port: int = FIRST_PORT) -> Connector:
        """Return the way into the reader at `port`, for `VirtualCard`."""

        async def attempt() -> socket.socket | None:
            reply = await self._ask(f"connect {port}")
            if reply.connection is not None:
                reply.connection.setblocking(False)  # noqa: FBT003 - the standard library's signature
            elif reply.answer != "busy":
                raise ConnectionRefusedError(reply.answer)
            return reply.connection

        async def connect() -> socket.socket:
            return await connect_when_free(attempt, f"{self._directory}, port {port}")

        return connect

    async def __aenter__(self) -> "ConfinedPcscd":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def _order(self, request: str) -> None:
        """Have the host inside do something."""
        reply = await self._ask(request)
        if reply.answer != "ok":
            raise _unavailable(Text(reply.answer, reply.answer))

    async def _ask(self, request: str) -> _Reply:
        """Send one request to the host inside.

        A request given up half-way would leave its answer to the next one, so it is always finished.
        """
        conversation = asyncio.ensure_future(self._converse(request))
        try:
            return await asyncio.shield(conversation)
        except asyncio.CancelledError:
            conversation.add_done_callback(_discard)
            raise

    async def _converse(self, request: str) -> _Reply:
        async with self._turn:
            channel = self._channel
            if channel is None:
                raise _unavailable(Text("pcscd was not started", "pcscd n’a pas été démarré"))
            try:
                async with asyncio.timeout(_ANSWERS_WITHIN_SECONDS):
                    await asyncio.get_running_loop().sock_sendall(channel, request.encode())
                    reply = await _receive(channel)
            except (OSError, TimeoutError) as error:
                raise _unavailable(Text("its host does not answer", "son hôte ne répond pas")) from error
            if not reply.answer:
                raise _unavailable(
                    Text("the system allows no namespaces", "le système n’autorise pas les espaces de noms")
                )
            return reply

    def _command(self, configuration: Path, descriptor: int) -> list[str]:
        """`unshare` with what the present user may do, then the host with its layout."""
        user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        host = [sys.executable, "-I", "-S", str(Path(reader_host.__file__).absolute())]
        layout = [shutil.which("pcscd", path=_PATH) or "pcscd", str(self._run), str(configuration)]
        ports = [str(FIRST_PORT), str(SECOND_PORT)]
        inner = [*host, str(descriptor), *layout, *ports]
        return [shutil.which("unshare", path=_PATH) or "unshare", *user, "--mount", "--net", "--", *inner]

    def _write_configuration(self) -> Path:
        """Make the directories; pcscd opens its own (`run`) to all, so the one around it is closed."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory.chmod(0o700)
        self._run.mkdir(exist_ok=True)
        configuration = self._directory / "readers"
        configuration.mkdir(exist_ok=True)
        text = _READER_CONFIGURATION.format(port=FIRST_PORT, driver=_driver())
        (configuration / "vpcd").write_text(text)
        return configuration


def fits(directory: Path) -> bool:
    """Whether a socket's path in `directory` is short enough for pcscd and its clients."""
    return len(os.fsencode(_run_directory(directory.absolute()) / _SOCKET)) <= _LONGEST_SOCKET_PATH


def _run_directory(directory: Path) -> Path:
    return directory / "run"


def _discard(conversation: asyncio.Future[_Reply]) -> None:
    """Close the connection that nobody waits for any more."""
    if not conversation.cancelled() and conversation.exception() is None:
        connection = conversation.result().connection
        if connection is not None:
            connection.close()


async def _receive(channel: socket.socket) -> _Reply:
    """Wait for one answer; an empty one is the end of the host."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(channel, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(channel)
    # Close-on-exec from the first moment, which `socket.recv_fds` does not pass on: a child that inherited a
    # connection would keep its card in the reader.
    room = socket.CMSG_LEN(_DESCRIPTOR_BYTES)
    data, ancillary, _, _ = channel.recvmsg(1024, room, socket.MSG_CMSG_CLOEXEC)
    descriptors = [
        int.from_bytes(content[:_DESCRIPTOR_BYTES], sys.byteorder)
        for level, kind, content in ancillary
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
    ]
    connection = socket.socket(fileno=descriptors[0]) if descriptors else None
    return _Reply(data.decode(errors="replace"), connection)


def _driver() -> Path | None:
    return next((path for path in _DRIVERS if path.exists()), None)


def _unavailable(reason: Text) -> ConfinementUnavailableError:
    return ConfinementUnavailableError(
        Text(
            f"No private pcscd for virtual readers: {reason.en}.",
            f"Pas de pcscd privé pour les lecteurs virtuels : {reason.fr}.",
        )
    )
