"""A synchronous client of the daemon's API, for the command line and for scripts in Python.

It speaks HTTP to a loopback address only, since every request carries a token. Answers are kept as bytes
and decoded into the published types on demand, so that `--json` shows what the daemon said.
"""

import http.client
import shutil
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import IO, TYPE_CHECKING, Any

import msgspec

from cardd.client.answers import (
    ANSWER_SECONDS,
    API_PREFIX,
    STREAM_SECONDS,
    Answer,
    Query,
    ServerEvent,
    problem_of,
    query_string,
    read_events,
    request_headers,
)
from cardd.client.errors import ConnectionCutError, DaemonUnreachableError
from cardd.client.places import local_address, place_of_state
from cardd.text import Language, Text

if TYPE_CHECKING:
    from pathlib import Path

    from cardd.client.revocation import RevocationData


class Client:
    """The daemon behind `address` (`http://127.0.0.1:8980`), as seen by the holder of `token`."""

    def __init__(self, address: str, token: str | None, language: Language = "en") -> None:
        """Raises `AddressNotLocalError`: the token is never sent to another machine."""
        self.address, self._host, self._port = local_address(address)
        self._token = token
        self._language: Language = language

    @classmethod
    def of_state(cls, state: "Path", language: Language = "en") -> "Client":
        """Return the daemon that runs on a state directory, as its owner; raises `DaemonUnreachableError`."""
        address, token = place_of_state(state)
        return cls(address, token, language)

    @property
    def revocation(self) -> "RevocationData":
        """The calls about revocation, validation and trust, with their types."""
        from cardd.client.revocation import RevocationData  # noqa: PLC0415  slow to import, and rarely needed

        return RevocationData(self)

    def get(
        self,
        path: str,
        query: Query | None = None,
        *,
        accept: str = "application/json",
        welcome: frozenset[int] = frozenset(),
    ) -> Answer:
        """GET a path under `/api/v1`; an error status that is `welcome` is an answer like others."""
        return self._send("GET", path, query=query, accept=accept, welcome=welcome)

    def download(self, path: str, target: IO[bytes]) -> None:
        """Write what a path answers into an open file, piece by piece; raises as `get` does."""
        with self._connected(ANSWER_SECONDS) as connection:
            connection.request("GET", API_PREFIX + path, headers=self._headers(accept="*/*"))
            response = connection.getresponse()
            if response.status != http.client.OK:
                raise problem_of(response.status, response.read())
            shutil.copyfileobj(response, target)

    def post(
        self,
        path: str,
        body: Any = None,
        *,
        card_session: str | None = None,
        patience: float = ANSWER_SECONDS,
    ) -> Answer:
        """POST a JSON body under an `Idempotency-Key` of its own, so that a cut connection may be retried.

        `patience` is how long the answer may take to begin, in seconds.
        """
        key = str(uuid.uuid4())
        return self._send("POST", path, body=body, card_session=card_session, key=key, patience=patience)

    def put(self, path: str, body: Any) -> Answer:
        """PUT a JSON body."""
        return self._send("PUT", path, body=body)

    def delete(self, path: str, *, card_session: str | None = None) -> Answer:
        """DELETE what the path names."""
        return self._send("DELETE", path, card_session=card_session)

    def events(self, after: int | None = None) -> Iterator[ServerEvent]:
        """Follow the event stream from the event after `after`, from now on without it; ends when it is cut.

        The stream is open when this returns: what happens from then on is in it.
        """
        headers = self._headers(accept="text/event-stream")
        if after is not None:
            headers["Last-Event-ID"] = str(after)
        with ExitStack() as stack:
            connection = stack.enter_context(self._connected(STREAM_SECONDS))
            connection.request("GET", f"{API_PREFIX}/events", headers=headers)
            response = connection.getresponse()
            if response.status != http.client.OK:
                raise problem_of(response.status, response.read())
            return _followed(stack.pop_all(), response)

    def _send(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: Any = None,
        accept: str = "application/json",
        card_session: str | None = None,
        key: str | None = None,
        welcome: frozenset[int] = frozenset(),
        patience: float = ANSWER_SECONDS,
    ) -> Answer:
        headers = self._headers(accept=accept, card_session=card_session, key=key)
        if body is not None:
            headers["Content-Type"] = "application/json"
        target = API_PREFIX + path + query_string(query)
        encoded = msgspec.json.encode(body) if body is not None else None
        try:
            answer = self._exchange(method, target, encoded, headers, patience)
        except ConnectionCutError:
            # The connection was cut before an answer. What was sent is harmless twice: a GET, a PUT or DELETE
            # of the same state, or a POST with its key.
            answer = self._exchange(method, target, encoded, headers, patience)
        if answer.status >= http.client.BAD_REQUEST and answer.status not in welcome:
            raise problem_of(answer.status, answer.body)
        return answer

    def _exchange(
        self, method: str, target: str, body: bytes | None, headers: dict[str, str], patience: float
    ) -> Answer:
        with self._connected(patience) as connection:
            connection.request(method, target, body=body, headers=headers)
            response = connection.getresponse()
            return Answer(response.status, response.read())

    def _headers(
        self, *, accept: str, card_session: str | None = None, key: str | None = None
    ) -> dict[str, str]:
        return request_headers(
            token=self._token, language=self._language, accept=accept, card_session=card_session, key=key
        )

    @contextmanager
    def _connected(self, timeout: float) -> Iterator[http.client.HTTPConnection]:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=timeout)
        try:
            connection.connect()
        except OSError as error:
            reason = error.strerror or str(error)
            raise DaemonUnreachableError(
                Text(
                    f"No daemon answers at {self.address} ({reason}).",
                    f"Aucun démon ne répond à {self.address} ({reason}).",
                )
            ) from None
        try:
            yield connection
        except TimeoutError:
            raise DaemonUnreachableError(
                Text(
                    f"{self.address} did not answer within {timeout:g} s.",
                    f"{self.address} n’a pas répondu en {timeout:g} s.",
                )
            ) from None
        except (http.client.HTTPException, OSError) as error:
            cut = isinstance(error, http.client.RemoteDisconnected | ConnectionResetError)
            raise (ConnectionCutError if cut else DaemonUnreachableError)(
                Text(
                    f"The connection to {self.address} broke off ({type(error).__name__}).",
                    f"La connexion à {self.address} s’est interrompue ({type(error).__name__}).",
                )
            ) from None
        finally:
            connection.close()


def _followed(connected: ExitStack, response: http.client.HTTPResponse) -> Iterator[ServerEvent]:
    with connected:
        yield from read_events(response)
