"""Secrets of applications: made here, shown once, kept as hashes.

Tokens and pairing secrets are 256 random bits, so that a plain SHA-256 of them gives nothing away.
"""

import hashlib
import secrets

TOKEN_PREFIX = "cardd-app-"  # noqa: S105 (what tokens begin with, for secret scanners)
CODE_DIGITS = 6
_BYTES = 32


def new_token() -> str:
    """Return a token for an application."""
    return TOKEN_PREFIX + secrets.token_urlsafe(_BYTES)


def new_secret() -> str:
    """Return the secret with which an application fetches its token."""
    return secrets.token_urlsafe(_BYTES)


def new_code() -> str:
    """Return the six digits that both sides show."""
    return f"{secrets.randbelow(10**CODE_DIGITS):0{CODE_DIGITS}d}"


def new_id() -> str:
    """Return an identifier: 96 random bits, hexadecimal."""
    return secrets.token_hex(12)


def hashed(secret: str) -> str:
    """Return the SHA-256 of a secret, hexadecimal."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def same(one: str, other: str) -> bool:
    """Compare in a time that does not depend on where the two differ."""
    return secrets.compare_digest(
        one.encode("utf-8", "surrogateescape"), other.encode("utf-8", "surrogateescape")
    )
