"""A small synchronous client of the daemon's API, for the command line and for scripts in Python.

It speaks HTTP to a loopback address only, since every request carries the owner's token. Answers are kept
as bytes and decoded into the published types on demand, so that `--json` shows what the daemon said.
"""

import http.client
import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Generic, NamedTuple, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from cardd.errors import CarddError
from cardd.text import Language, Text

T = TypeVar("T")

API_PREFIX = "/api/v1"
#: Seconds until an answer must begin; an order may wait for a key to be made.
ANSWER_SECONDS = 120.0
#: Seconds without any byte, heartbeats included, after which an event stream is taken for dead.
STREAM_SECONDS = 60.0

_LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})

Query = Mapping[str, str | int | Sequence[str] | None]


class AddressNotLocalError(CarddError):
    """The address is not one of this machine's loopback addresses."""

    code = "address_not_local"
    status = 400
    title = Text("Not a local address", "Adresse non locale")
    default_advice = Text(
        "Give an address such as http://127.0.0.1:8980; the token is never sent to another machine.",
        "Donnez une adresse telle que http://127.0.0.1:8980 ; le jeton n’est jamais envoyé à une autre machine.",
    )


class DaemonUnreachableError(CarddError):
    """Nothing answers under the address."""

    code = "daemon_unreachable"
    status = 503
    title = Text("The daemon does not answer", "Le démon ne répond pas")
    default_advice = Text(
        "Start it with `cardd run`, or name its state with --state-dir.",
        "Démarrez-le avec « cardd run », ou indiquez son état avec --state-dir.",
    )


class _ConnectionCutError(DaemonUnreachableError):
    """The connection was accepted and then closed without an answer."""


class UnexpectedAnswerError(CarddError):
    """What answers does not speak the daemon's API."""

    code = "unexpected_answer"
    status = 502
    title = Text("Unexpected answer", "Réponse inattendue")
    default_advice = Text(
        "Check with `cardd diagnose` that the address is the daemon's and that the versions agree.",
        "Vérifiez avec « cardd diagnose » que l’adresse est celle du démon et que les versions concordent.",
    )


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """The members of a problem document (RFC 9457) that people are shown."""

    type: str = "about:blank"
    title: str = ""
    detail: str = ""
    advice: str = ""
    fields: tuple[dict[str, str], ...] = ()


class ProblemError(CarddError):
    """The daemon answered with a problem document; `document` holds all of its members."""

    title = Text("Refused by the daemon", "Refusé par le démon")

    def __init__(self, status: int, problem: Problem, document: dict[str, Any]) -> None:
        detail = problem.detail or problem.title or f"HTTP {status}"
        super().__init__(Text(detail, detail), advice=Text(problem.advice, problem.advice))
        self.http_status = status
        self.problem_code = problem.type.rpartition(":")[2]
        self.problem = problem
        self.document = document


class Page(msgspec.Struct, Generic[T], frozen=True):
    """One page of a list; `next_cursor` asks for the following one."""

    items: list[T]
    next_cursor: str | None = None


class ServerEvent(NamedTuple):
    """One event of the stream as sent: its number, its type and its JSON."""

    id: int | None
    type: str
    data: str


class Answer(NamedTuple):
    """An answer; `body` is what came over the wire."""

    status: int
    body: bytes

    def json(self) -> Any:
        """Return the body as plain values; raises `UnexpectedAnswerError`."""
        return self.decode(Any)

    def decode(self, kind: type[T]) -> T:
        """Return the body as a `kind`; raises `UnexpectedAnswerError`."""
        try:
            return msgspec.json.decode(self.body, type=kind)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            raise UnexpectedAnswerError(
                Text(f"The answer is not understood: {error}.", f"La réponse n’est pas comprise : {error}.")
            ) from None

    def page(self, kind: type[T]) -> Page[T]:
        """Return the body as one page of `kind`, be it a page or a plain list."""
        if self.body.lstrip().startswith(b"["):
            return Page(self.decode(list[kind]))  # type: ignore[valid-type]
        return self.decode(Page[kind])  # type: ignore[valid-type]


