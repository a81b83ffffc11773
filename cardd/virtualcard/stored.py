"""A virtual card on disk: one file with everything that is written on a card at its making, keys included.

The file is its owner's alone (0600). Its keys are test keys, in clear: whoever reads the file has the card.
What the card changes later (codes, their tries, CPS_DATA) lies in another file beside it.
"""

import os
from pathlib import Path

import msgspec

from cardd.text import Text
from cardd.virtualcard.content import (
    Activity,
    CardContent,
    CardCredential,
    CardHolder,
    CardProfile,
    CardSerial,
    CardType,
    KeyRole,
    Labels,
    SoftwareCardKey,
)
from cardd.virtualcard.errors import CardFileError
from cardd.virtualcard.state import FileStateStore, synchronise_directory

_CARD, _STATE = "card.json", "state.json"


class StoredCredential(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate and its key."""

    role: KeyRole
    certificate: bytes
    """DER."""
    private_key: str
    """PEM, PKCS#8, not encrypted."""

    def __repr__(self) -> str:
        return f"StoredCredential(role={self.role!r})"


class StoredActivity(msgspec.Struct, frozen=True, kw_only=True):
    """One activity of the holder, by its number on the card."""

    number: int
    structure_id: str
    structure_name: str
    role: str


class StoredHolder(msgspec.Struct, frozen=True, kw_only=True):
    """The person, as the data objects tell."""

    family_name: str
    given_name: str
    identifier: str
    profession: int | None = None
    activities: tuple[StoredActivity, ...] = ()
    billing: str = ""


class StoredCard(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is written on a card at its making."""

    serial: str
    type: CardType
    issuer: str
    authentication_label: str
    signature_label: str
    holder: StoredHolder
    credentials: tuple[StoredCredential, ...]
    first_pin: str
    first_puk: str

    def __repr__(self) -> str:
        return f"StoredCard(serial={self.serial!r})"

    def content(self) -> CardContent:
        """Return the card that this describes.

        Raises:
            ValueError: a key, a number or a code is not one that a card can hold.
        """
        holder = self.holder
        return CardContent(
            profile=CardProfile(
                CardSerial(self.serial),
                self.type,
                self.issuer,
                labels=Labels(self.authentication_label, self.signature_label),
            ),
            credentials=tuple(
                CardCredential(
                    each.role, each.certificate, SoftwareCardKey.from_pem(each.private_key.encode())
                )
                for each in self.credentials
            ),
            holder=CardHolder(
                holder.family_name,
                holder.given_name,
                holder.identifier,
                holder.profession,
                activities={
                    each.number: Activity(each.structure_id, each.structure_name, each.role)
                    for each in holder.activities
                },
                billing=holder.billing,
            ),
            first_pin=self.first_pin,
            first_puk=self.first_puk,
        )


class CardFolder:
    """The folder of one card."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def exists(self) -> bool:
        """Whether a card was made here."""
        return (self.path / _CARD).exists()

    @property
    def state(self) -> FileStateStore:
        """Where the card keeps what it changes."""
        return FileStateStore(self.path / _STATE)

    def write(self, card: StoredCard) -> None:
        """Make the folder (0700) and the card in it; when this returns, no crash can undo it.

        Raises:
            CardFileError: it cannot be written.
        """
        unfinished = self.path / f".{_CARD}.new"
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            with open(unfinished, "wb", opener=_private) as file:
                file.write(msgspec.json.encode(card))
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(self.path / _CARD)
            synchronise_directory(self.path)
            synchronise_directory(self.path.parent)
        except OSError as error:
            raise _unusable(self.path, "cannot be written", "ne peut pas être écrit") from error

    def read(self) -> StoredCard:
        """Return the card.

        Raises:
            CardFileError: there is none, or it cannot be read.
        """
        try:
            return msgspec.json.decode((self.path / _CARD).read_bytes(), type=StoredCard)
        except (OSError, msgspec.MsgspecError) as error:
            raise _unusable(
                self.path, "holds no readable card", "ne contient pas de carte lisible"
            ) from error

    def load(self) -> CardContent:
        """Return the card, ready to be inserted.

        Raises:
            CardFileError: there is none, or it cannot be read or used.
        """
        try:
            return self.read().content()
        except ValueError as error:
            raise _unusable(
                self.path, "holds no usable card", "ne contient pas de carte utilisable"
            ) from error

    def remove(self) -> None:
        """Destroy the card's files; nothing where there are none.

        Raises:
            CardFileError: a file cannot be removed.
        """
        try:
            for name in (_CARD, f".{_CARD}.new", _STATE, f".{_STATE}.new"):
                (self.path / name).unlink(missing_ok=True)
            if self.path.is_dir():
                self.path.rmdir()
        except OSError as error:
            raise _unusable(self.path, "cannot be emptied", "ne peut pas être vidé") from error


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _unusable(path: Path, english: str, french: str) -> CardFileError:
    return CardFileError(Text(f"{path} {english}.", f"{path} {french}."), path=str(path))
