"""What is said of a backup, outside it and inside."""

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from cardd.text import Text

#: Version of what is inside; a newer one than this is refused.
FORMAT = 1


class BackupRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who will be able to open a backup, beside the recipients of the settings."""

    recipients: Annotated[
        tuple[Annotated[str, Meta(min_length=1, max_length=4096)], ...],
        Meta(max_length=32, description="age recipients (`age1…`) or SSH public keys."),
    ] = ()


class TokenInBackup(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of one token's keys."""

    serial: str
    label: str
    level: str
    included: bool
    """False: its keys are inside a device, which gives them to no backup."""
    note: Text


class BackupView(msgspec.Struct, frozen=True, kw_only=True):
    """A backup that was made; the file is `name` in the backup directory."""

    name: str
    made_at: datetime
    size: int
    """In bytes."""
    sha256: str
    """Of the encrypted file, hexadecimal."""
    recipients: tuple[str, ...]
    tokens: tuple[TokenInBackup, ...]
    left_out: tuple[Text, ...] = ()
    """Of the machines that share the database: what is theirs alone, and not in the backup."""


class SealedElsewhere(msgspec.Struct, frozen=True, kw_only=True):
    """What is sealed to a machine, opened for the way to another; it exists in memory and encrypted only."""

    instance_key: bytes
    """Ed25519, raw."""
    pins: dict[str, tuple[str, str]]
    """By its place in the vault: user PIN and security officer's."""

    def __repr__(self) -> str:
        return f"SealedElsewhere(pins of {len(self.pins)} tokens)"


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The last entry of a backup: what must have come before it."""

    format: int = FORMAT
    made_at: datetime
    version: str
    """Of cardd."""
    files: dict[str, str]
    """SHA-256 by path in the state directory."""
    tokens: tuple[TokenInBackup, ...]
    left_out: tuple[Text, ...] = ()


class RestoreReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a restore has put in place; kept in the state until its first start has taken it up."""

    state_dir: str
    made_at: datetime
    restored_at: datetime
    version: str
    files: int
    journal_lines: int
    tokens: tuple[TokenInBackup, ...]
    left_out: tuple[Text, ...] = ()
    database: str | None = None
    """The PostgreSQL database that holds the rows; None where they are in the state directory."""
