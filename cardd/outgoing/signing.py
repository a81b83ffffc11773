"""Signed webhooks (Standard Webhooks 1.0): HMAC-SHA-256 over identifier, time and body.

The receiver computes the same over `webhook-id`, `webhook-timestamp` and the body as it came, joined by dots, compares
in constant time, and refuses times that are far from its own, so that a message that was listened to is not worth
sending again.
"""

import base64
import binascii
import hashlib
import hmac
from datetime import datetime
from pathlib import Path

from cardd.settings import SettingsError
from cardd.text import Text

_PREFIX = "whsec_"
_LEAST_BYTES, _MOST_BYTES = 24, 64


class SigningSecret:
    """The secret that is shared with the receivers; never shown."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        self._key = key

    def __repr__(self) -> str:
        return "SigningSecret(***)"

    def headers(self, identifier: str, at: datetime, body: bytes) -> dict[str, str]:
        """Return the headers of a message."""
        moment = str(int(at.timestamp()))
        signed = f"{identifier}.{moment}.".encode() + body
        signature = base64.b64encode(hmac.digest(self._key, signed, hashlib.sha256)).decode("ascii")
        return {
            "webhook-id": identifier,
            "webhook-timestamp": moment,
            "webhook-signature": f"v1,{signature}",
        }


def read_secret(path: Path) -> SigningSecret:
    """Read the secret from the first line of a file; raises `SettingsError`."""
    try:
        line = path.read_text(encoding="ascii").partition("\n")[0].strip()
        key = base64.b64decode(line.removeprefix(_PREFIX), validate=True) if line.startswith(_PREFIX) else b""
    except (OSError, UnicodeDecodeError, binascii.Error):
        key = b""
    if not _LEAST_BYTES <= len(key) <= _MOST_BYTES:
        raise SettingsError(
            Text(
                f"webhooks.secret_file: the first line of {path} is not `{_PREFIX}` and {_LEAST_BYTES} to "
                f"{_MOST_BYTES} bytes in base64.",
                f"webhooks.secret_file : la première ligne de {path} n’est pas « {_PREFIX} » suivi de "
                f"{_LEAST_BYTES} à {_MOST_BYTES} octets en base64.",
            )
        )
    return SigningSecret(key)
