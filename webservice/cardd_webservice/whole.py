"""Answers that are here whole: head and body go out in one piece, and the head is made once for all of a kind.

Most answers of the API differ in nothing but their body. What a request may want beyond that (an older HTTP, the end
of the connection, to be read by a page of another origin) is left to the framework, which sends the same headers.
"""

from collections.abc import Mapping
from http import HTTPStatus

from aiohttp import hdrs, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.helpers import rfc822_formatted_time
from aiohttp.http import HttpVersion11
from multidict import CIMultiDict

from cardd_webservice.guard.cors import LET_IN
from cardd_webservice.guard.policy import SECURITY_HEADERS


class AnswerKind:
    """What all answers of a kind have in common: `headers` are the kind's own, names and values of ours."""

    def __init__(self, headers: Mapping[str, str], status: int = HTTPStatus.OK, *, guarded: bool) -> None:
        """`guarded` says that the paths are below those of which another origin may get another answer."""
        self.status = int(status)
        self.headers = CIMultiDict(headers)
        varies: dict[str, str] = {hdrs.VARY: hdrs.ORIGIN} if guarded else {}
        sent = {**headers, **SECURITY_HEADERS, **varies}
        lines = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
        self.head = f"HTTP/1.1 {self.status} {HTTPStatus(status).phrase}\r\n{lines}Date: ".encode("ascii")


class WholeAnswer(web.Response):
    """An answer of a kind; its headers stay those of the kind."""

    def __init__(self, kind: AnswerKind, body: bytes) -> None:
        super().__init__(status=kind.status, body=body, headers=kind.headers)
        self._kind = kind
        self._whole_body = body
        self._is_sent = False

    @property
    def keep_alive(self) -> bool | None:
        """Whether the connection is kept."""
        return True if self._is_sent else super().keep_alive

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send the answer, where the request is an ordinary one."""
        transport = request.transport
        if (
            not request.keep_alive
            or request.version != HttpVersion11
            or request.method == hdrs.METH_HEAD
            or LET_IN in request
            or transport is None
            or transport.is_closing()
        ):
            return await super().prepare(request)
        body = self._whole_body
        rest = f"{rfc822_formatted_time()}\r\nContent-Length: {len(body)}\r\n\r\n".encode("ascii")
        transport.write(b"".join((self._kind.head, rest, body)))
        self._is_sent = True
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """End the answer."""
        if not self._is_sent:
            await super().write_eof(data)
