"""A call of the API: its handler together with all that its documentation says of it.

The router, the guard, the idempotency keeper and the OpenAPI document all read the same declaration.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from http import HTTPMethod, HTTPStatus
from typing import Any, Generic, TypeVar

import msgspec
from aiohttp import web

from cardd.applications.types import KeyUse, Scope
from cardd.cards.sessions import CardSession
from cardd.errors import CarddError
from cardd_webservice.guard.callers import CALLER, Caller
from cardd_webservice.guard.policy import OWNER_SCOPE, Access, CallerKind, Demand
from cardd_webservice.services import Services

T = TypeVar("T", bound=msgspec.Struct)

API_PREFIX = "/api/v1"
JSON = "application/json"
SESSION_HEADER = "Card-Session"

READ = frozenset({Scope.READ})
ORDER = frozenset({Scope.ORDER})
REVOKE = frozenset({Scope.REVOKE})
SIGN = frozenset({Scope.SIGN})
VALIDATE = frozenset({Scope.VALIDATE})

SERVICES: web.AppKey[Services] = web.AppKey("services", Services)


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """No parameters, or an empty object."""


class Keeping(Enum):
    """Where the answer to a POST is kept for a repetition under its `Idempotency-Key`."""

    STORE = "store"
    MEMORY = "memory"
    """Never on disk: the request or its answer is secret."""


class Call(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """One request, decoded: `given` is its body, or the query of a GET."""

    request: web.Request
    services: Services
    """The daemon's rooms."""
    given: T
    session: CardSession | None = None

    @property
    def caller(self) -> Caller:
        """Who calls."""
        return self.request[CALLER]

    @property
    def names(self) -> tuple[str, ...]:
        """What the caller is known under, for what is kept by application."""
        application = self.caller.application
        return () if application is None else (application.id, application.name)

    @property
    def with_token(self) -> bool:
        """Whether a token came with the request: the owner's, or that of an application."""
        return self.caller.kind in (CallerKind.OWNER, CallerKind.APPLICATION)

    def path(self, name: str) -> str:
        """Return a part of the path."""
        return self.request.match_info[name]

    def authorised_session(self) -> CardSession:
        """Return the card session of a call whose access asks for one."""
        if self.session is None:
            raise RuntimeError("the operation is not declared with Access.CARD")
        return self.session


class Reply(msgspec.Struct, frozen=True):
    """What a handler answers: `value` as JSON, or `body` as it is, of `media_type`."""

    value: Any = None
    status: int = HTTPStatus.OK
    body: bytes | None = None
    media_type: str = JSON
    headers: Mapping[str, str] = {}


Answer = Reply | web.StreamResponse


@dataclass(frozen=True)
class Parameter:
    """A part of the path or a header, as documented."""

    name: str
    description: str
    pattern: str | None = None
    example: str | None = None


@dataclass(frozen=True)
class Operation(Generic[T]):
    """A call of the API."""

    method: HTTPMethod
    path: str
    """Below `/api/v1`, with `{name}` for each of `parameters`."""
    handler: Callable[[Call[T]], Awaitable[Answer]]
    takes: type[T]
    """The body of a POST or PUT; of others, the query."""
    answers: Any
    """Type of the answer's JSON; `None` where there is none."""
    summary: str
    tag: str
    access: Access = Access.TOKEN
    scopes: frozenset[Scope] = OWNER_SCOPE
    """Of an application with a token, one of these is needed; `owner` is always enough."""
    status: int = HTTPStatus.OK
    parameters: tuple[Parameter, ...] = ()
    headers: tuple[Parameter, ...] = ()
    errors: tuple[type[CarddError], ...] = ()
    media_types: tuple[str, ...] = (JSON,)
    also: Mapping[int, Any] = field(default_factory=dict)
    """Further statuses that carry JSON of a type."""
    keeping: Keeping = Keeping.STORE
    uses_key: Callable[[T], KeyUse] | None = None
    """What it does with a card's key, which an application needs the holder's consent for."""
    ends_session: bool = False
    """The handler ends the session named, which may have ended before."""

    @property
    def full_path(self) -> str:
        """The path as served."""
        return API_PREFIX + self.path

    @property
    def demand(self) -> Demand:
        """What it asks of its callers."""
        return Demand(self.access, self.scopes)

    @property
    def has_body(self) -> bool:
        """Whether the request carries its data in its body."""
        return self.method in (HTTPMethod.POST, HTTPMethod.PUT)
