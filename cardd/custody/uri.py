"""`pkcs11:` URIs (RFC 7512), by which applications name a key on a token.

Ours have no `module-path`: libp11 0.4.12, OpenSSL's pkcs11 engine, refuses any URI with it, and takes the module from
its own configuration.
"""

from enum import StrEnum, unique
from pathlib import Path
from urllib.parse import quote, quote_from_bytes, unquote, unquote_to_bytes

import msgspec

from cardd_pkcs11.types import KeyId, TokenSerial

#: Characters that stay as they are in a file name within a query (RFC 7512 §2.3, pk11-qattr).
_PATH_SAFE = "/"


@unique
class ObjectType(StrEnum):
    """Values of the `type` attribute (RFC 7512 §2.3)."""

    PRIVATE = "private"
    PUBLIC = "public"
    CERTIFICATE = "cert"
    DATA = "data"


class Pkcs11Uri(msgspec.Struct, frozen=True, kw_only=True):
    """One object on one token; `str` gives the URI. Absent attributes are left out."""

    token: str | None = None
    serial: TokenSerial | None = None
    label: str | None = None
    key_id: KeyId | None = None
    type: ObjectType | None = None
    #: Absolute path of the file that holds the PIN and nothing else.
    pin_file: Path | None = None
    #: Read from other programs' URIs, never written into ours.
    module_path: Path | None = None

    def __str__(self) -> str:
        path = [
            *_attribute("token", self.token),
            *_attribute("serial", self.serial),
            *_attribute("object", self.label),
        ]
        if self.key_id is not None:
            path.append("id=" + "".join(f"%{byte:02X}" for byte in self.key_id))
        path.extend(_attribute("type", self.type))
        query = "" if self.pin_file is None else "?pin-source=file:" + _file(self.pin_file)
        return "pkcs11:" + ";".join(path) + query


def parse_uri(text: str) -> Pkcs11Uri:
    """Read a `pkcs11:` URI that names a key; attributes that are not kept here are passed over.

    Raises:
        ValueError: it is no such URI, names no key, or holds a PIN itself. The sentence does not repeat it.
    """
    scheme, _, rest = text.partition(":")
    if scheme.lower() != "pkcs11":
        raise ValueError("it does not begin with pkcs11:")
    path, _, query = rest.partition("?")
    named = dict(part.partition("=")[::2] for part in path.split(";") if part)
    asked = dict(part.partition("=")[::2] for part in query.split("&") if part)
    if "pin-value" in asked:
        raise ValueError("it holds a PIN, which others see: use pin-source=file:…")
    if "id" not in named:
        raise ValueError("it has no id, which names the key")
    source = asked.get("pin-source", "").removeprefix("file:")
    module = asked.get("module-path")
    serial, key_type = named.get("serial"), named.get("type")
    return Pkcs11Uri(
        token=_text(named.get("token")),
        serial=None if serial is None else TokenSerial(unquote(serial)),
        label=_text(named.get("object")),
        key_id=KeyId(unquote_to_bytes(named["id"])),
        type=None if key_type is None else ObjectType(key_type),
        pin_file=Path(unquote(source)) if source else None,
        module_path=None if module is None else Path(unquote(module)),
    )


def _text(value: str | None) -> str | None:
    return None if value is None else unquote(value)


def _attribute(name: str, value: str | None) -> list[str]:
    """Encode one path attribute; everything but RFC 3986's unreserved characters is escaped (RFC 7512 §2.3)."""
    return [] if value is None else [f"{name}={quote(value, safe='')}"]


def _file(path: Path) -> str:
    return quote_from_bytes(bytes(path), safe=_PATH_SAFE)
