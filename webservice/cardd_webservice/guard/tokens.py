"""The owner's bearer token, and the secret that outlives it: 256 random bits each, in files of the owner's alone."""

import os
import re
import secrets
import stat
from pathlib import Path

from cardd.errors import CarddError
from cardd.text import Text
from cardd_webservice.privatefiles import write_draft

TOKEN_FILE = "token"  # noqa: S105 (a file name)
_REQUEST_SECRET_FILE = "request-secret"  # noqa: S105 (a file name)
_TOKEN_BYTES = 32
_FORM = re.compile(r"[A-Za-z0-9_-]{43}")


class TokenFileError(CarddError):
    """The token's file cannot be trusted; the daemon does not start with it."""

    code = "token_file_unsafe"
    title = Text("The token file cannot be trusted", "Le fichier du jeton n’est pas sûr")
    default_advice = Text(
        "Remove the file; the next start makes a new token, which callers must read again.",
        "Supprimez le fichier ; le démarrage suivant crée un jeton, que les appelants devront relire.",
    )


class OwnerToken:
    """The token's value, never shown; compared in constant time."""

    __slots__ = ("_value", "rotations")

    def __init__(self, value: str) -> None:
        self._value = value.encode()
        self.rotations = 0
        """How often it was replaced, for those who remember that it matched."""

    def __repr__(self) -> str:
        return "OwnerToken(***)"

    def matches(self, presented: str) -> bool:
        """Tell whether `presented` is the token, in a time that does not depend on where it differs."""
        return secrets.compare_digest(self._value, presented.encode("utf-8", "surrogateescape"))

    def rotate(self, state_directory: Path) -> None:
        """Replace the token by a new one, in its file first; the old one is worth nothing once the file holds it."""
        self._value = rotate_owner_token(state_directory).encode()
        # After the value: who reads the number first and then compares never takes the old token for the new one.
        self.rotations += 1


def ensure_owner_token(state_directory: Path) -> OwnerToken:
    """Read the token of a state, made first where there is none; raises `TokenFileError`.

    The file appears whole or not at all, and two first starts at once agree on one token.
    """
    return OwnerToken(_ensured(state_directory / TOKEN_FILE))


def ensure_request_secret(state_directory: Path) -> bytes:
    """Read the key under which requests are hashed, made first where there is none; raises `TokenFileError`.

    It stays when the token is rotated, so that a request sent again after that is known again.
    """
    return _ensured(state_directory / _REQUEST_SECRET_FILE).encode()


def rotate_owner_token(state_directory: Path) -> str:
    """Put a new token in the place of the one of a state, whole or not at all, and return it."""
    path, value = state_directory / TOKEN_FILE, secrets.token_urlsafe(_TOKEN_BYTES)
    write_draft(path, f"{value}\n".encode()).replace(path)
    return value


def _ensured(path: Path) -> str:
    if not path.exists():
        _create(path, secrets.token_urlsafe(_TOKEN_BYTES))
    return _read(path)


def _create(path: Path, value: str) -> None:
    draft = write_draft(path, f"{value}\n".encode())
    try:
        os.link(draft, path)
    except FileExistsError:
        return
    finally:
        draft.unlink()


def _read(path: Path) -> str:
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    except OSError as error:
        raise TokenFileError(
            Text(f"{path} cannot be read: {error.strerror}.", f"{path} est illisible : {error.strerror}.")
        ) from None
    with os.fdopen(descriptor) as file:
        status = os.fstat(file.fileno())
        value = file.read(100).strip()
    if os.name == "posix" and (status.st_uid != os.getuid() or stat.S_IMODE(status.st_mode) & 0o077):
        raise TokenFileError(
            Text(
                f"{path} belongs to another user, or others may read it.",
                f"{path} appartient à un autre utilisateur, ou d’autres peuvent le lire.",
            )
        )
    if not _FORM.fullmatch(value):
        raise TokenFileError(
            Text(f"{path} does not hold a token.", f"{path} ne contient pas de jeton d’accès.")
        )
    return value
