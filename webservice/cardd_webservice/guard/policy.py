"""The guard's rules, as data: who may call what, from which pages, and how much."""

from collections.abc import Mapping
from enum import Enum, unique
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from cardd.applications.types import Scope


class _Kind(Enum):
    """Members are looked up several times a request: they are hashed as what they are, each one object."""

    __hash__ = object.__hash__


@unique
class Access(_Kind):
    """The classes of routes."""

    PUBLICATION = "publication"
    """Revocation data for everybody on this machine: only the `Host` is checked."""
    ENTRY = "entry"
    """The way in to our own pages: what leads here may be any page, what counts is the link's secret."""
    PUBLIC = "public"
    """No token needed; one that is sent must be right."""
    PAIRING = "pairing"
    """An application asks to be let in, before it has a token."""
    TOKEN = "token"  # noqa: S105 (a kind of access)
    """A bearer token is needed, and the scope that the route names."""
    CARD = "card"
    """A bearer token with that scope and an open card session are needed."""
    IN_PERSON = "in_person"
    """The owner's own token: letting others in, and answering in a holder's place, are not delegated."""
    PAGE = "page"
    """One of our own pages: a browser that is signed in is needed, and no token is taken."""
    FORM = "form"
    """A form of such a page: an `Origin` is needed too, and the form's own token, which its reader checks."""
    LIVE = "live"
    """Live news for such a page; being connected does not put the idle time-out back."""


@unique
class CallerKind(_Kind):
    """Who calls."""

    OWNER = "owner"
    """Holds the owner's token."""
    APPLICATION = "application"
    """Holds the token of an application that the owner let in."""
    BROWSER = "browser"
    """Signed in to our own pages, by a link that the owner's token made."""
    USER = "user"
    """A program of the daemon's user, or of root, without any of these."""
    OTHER_USER = "other_user"
    """A program of another user of this machine, whatever it holds."""


@unique
class OriginKind(_Kind):
    """Which page sent the request, as its browser says (RFC 6454; Fetch Metadata)."""

    NONE = "none"
    """No page: a program, or an address that a person typed."""
    OWN = "own"
    PAIRED = "paired"
    """A page of an application that the owner let in."""
    PROTECTED = "protected"
    """Any page served by https, or by this machine: it has an origin that may be paired."""
    FOREIGN = "foreign"
    """Every other page, `null` among them."""


class Rule(NamedTuple):
    """Whom a class of routes is for."""

    callers: frozenset[CallerKind]
    origins: frozenset[OriginKind]


_EVERYBODY = frozenset(CallerKind)
_THIS_USER = frozenset({CallerKind.OWNER, CallerKind.APPLICATION, CallerKind.USER})
_TOKEN_HOLDERS = frozenset({CallerKind.OWNER, CallerKind.APPLICATION})
_OWNER = frozenset({CallerKind.OWNER})
_BROWSER = frozenset({CallerKind.BROWSER})
_EVERYWHERE = frozenset(OriginKind)
_OURS = frozenset({OriginKind.NONE, OriginKind.OWN})
_OURS_AND_PAIRED = _OURS | {OriginKind.PAIRED}

#: The whole policy. What is not in a rule is refused.
RULES: Mapping[Access, Rule] = MappingProxyType(
    {
        Access.PUBLICATION: Rule(callers=_EVERYBODY, origins=_EVERYWHERE),
        Access.ENTRY: Rule(callers=_THIS_USER, origins=_EVERYWHERE),
        Access.PUBLIC: Rule(callers=_THIS_USER, origins=_OURS_AND_PAIRED),
        Access.PAIRING: Rule(callers=_THIS_USER, origins=_OURS_AND_PAIRED | {OriginKind.PROTECTED}),
        Access.TOKEN: Rule(callers=_TOKEN_HOLDERS, origins=_OURS_AND_PAIRED),
        Access.CARD: Rule(callers=_TOKEN_HOLDERS, origins=_OURS_AND_PAIRED),
        Access.IN_PERSON: Rule(callers=_OWNER, origins=_OURS),
        Access.PAGE: Rule(callers=_BROWSER, origins=_OURS),
        Access.FORM: Rule(callers=_BROWSER, origins=_OURS),
        Access.LIVE: Rule(callers=_BROWSER, origins=_OURS),
    }
)

PAGE_ACCESS = frozenset({Access.PAGE, Access.FORM, Access.LIVE})
#: Origins of pages that are not ours and may be answered.
LET_IN_KINDS = frozenset({OriginKind.PAIRED, OriginKind.PROTECTED})
#: Where pages of other origins may send requests, but read no answer.
WITHOUT_CORS = frozenset({Access.PUBLICATION, Access.ENTRY})
#: Where a bearer token decides.
TOKEN_ACCESS = frozenset({Access.TOKEN, Access.CARD, Access.IN_PERSON})

ANY_SCOPE = frozenset(Scope)
OWNER_SCOPE = frozenset({Scope.OWNER})


class Demand(NamedTuple):
    """What a route asks of its callers; of an application, one of `scopes`."""

    access: Access
    scopes: frozenset[Scope] = OWNER_SCOPE


class Allowance(NamedTuple):
    """So many attempts in so many seconds."""

    most: int
    seconds: float


class GuardPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Under which names the daemon is called, and how much callers may send."""

    hosts: tuple[str, ...] = ("127.0.0.1", "localhost", "[::1]")
    """Names under which the daemon may be called; everything else is DNS rebinding."""

    socket_host: str = "cardd"
    """One more name, on the Unix socket only."""

    refused_sites: frozenset[str] = frozenset({"cross-site", "same-site"})
    """Values of `Sec-Fetch-Site` that only pages of other origins produce (Fetch Metadata §2.4)."""

    guarded_prefixes: tuple[str, ...] = ("/api/", "/metrics")
    """Below these, even what does not exist asks for a token."""

    body_limit: int = 4 * 1024 * 1024
    """Largest body, in bytes; the status of 10,000 certificates takes about 1.3 million."""

    body_seconds: float = 30.0
    """A body that takes longer to arrive is given up."""

    json_depth: int = 32
    """Deepest nesting of a JSON body; the deepest request of the API needs four."""

    line_size: int = 8190
    """Longest request line and longest header, in bytes."""

    headers: int = 64
    """Most headers of a request."""

    idle_seconds: float = 30.0
    """A connection without a whole request's headers for so long is closed, however slowly they come."""

    stalled_seconds: float = 30.0
    """A caller who does not read its answer for so long is cut off."""

    connections: int = 1024
    """Connections open at once."""

    connections_of_others: int = 32
    """Of those, connections of other users of this machine."""

    wrong_tokens: Allowance = Allowance(most=30, seconds=60.0)
    """After so many, wrong ones are no longer looked at; the right one always is."""

    pairing_requests: Allowance = Allowance(most=10, seconds=600.0)
    """Requests to be let in, of one origin or of all programs together."""

    preflight_seconds: int = 300
    """How long a browser may remember that an origin is let in."""


POLICY = GuardPolicy()

#: On every answer. Pages replace the content security policy by their own.
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Server": "cardd",
}

#: Of public pages: one stylesheet of ours, nothing from elsewhere, no script.
PAGE_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)

#: Of pages for who is signed in: one script of ours besides, and forms that lead back here.
SIGNED_IN_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; script-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)

#: Of our own pages: with `no-referrer` browsers would send `Origin: null` with their forms (Fetch §3.2).
PAGE_REFERRER_POLICY = "same-origin"