class Client:
    """The daemon behind `address` (`http://127.0.0.1:8980`), as seen by the holder of `token`."""

    def __init__(self, address: str, token: str | None, language: Language = "en") -> None:
        parts = urlsplit(address)
        if parts.scheme != "http" or parts.hostname not in _LOOPBACK_HOSTS:
            raise AddressNotLocalError(
                Text(
                    f"“{address}” is not a local http address.",
                    f"« {address} » n’est pas une adresse http locale.",
                )
            )
        self.address = address.rstrip("/")
        self._host, self._port = parts.hostname, parts.port or 80
        self._token = token
        self._language = language

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

    def post(self, path: str, body: Any = None, *, card_session: str | None = None) -> Answer:
        """POST a JSON body under an `Idempotency-Key` of its own, so that a cut connection may be retried."""
        return self._send("POST", path, body=body, card_session=card_session, key=str(uuid.uuid4()))

    def put(self, path: str, body: Any) -> Answer:
        """PUT a JSON body."""
        return self._send("PUT", path, body=body)

    def delete(self, path: str, *, card_session: str | None = None) -> Answer:
        """DELETE what the path names."""
        return self._send("DELETE", path, card_session=card_session)

    def events(self, after: int | None = None) -> Iterator[ServerEvent]:
        """Follow the event stream from the event after `after`, from now on without it; ends when it is cut."""
        headers = self._headers(accept="text/event-stream")
        if after is not None:
            headers["Last-Event-ID"] = str(after)
        with self._connected(STREAM_SECONDS) as connection:
            connection.request("GET", f"{API_PREFIX}/events", headers=headers)
            response = connection.getresponse()
            if response.status != http.client.OK:
                raise _problem(response.status, response.read())
            yield from read_events(response)

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
    ) -> Answer:
        headers = self._headers(accept=accept, card_session=card_session, key=key)
        if body is not None:
            headers["Content-Type"] = "application/json"
        target = API_PREFIX + path + _query_string(query)
        encoded = msgspec.json.encode(body) if body is not None else None
        try:
            answer = self._exchange(method, target, encoded, headers)
        except _ConnectionCutError:
            # The connection was cut before an answer. What was sent is harmless twice: a GET, a PUT or DELETE
            # of the same state, or a POST with its key.
            answer = self._exchange(method, target, encoded, headers)
        if answer.status >= http.client.BAD_REQUEST and answer.status not in welcome:
            raise _problem(answer.status, answer.body)
        return answer

    def _exchange(self, method: str, target: str, body: bytes | None, headers: dict[str, str]) -> Answer:
        with self._connected(ANSWER_SECONDS) as connection:
            connection.request(method, target, body=body, headers=headers)
            response = connection.getresponse()
            return Answer(response.status, response.read())

    def _headers(
        self, *, accept: str, card_session: str | None = None, key: str | None = None
    ) -> dict[str, str]:
        given = {
            "Accept": accept,
            "Accept-Language": self._language,
            "Authorization": f"Bearer {self._token}" if self._token else None,
            "Card-Session": card_session,
            "Idempotency-Key": key,
        }
        return {name: value for name, value in given.items() if value is not None}

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
            raise (_ConnectionCutError if cut else DaemonUnreachableError)(
                Text(
                    f"The connection to {self.address} broke off ({type(error).__name__}).",
                    f"La connexion à {self.address} s’est interrompue ({type(error).__name__}).",
                )
            ) from None
        finally:
            connection.close()


def segment(value: str) -> str:
    """Return `value` as one segment of a path."""
    return quote(value, safe="")


def read_events(lines: Iterator[bytes] | http.client.HTTPResponse) -> Iterator[ServerEvent]:
    """Parse a stream of server-sent events (HTML Living Standard §9.2); comments are passed over."""
    event_id: int | None = None
    event_type, data = "message", list[str]()
    for raw in lines:
        line = raw.decode("utf-8", errors="replace").rstrip("\r\n")
        if not line:
            if data:
                yield ServerEvent(event_id, event_type, "\n".join(data))
            event_type, data = "message", []
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "id" and value.isdecimal():
            event_id = int(value)
        elif name == "event":
            event_type = value
        elif name == "data":
            data.append(value)


def _query_string(query: Query | None) -> str:
    given = {name: value for name, value in (query or {}).items() if value is not None}
    return f"?{urlencode(given, doseq=True)}" if given else ""


def _problem(status: int, content: bytes) -> CarddError:
    try:
        document = json.loads(content)
        return ProblemError(status, msgspec.convert(document, Problem), document)
    except (ValueError, msgspec.ValidationError):
        return UnexpectedAnswerError(
            Text(
                f"The answer is HTTP {status} without a problem document.",
                f"La réponse est HTTP {status} sans description du problème.",
            )
        )
