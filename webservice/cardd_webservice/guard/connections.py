"""Connections: how many, how slow, whose, and what is answered to what is not HTTP."""

import asyncio
import socket
from collections.abc import Callable
from http import HTTPStatus
from typing import NamedTuple

from aiohttp import web

from cardd.errors import CarddError
from cardd.text import Text
from cardd_webservice.errors import ForeignPeerError, MalformedRequestError
from cardd_webservice.guard.judgements import Judgement
from cardd_webservice.guard.peers import GONE, is_this_user, socket_peer_uid, tcp_peer_uid
from cardd_webservice.guard.policy import POLICY, SECURITY_HEADERS, GuardPolicy
from cardd_webservice.guard.refusals import REFUSALS
from cardd_webservice.problems import problem

ConnectionFactory = Callable[[], asyncio.Protocol]


class Ends(NamedTuple):
    """Our end of a connection: the port, `None` on the Unix socket, and whether it is TLS."""

    port: int | None
    is_tls: bool


class Peer(NamedTuple):
    """Our end of a connection, and whether the daemon's own user, or root, is at the other one."""

    ends: Ends
    is_ours: bool


class Crowd:
    """How many connections are open, in all and of other users."""

    def __init__(self, policy: GuardPolicy) -> None:
        self.policy = policy
        self.open = 0
        self.of_others = 0

    @property
    def is_full(self) -> bool:
        """Whether more are open than there is room for."""
        return self.open > self.policy.connections

    @property
    def is_full_of_others(self) -> bool:
        """Whether other users hold more than there is room for."""
        return self.of_others > self.policy.connections_of_others


