"""The guard's rules, as data."""

from enum import Enum

import msgspec


class Access(Enum):
    """What a route asks of its callers."""

    PUBLICATION = "publication"
    """Revocation data for everybody on this machine: only the `Host` is checked."""
    PUBLIC = "public"
    """No token needed; one that is sent must be right."""
    TOKEN = "token"  # noqa: S105 (a kind of access)
    """A bearer token is needed."""
    CARD = "card"
    """A bearer token and an open card session are needed."""
    PAGE = "page"
    """One of our own pages: a browser that is signed in is needed, and no token is taken."""
    FORM = "form"
    """A form of such a page: an `Origin` is needed too, and the form's own token, which its reader checks."""
    LIVE = "live"
    """Live news for such a page; being connected does not put the idle time-out back."""


class GuardPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Whom the guard lets in, and how much they may send."""

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

PAGE_ACCESS = frozenset({Access.PAGE, Access.FORM, Access.LIVE})

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
