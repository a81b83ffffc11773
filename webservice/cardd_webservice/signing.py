"""The port on which a machine with the CA keys signs for the other machines of its database.

TLS 1.3, with a certificate on each side that the other pins: a machine that is not enrolled gets no further than the
handshake, and one whose enrolment was taken back is refused at its next request. Off unless `machines.listen` is set.
"""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus

import msgspec
import structlog
from aiohttp import web

from cardd.errors import CarddError, InvalidFieldsError
from cardd.igc.issuing import IssueRequest
from cardd.machines.asking import CERTIFICATES_PATH, OCSP_PATH, Refusal
from cardd.machines.desk import SigningDesk
from cardd.machines.errors import MachineAddressError
from cardd.machines.registry import Peer
from cardd.text import Text

_LARGEST_REQUEST = 32 * 1024
_SHUTDOWN_SECONDS = 5.0
_JSON = "application/json"

_log = structlog.get_logger(__name__)

_Answer = Callable[[Peer, bytes], Awaitable[bytes]]


@asynccontextmanager
async def serving_machines(desk: SigningDesk, listen: str, context: ssl.SSLContext) -> AsyncIterator[None]:
    """Sign for other machines on `listen`, `host:port`, while the context is open.

    Raises:
        MachineAddressError: the address cannot be used.
    """
    host, _, port = listen.rpartition(":")
    application = web.Application(client_max_size=_LARGEST_REQUEST)
    application.router.add_post(CERTIFICATES_PATH, _handler(desk, _certificates(desk)))
    application.router.add_post(OCSP_PATH, _handler(desk, _ocsp(desk)))
    runner = web.AppRunner(
        application, access_log=None, handle_signals=False, shutdown_timeout=_SHUTDOWN_SECONDS
    )
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host.strip("[]"), int(port), ssl_context=context).start()
        except (OSError, OverflowError) as error:
            raise MachineAddressError(
                Text(f"{listen}: {error}.", f"{listen} : {error}."),
            ) from None
        _log.info("signing for other machines", listen=listen)
        yield
    finally:
        await runner.cleanup()


def _certificates(desk: SigningDesk) -> _Answer:
    async def answer(peer: Peer, body: bytes) -> bytes:
        return msgspec.json.encode(await desk.issue(peer, msgspec.json.decode(body, type=IssueRequest)))

    return answer


def _ocsp(desk: SigningDesk) -> _Answer:
    async def answer(_: Peer, body: bytes) -> bytes:
        return await desk.ocsp(body)

    return answer


def _handler(desk: SigningDesk, answer: _Answer) -> Callable[[web.Request], Awaitable[web.Response]]:
    """Answer the enrolled machine that calls; a refusal comes with its reason."""

    async def handle(request: web.Request) -> web.Response:
        try:
            peer = await desk.caller(_shown(request))
            return web.Response(body=await answer(peer, await request.read()))
        except CarddError as error:
            _log.warning("machine_refused", remote=request.remote, code=error.code, detail=error.detail.en)
            return _refused(error.status, error.code, error.detail)
        except msgspec.MsgspecError as error:
            return _refused(HTTPStatus.BAD_REQUEST, InvalidFieldsError.code, Text(str(error), str(error)))

    return handle


def _shown(request: web.Request) -> bytes:
    """Return the certificate (DER) that the caller's handshake proved."""
    connection = request.transport.get_extra_info("ssl_object") if request.transport is not None else None
    return (connection.getpeercert(binary_form=True) if connection is not None else None) or b""


def _refused(status: int, code: str, why: Text) -> web.Response:
    refusal = Refusal(code=code, en=why.en, fr=why.fr)
    return web.Response(status=status, body=msgspec.json.encode(refusal), content_type=_JSON)