class Connection(web.RequestHandler):
    """One connection: refused where there are too many, cut off where it stalls; knows who is at its other end."""

    def __init__(self, server: web.Server, application: web.Application, crowd: Crowd) -> None:
        policy = crowd.policy
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=policy.idle_seconds,
            access_log=None,  # type: ignore[arg-type] # aiohttp takes it for “no log”
            max_line_size=policy.line_size,
            max_field_size=policy.line_size,
            max_headers=policy.headers,
            # Bodies are never decompressed: no gzip bombs.
            auto_decompress=False,
            lingering_time=2.0,
        )
        self._refusals = application[REFUSALS]
        self._crowd = crowd
        self._is_counted = False
        self._is_other = False
        self._stalled: asyncio.TimerHandle | None = None
        self.peer_uid: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self.peer: Peer | None = None
        """Who calls, once a first request has asked; it does not change while the connection lives."""
        self.judgement: Judgement | None = None
        """The last one that may stand for the next request."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection in, or drop it where there is no room."""
        super().connection_made(transport)
        self._is_counted = True
        self._crowd.open += 1
        if self._crowd.is_full:
            self._drop("connections")
            return
        self._ask_for_peer(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Give the place back."""
        if self._is_counted:
            self._is_counted = False
            self._crowd.open -= 1
            self._crowd.of_others -= self._is_other
            self._is_other = False
        if self._stalled is not None:
            self._stalled.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Give a caller who does not read its answer some time."""
        super().pause_writing()
        loop = asyncio.get_running_loop()
        self._stalled = loop.call_later(self._crowd.policy.stalled_seconds, self._drop, "stalled")

    def resume_writing(self) -> None:
        """Go on with a caller who reads again."""
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None
        super().resume_writing()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = HTTPStatus.INTERNAL_SERVER_ERROR,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what is not HTTP, without repeating anything of it; the connection is closed."""
        if status != HTTPStatus.BAD_REQUEST:
            return super().handle_error(request, status, exc, message)
        if request.writer.output_size > 0:
            raise ConnectionError("an answer has begun already")
        self._refusals.note_soon(MalformedRequestError.reason)
        response = problem(
            MalformedRequestError(
                Text(
                    "The request is not well-formed HTTP/1.1.", "La demande n’est pas du HTTP/1.1 bien formé."
                )
            ),
            "en",
        )
        response.headers.update(SECURITY_HEADERS)
        response.force_close()
        return response

    async def found_peer_uid(self) -> int | None:
        """Return the user at the other end, asked for again where the system could not tell the last time.

        Raises `OSError` where it cannot tell now.
        """
        failed = self.peer_uid.done() and self.peer_uid.exception() is not None
        if failed and self.transport is not None:
            self._ask_for_peer(self.transport)
        return await asyncio.shield(self.peer_uid)

    def _ask_for_peer(self, transport: asyncio.BaseTransport) -> None:
        self.peer_uid = asyncio.ensure_future(_peer_uid(transport.get_extra_info("socket")))
        self.peer_uid.add_done_callback(self._know_peer)

    def _know_peer(self, found: asyncio.Future[int | None]) -> None:
        if found.cancelled() or found.exception() is not None or not self._is_counted:
            return
        if not is_this_user(found.result()):
            self._is_other = True
            self._crowd.of_others += 1
            if self._crowd.is_full_of_others:
                self._drop("connections")

    def _drop(self, reason: str) -> None:
        self._refusals.note_soon(reason)
        if self.transport is not None:
            self.transport.abort()


def connection_factory(server: web.Server, application: web.Application) -> ConnectionFactory:
    """Return what makes the connections of one served application."""
    crowd = Crowd(POLICY)
    return lambda: Connection(server, application, crowd)


def known_peer(request: web.Request) -> Peer | None:
    """Return who is at the two ends of the request's connection where an earlier request has asked."""
    protocol = request.protocol
    return protocol.peer if isinstance(protocol, Connection) and protocol.transport is not None else None


def last_judgement(request: web.Request) -> Judgement | None:
    """Return what was judged last on the request's connection and may stand, nothing where it is closed."""
    protocol = request.protocol
    return protocol.judgement if isinstance(protocol, Connection) and protocol.transport is not None else None


def keep_judgement(request: web.Request, judgement: Judgement) -> None:
    """Keep a judgement for the next request on the connection."""
    if isinstance(request.protocol, Connection):
        request.protocol.judgement = judgement


async def peer_of(request: web.Request) -> Peer:
    """Return who is at the two ends of the request's connection, as far as the platform tells.

    Raises `ForeignPeerError` where an end is closed, or is another user's on the Unix socket, and `OSError` where the
    system cannot tell now who calls.
    """
    protocol = request.protocol
    if not isinstance(protocol, Connection) or protocol.transport is None:
        raise _gone()
    uid = await protocol.found_peer_uid()
    ends = own_end(request)
    if ends is None or uid == GONE:
        raise _gone()
    if ends.port is None and not is_this_user(uid):
        raise ForeignPeerError(Text(f"The user {uid} calls.", f"L’appel vient de l’utilisateur {uid}."))
    protocol.peer = Peer(ends, is_this_user(uid))
    return protocol.peer


def own_end(request: web.Request) -> Ends | None:
    """Return our end of the request's connection, nothing where it is closed."""
    connection = request.get_extra_info("socket")
    if connection is None:
        return None
    if connection.family == getattr(socket, "AF_UNIX", None):
        return Ends(None, is_tls=False)
    return Ends(int(connection.getsockname()[1]), request.get_extra_info("sslcontext") is not None)


def own_port(request: web.Request) -> int | None:
    """Return the port that a request came to, `None` on the Unix socket; raises `ForeignPeerError`."""
    ends = own_end(request)
    if ends is None:
        raise _gone()
    return ends.port


async def _peer_uid(connection: socket.socket) -> int | None:
    if connection.family == getattr(socket, "AF_UNIX", None):
        return socket_peer_uid(connection)
    try:
        ours, theirs = connection.getsockname()[:2], connection.getpeername()[:2]
    except OSError:
        return GONE
    return await tcp_peer_uid(ours, theirs)


def _gone() -> CarddError:
    return ForeignPeerError(Text("The caller has gone.", "L’appelant est parti."))
