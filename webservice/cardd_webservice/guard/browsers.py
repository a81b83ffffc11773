"""Whose browser is it? One-time links, the sessions they open, and the cookie that names a session.

The owner's token makes a link; the link works once, within two minutes, and becomes a cookie that only the
daemon's own pages take. A session ends when nobody uses it for half an hour, when it is signed out, and with
the daemon. Cookies know no ports: the cookie's name carries ours, so that two daemons do not disturb each other.
"""

import asyncio
import hashlib
import secrets
from collections import OrderedDict
from dataclasses import dataclass, field

import msgspec
from aiohttp import web

from cardd.cards.types import CardSessionId
from cardd.clock import Clock
from cardd.text import Text
from cardd_webservice.errors import ForeignOriginError, SignInRequiredError
from cardd_webservice.guard.policy import Access

_SECRET_BYTES = 32
_COOKIE = "cardd-session"
#: On requests that a page makes by itself: nobody's presence is behind them.
LIVE_HEADER = "Cardd-Live"


class BrowserPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How long links and sessions last, in seconds, and how many there may be at once."""

    link_seconds: float = 120.0
    most_links: int = 16
    idle_seconds: float = 30 * 60.0
    longest_seconds: float = 12 * 3600.0
    """However busy, a session ends after this."""
    most_sessions: int = 16


@dataclass(eq=False)
class BrowserSession:
    """A browser that is signed in as the owner, and the card session opened from its pages."""

    form_token: str = field(default_factory=lambda: secrets.token_urlsafe(_SECRET_BYTES), repr=False)
    """What every form of this session carries, and no page of another origin can know."""
    opened_at: float = 0.0
    used_at: float = 0.0
    card_session: CardSessionId | None = field(default=None, repr=False)
    notice: Text | None = None
    """What the next page says first."""
    done: OrderedDict[str, asyncio.Future[str]] = field(default_factory=OrderedDict, repr=False)
    """Where forms that were sent already led, by their nonce."""
    ended: asyncio.Event = field(default_factory=asyncio.Event, repr=False)


class Browsers:
    """Links not yet used, and sessions; both in this process only, and kept as hashes."""

    def __init__(self, clock: Clock, policy: BrowserPolicy | None = None) -> None:
        self.policy = policy or BrowserPolicy()
        self._clock = clock
        self._links: OrderedDict[bytes, float] = OrderedDict()
        self._sessions: OrderedDict[bytes, BrowserSession] = OrderedDict()

    def new_link(self) -> str:
        """Make the secret part of a link; the oldest unused one is dropped where there are too many."""
        value = secrets.token_urlsafe(_SECRET_BYTES)
        self._links[_hash(value)] = self._clock.monotonic() + self.policy.link_seconds
        while len(self._links) > self.policy.most_links:
            self._links.popitem(last=False)
        return value

    def enter(self, link: str) -> str | None:
        """Use a link up, and return the cookie's value of the session it opens; `None` where it is not good."""
        good_until = self._links.pop(_hash(link), None)
        now = self._clock.monotonic()
        if good_until is None or now > good_until:
            return None
        value = secrets.token_urlsafe(_SECRET_BYTES)
        self._sessions[_hash(value)] = BrowserSession(opened_at=now, used_at=now)
        while len(self._sessions) > self.policy.most_sessions:
            self._sessions.popitem(last=False)[1].ended.set()
        return value

    def find(self, cookie: str, *, use: bool = True) -> BrowserSession | None:
        """Return the session of a cookie unless it has ended; `use` puts the idle time-out back."""
        key = _hash(cookie)
        session = self._sessions.get(key)
        if session is None:
            return None
        if self.seconds_left(session) <= 0:
            self._sessions.pop(key).ended.set()
            return None
        if use:
            session.used_at = self._clock.monotonic()
        return session

    def seconds_left(self, session: BrowserSession) -> float:
        """Return how long a session lasts if nobody uses it; 0 once it has ended."""
        if session.ended.is_set():
            return 0.0
        now, policy = self._clock.monotonic(), self.policy
        ends_at = min(session.used_at + policy.idle_seconds, session.opened_at + policy.longest_seconds)
        return max(ends_at - now, 0.0)

    def leave(self, session: BrowserSession) -> None:
        """End a session."""
        session.ended.set()
        self._sessions = OrderedDict(
            (key, known) for key, known in self._sessions.items() if known is not session
        )

    def leave_all(self) -> None:
        """End every session, and void every link."""
        self._links.clear()
        for session in self._sessions.values():
            session.ended.set()
        self._sessions.clear()


BROWSERS: web.AppKey[Browsers] = web.AppKey("browsers", Browsers)
#: The session that a request of a page belongs to.
BROWSER: web.RequestKey[BrowserSession] = web.RequestKey("browser", BrowserSession)


def cookie_name(port: int) -> str:
    """Return the name of the session cookie of the daemon on `port`."""
    return f"{_COOKIE}-{port}"


def known_browser(request: web.Request, port: int | None, *, use: bool = True) -> BrowserSession | None:
    """Return the session that the request's one session cookie names, if it lives; the Unix socket has none."""
    if port is None:
        return None
    value = _one_cookie(request, cookie_name(port))
    return request.app[BROWSERS].find(value, use=use) if value is not None else None


def admit_browser(request: web.Request, access: Access, port: int | None) -> BrowserSession:
    """Return the signed-in session of a request for a page, a form or live news.

    Raises `SignInRequiredError`, and `ForeignOriginError` where a browser would have said that one of our own
    pages asks and this request does not (RFC 6454 §7; Fetch Metadata §2.4).
    """
    if access is Access.FORM and not request.headers.get("Origin"):
        raise ForeignOriginError(
            Text("The form names no origin.", "Le formulaire n’indique pas son origine."),
        )
    if access is Access.LIVE and request.headers.get("Sec-Fetch-Site") != "same-origin":
        raise ForeignOriginError(
            Text("Not one of the daemon's pages asks.", "La demande ne vient pas d’une page du démon.")
        )
    by_itself = access is Access.LIVE or LIVE_HEADER in request.headers
    session = known_browser(request, port, use=not by_itself)
    if session is None:
        raise SignInRequiredError(
            Text("This browser is not signed in, or no longer.", "Ce navigateur n’est pas ou plus connecté.")
        )
    return session


def _one_cookie(request: web.Request, name: str) -> str | None:
    """Return the cookie's value where it is sent exactly once."""
    pairs = [
        pair.strip().partition("=")
        for header in request.headers.getall("Cookie", [])
        for pair in header.split(";")
    ]
    values = [value for found, _, value in pairs if found == name]
    return values[0] if len(values) == 1 else None


def _hash(value: str) -> bytes:
    return hashlib.sha256(value.encode("utf-8", "surrogateescape")).digest()
