"""An asynchronous client of the daemon's API, for applications on asyncio."""

import uuid
from collections.abc import AsyncIterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import msgspec

from cardd.client.answers import (
    ANSWER_SECONDS,
    API_PREFIX,
    STREAM_SECONDS,
    Answer,
    EventParser,
    Query,
    ServerEvent,
    problem_of,
    query_string,
    request_headers,
)
from cardd.client.errors import ConnectionCutError, DaemonUnreachableError
from cardd.client.places import local_address, place_of_state
from cardd.text import Language, Text

if TYPE_CHECKING:
    from pathlib import Path

    from cardd.client.revocation import AsyncRevocationData

_FIRST_ERROR = 400


class AsyncClient:
    """The daemon behind `address`, as seen by the holder of `token`; an asynchronous context manager.

    `async with AsyncClient(address, token) as client: await client.revocation.validate(…)`
    """

    def __init__(self, address: str, token: str | None, language: Language = "en") -> None:
        """Raises `AddressNotLocalError`: the token is never sent to another machine."""
        import aiohttp  # noqa: PLC0415  slow to import; synchronous programs do without

        self.address = local_address(address).url
        self._token = token
        self._language: Language = language
        self._library = aiohttp
        self._http: aiohttp.ClientSession | None = None

    @classmethod
    def of_state(cls, state: "Path", language: Language = "en") -> "AsyncClient":
        """Return the daemon that runs on a state directory, as its owner; raises `DaemonUnreachableError`."""
        address, token = place_of_state(state)
        return cls(address, token, language)

    async def __aenter__(self) -> Self:
        timeout = self._library.ClientTimeout(total=None, sock_connect=10, sock_read=ANSWER_SECONDS)
        self._http = self._library.ClientSession(timeout=timeout, trust_env=False)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._http is not None:
            await self._http.close()
            self._http = None

    @property
    def revocation(self) -> "AsyncRevocationData":
        """The calls about revocation, validation and trust, with their types."""
        from cardd.client.revocation import AsyncRevocationData  # noqa: PLC0415  rarely needed

        return AsyncRevocationData(self)

    async def get(self, path: str, query: Query | None = None, *, accept: str = "application/json") -> Answer:
        """GET a path under `/api/v1`."""
        return await self._send("GET", path + query_string(query), self._headers(accept=accept))

    async def post(self, path: str, body: Any = None, *, card_session: str | None = None) -> Answer:
        """POST a JSON body under an `Idempotency-Key` of its own, so that a cut connection may be retried."""
        headers = self._headers(card_session=card_session, key=str(uuid.uuid4()))
        return await self._send("POST", path, headers, body)

    async def put(self, path: str, body: Any) -> Answer:
        """PUT a JSON body."""
        return await self._send("PUT", path, self._headers(), body)

    async def delete(self, path: str, *, card_session: str | None = None) -> Answer:
        """DELETE what the path names."""
        return await self._send("DELETE", path, self._headers(card_session=card_session))

    async def events(self, after: int | None = None) -> AsyncIterator[ServerEvent]:
        """Follow the event stream from the event after `after`, from now on without it; ends when it is cut."""
        headers = self._headers(accept="text/event-stream")
        if after is not None:
            headers["Last-Event-ID"] = str(after)
        timeout = self._library.ClientTimeout(total=None, sock_read=STREAM_SECONDS)
        parser = EventParser()
        try:
            async with self._session().get(
                f"{self.address}{API_PREFIX}/events", headers=headers, timeout=timeout
            ) as response:
                if response.status >= _FIRST_ERROR:
                    raise problem_of(response.status, await response.read())
                async for line in response.content:
                    event = parser.line(line)
                    if event is not None:
                        yield event
        except (self._library.ClientError, TimeoutError) as error:
            raise self._failed(error) from None

    async def _send(self, method: str, target: str, headers: dict[str, str], body: Any = None) -> Answer:
        encoded = None
        if body is not None:
            headers = {**headers, "Content-Type": "application/json"}
            encoded = msgspec.json.encode(body)
        try:
            answer = await self._exchange(method, target, headers, encoded)
        except ConnectionCutError:
            # What was sent is harmless twice: a GET, a PUT or DELETE of the same state, or a POST with its key.
            answer = await self._exchange(method, target, headers, encoded)
        if answer.status >= _FIRST_ERROR:
            raise problem_of(answer.status, answer.body)
        return answer

    async def _exchange(
        self, method: str, target: str, headers: dict[str, str], body: bytes | None
    ) -> Answer:
        try:
            async with self._session().request(
                method,
                f"{self.address}{API_PREFIX}{target}",
                data=body,
                headers=headers,
                allow_redirects=False,
            ) as response:
                return Answer(response.status, await response.read())
        except (self._library.ClientError, TimeoutError) as error:
            raise self._failed(error) from None

    def _failed(self, error: Exception) -> DaemonUnreachableError:
        cut = isinstance(error, self._library.ServerDisconnectedError | self._library.ClientOSError)
        refused = isinstance(error, self._library.ClientConnectorError)
        return (ConnectionCutError if cut and not refused else DaemonUnreachableError)(
            Text(
                f"No answer from {self.address} ({type(error).__name__}).",
                f"Pas de réponse de {self.address} ({type(error).__name__}).",
            )
        )

    def _headers(
        self, *, accept: str = "application/json", card_session: str | None = None, key: str | None = None
    ) -> dict[str, str]:
        return request_headers(
            token=self._token, language=self._language, accept=accept, card_session=card_session, key=key
        )

    def _session(self) -> Any:
        if self._http is None:
            raise RuntimeError("use the client as `async with AsyncClient(…) as client:`")
        return self._http
