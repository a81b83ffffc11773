"""A token host: the process around one PKCS#11 module. Run as `python -m cardd_pkcs11.host FD`.

It reads calls from the socket FD and answers them one by one, on its only thread, until the socket is closed or its
parent dies. It dumps no core and shows its memory to nobody, because PINs pass through it. It leaves without running
exit handlers, which some modules do not survive.
"""

import ctypes
import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from cardd_pkcs11 import protocol
from cardd_pkcs11.errors import ModuleMissingError, ProtocolError, TokenError
from cardd_pkcs11.hardening import forbid_core_dumps

if TYPE_CHECKING:
    from cardd_pkcs11.module import Module

_RECEIVE = 65536
_PR_SET_PDEATHSIG = 1


class Host:
    """Answers calls; knows nothing of sockets."""

    def __init__(self) -> None:
        self._module: Module | None = None
        self._handlers: dict[type[Any], Callable[[Any], object]] = {}

    def answer(self, request: protocol.Request) -> protocol.Answer:
        """Carry out one call; every failure becomes part of the answer, and none shows an argument."""
        try:
            value = self._carry_out(request.call)
        except TokenError as error:
            return protocol.Answer(request.number, failure=protocol.Failure.of(error))
        except Exception as error:  # noqa: BLE001 - a defect must cost one call, not the host
            unexpected = TokenError(f"unexpected {type(error).__name__} in the token host")
            return protocol.Answer(request.number, failure=protocol.Failure.of(unexpected))
        return protocol.Answer(request.number, protocol.encode_value(value))

    def close(self) -> None:
        """Finalise the module."""
        if self._module is not None:
            self._module.finalize()

    def _carry_out(self, call: protocol.AnyCall) -> object:
        if isinstance(call, protocol.Ping):
            return None
        if isinstance(call, protocol.Start):
            return self._start(call)
        if self._module is None:
            raise ProtocolError("the first call must be `start`")
        return self._handlers[type(call)](call)

    def _start(self, call: protocol.Start) -> object:
        if self._module is not None:
            raise ProtocolError("the module is loaded already")
        try:
            from cardd_pkcs11.module import Module  # noqa: PLC0415 - a failure must reach the client
        except ImportError as error:
            raise ModuleMissingError(f"python-pkcs11 cannot be imported: {error.name}") from None
        module = Module(call)
        self._module = module
        self._handlers = _handlers(module)
        return module.info()


def main() -> NoReturn:
    """Serve the socket whose descriptor is the first argument, then leave."""
    _harden(parent=int(sys.argv[2]))
    connection = socket.socket(fileno=int(sys.argv[1]))
    host = Host()
    status = 0
    try:
        _serve(connection, host)
        host.close()
    except (OSError, TokenError):
        status = 1
    os._exit(status)


def _serve(connection: socket.socket, host: Host) -> None:
    frames = protocol.FrameBuffer()
    while received := connection.recv(_RECEIVE):
        for payload in frames.feed(received):
            answer = host.answer(protocol.decode_request(payload))
            connection.sendall(_framed(answer))


def _framed(answer: protocol.Answer) -> bytes:
    try:
        return protocol.encode_answer(answer)
    except ProtocolError as error:
        return protocol.encode_answer(protocol.Answer(answer.number, failure=protocol.Failure.of(error)))


def _harden(parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "win32":
        return
    forbid_core_dumps()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def _handlers(module: "Module") -> dict[type[Any], Callable[[Any], object]]:
    return {
        protocol.Refresh: module.refresh,
        protocol.ListTokens: module.list_tokens,
        protocol.InitToken: module.init_token,
        protocol.InitPin: module.init_pin,
        protocol.Login: module.login,
        protocol.Logout: module.logout,
        protocol.Forget: module.forget,
        protocol.ChangePin: module.change_pin,
        protocol.Unblock: module.unblock,
        protocol.ListObjects: module.list_objects,
        protocol.GenerateKeyPair: module.generate_key_pair,
        protocol.ReadKeyAttributes: module.key_attributes,
        protocol.ReadPublicKey: module.public_key,
        protocol.Sign: module.sign,
        protocol.Decrypt: module.decrypt,
        protocol.StoreCertificate: module.store_certificate,
        protocol.StoreData: module.store_data,
        protocol.ReadData: module.read_data,
        protocol.Destroy: module.destroy,
        protocol.Capabilities: module.capabilities,
    }


if __name__ == "__main__":
    main()
