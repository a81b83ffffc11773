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

from cardd_webservice.guard.policy import SECURITY_HEADERS


class AnswerKind:
    """What all answers of a kind have in common: `headers` are the kind's own, names and values of ours."""

    def __init__(self, headers: Mapping[str, str], status: int = HTTPStatus.OK, *, guarded: bool) -> None:
        """`guarded` says that the paths are below those of which another origin may get another answer."""
        self.status = int(status)
        self.headers = dict(headers)
        varies: dict[str, str] = {hdrs.VARY: hdrs.ORIGIN} if guarded else {}
        sent = {**headers, **SECURITY_HEADERS, **varies}
        lines = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
        self.head = f"HTTP/1.1 {self.status} {HTTPStatus(status).phrase}\r\n{lines}Date: ".encode("ascii")


class WholeAnswer(web.StreamResponse):
    """An answer of a kind, with the kind's headers and none of its own: nothing can be added to them."""

    def __init__(self, kind: AnswerKind, body: bytes) -> None:
        # What the framework sends an answer from is not made: `prepare` makes it where the framework is to send it.
        self._kind = kind
        self._whole_body = body
        self._of_framework: web.Response | None = None

    @property
    def status(self) -> int:
        """The status, as counted."""
        return self._kind.status

    @property
    def keep_alive(self) -> bool | None:
        """Whether the connection is kept."""
        return True if self._of_framework is None else self._of_framework.keep_alive

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send the answer; by the framework where the request is not an ordinary one."""
        transport = request.transport
        if (
            request.keep_alive
            and request.version == HttpVersion11
            and request.method != hdrs.METH_HEAD
            # Only a page that names its origin is told that it may read the answer.
            and hdrs.ORIGIN not in request.headers
            and transport is not None
            and not transport.is_closing()
        ):
            body = self._whole_body
            rest = f"{rfc822_formatted_time()}\r\nContent-Length: {len(body)}\r\n\r\n".encode("ascii")
            transport.write(b"".join((self._kind.head, rest, body)))
            return None
        self._of_framework = web.Response(
            status=self._kind.status, body=self._whole_body, headers=self._kind.headers
        )
        return await self._of_framework.prepare(request)

    async def write_eof(self, data: bytes = b"") -> None:
        """End the answer."""
        if self._of_framework is not None:
            await self._of_framework.write_eof(data)
