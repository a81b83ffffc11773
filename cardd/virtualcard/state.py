"""What a virtual card remembers without power: its codes, their tries, CPS_DATA."""

import hashlib
import hmac
import os
import secrets
from pathlib import Path
from typing import Protocol

import msgspec

from cardd.text import Text
from cardd.virtualcard.errors import CardStateError

PIN_TRIES = 3


class StoredCode(msgspec.Struct, frozen=True):
    """A PIN or PUK: a salted scrypt hash and the tries left.

    The hash keeps the code from the eyes of whoever opens the file; four digits do not resist a search,
    so the file is readable by its owner only and holds test codes only.
    """

    salt: bytes
    digest: bytes
    tries_left: int
    cost: int
    """scrypt's N (RFC 7914 §2)."""

    @classmethod
    def of(cls, code: bytes, tries: int, cost: int) -> "StoredCode":
        """Store `code` with `tries` left."""
        salt = secrets.token_bytes(16)
        return cls(salt, _digest(code, salt, cost), tries, cost)

    def with_tries(self, tries: int) -> "StoredCode":
        """Return the same code with another count."""
        return msgspec.structs.replace(self, tries_left=tries)

    def matches(self, code: bytes) -> bool:
        """Compare in constant time."""
        return hmac.compare_digest(self.digest, _digest(code, self.salt, self.cost))

    def __repr__(self) -> str:
        return f"StoredCode(tries_left={self.tries_left})"


class CardState(msgspec.Struct, frozen=True):
    """Everything that outlives the power."""

    pin: StoredCode
    puk: StoredCode
    cps_data: bytes


class StateStore(Protocol):
    """Where a card keeps its state; `save` returns only when a crash can no longer undo it."""

    def load(self) -> CardState | None:
        """Return the state kept, None for a new card.

        Raises:
            CardStateError: what is kept cannot be read.
        """
        ...

    def save(self, state: CardState) -> None:
        """Keep `state`.

        Raises:
            CardStateError: it cannot be written.
        """
        ...


class MemoryStateStore:
    """Keeps the state as long as the process lives."""

    def __init__(self) -> None:
        self._state: CardState | None = None

    def load(self) -> CardState | None:
        """Return the state kept."""
        return self._state

    def save(self, state: CardState) -> None:
        """Keep `state`."""
        self._state = state


class FileStateStore:
    """Keeps the state in one JSON file (0600), replaced as a whole and synchronised before `save` returns."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> CardState | None:
        """See `StateStore.load`."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=CardState)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError) as error:
            raise self._unusable("cannot be read", "est illisible") from error

    def save(self, state: CardState) -> None:
        """See `StateStore.save`."""
        temporary = self._path.with_name(f".{self._path.name}.new")
        try:
            with open(temporary, "wb", opener=_private) as file:
                file.write(msgspec.json.encode(state))
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self._path)
            synchronise_directory(self._path.parent)
        except OSError as error:
            raise self._unusable("cannot be written", "ne peut pas être écrit") from error

    def _unusable(self, english: str, french: str) -> CardStateError:
        return CardStateError(
            Text(f"{self._path} {english}.", f"{self._path} {french}."), path=str(self._path)
        )


def _digest(code: bytes, salt: bytes, cost: int) -> bytes:
    return hashlib.scrypt(code, salt=salt, n=cost, r=8, p=1, dklen=32)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def synchronise_directory(directory: Path) -> None:
    """Make the replacement itself durable; Windows has no such call and needs none."""
    if os.name != "posix":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
