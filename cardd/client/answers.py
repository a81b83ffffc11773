"""Answers of the daemon and its event stream, decoded; the same whatever carried them."""

import http.client
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from cardd.client.errors import Problem, ProblemError, UnexpectedAnswerError
from cardd.errors import CarddError
from cardd.text import Language, Text

T = TypeVar("T")

API_PREFIX = "/api/v1"
#: Seconds until an answer must begin; an order may wait for a key to be made.
ANSWER_SECONDS = 120.0
#: Seconds without any byte, heartbeats included, after which an event stream is taken for dead.
STREAM_SECONDS = 60.0

LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})

Query = Mapping[str, str | int | Sequence[str] | None]


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


def segment(value: str) -> str:
    """Return `value` as one segment of a path."""
    return quote(value, safe="")


class EventParser:
    """Puts the lines of a stream of server-sent events together (HTML Living Standard §9.2)."""

    def __init__(self) -> None:
        self._id: int | None = None
        self._type, self._data = "message", list[str]()

    def line(self, raw: bytes) -> ServerEvent | None:
        """Take one line; return the event that it ends. Comments are passed over."""
        line = raw.decode("utf-8", errors="replace").rstrip("\r\n")
        if not line:
            event = ServerEvent(self._id, self._type, "\n".join(self._data)) if self._data else None
            self._type, self._data = "message", []
            return event
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "id" and value.isdecimal():
            self._id = int(value)
        elif name == "event":
            self._type = value
        elif name == "data":
            self._data.append(value)
        return None


def read_events(lines: Iterator[bytes] | http.client.HTTPResponse) -> Iterator[ServerEvent]:
    """Parse a stream of server-sent events."""
    parser = EventParser()
    for raw in lines:
        event = parser.line(raw)
        if event is not None:
            yield event


def request_headers(
    *,
    token: str | None,
    language: Language,
    accept: str,
    card_session: str | None = None,
    key: str | None = None,
) -> dict[str, str]:
    """Return the headers of a request."""
    given = {
        "Accept": accept,
        "Accept-Language": language,
        "Authorization": f"Bearer {token}" if token else None,
        "Card-Session": card_session,
        "Idempotency-Key": key,
    }
    return {name: value for name, value in given.items() if value is not None}


def query_string(query: Query | None) -> str:
    """Return a query with its question mark, nothing for an empty one."""
    given = {name: value for name, value in (query or {}).items() if value is not None}
    return f"?{urlencode(given, doseq=True)}" if given else ""


def problem_of(status: int, content: bytes) -> CarddError:
    """Return the error that an answer of a status of 400 and above tells of."""
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
