"""What an application is, what it may do, and how it asks to be let in."""

from datetime import datetime
from enum import StrEnum, unique
from typing import Annotated, NewType

import msgspec
from msgspec import Meta

ApplicationId = NewType("ApplicationId", str)
PairingId = NewType("PairingId", str)
ConsentId = NewType("ConsentId", str)

LONGEST_NAME = 64
MOST_DAYS = 3650


@unique
class Scope(StrEnum):
    """What an application may do; `owner` includes all others."""

    READ = "read"
    """Look: readers, cards, orders, certificates, lists, events."""
    ORDER = "order"
    """Order, retrieve, renew and cancel certificates, with a card session."""
    REVOKE = "revoke"
    """Revoke certificates."""
    SIGN = "sign"
    """Use the keys of a card, with a card session and its holder's consent."""
    VALIDATE = "validate"
    """Ask whether certificates are valid or revoked; read revocation lists and the trust bundle."""
    OWNER = "owner"
    """All that the owner's token may do, but for letting others in and consenting in the holder's place."""


@unique
class PairingState(StrEnum):
    """How far a request to be let in is."""

    PENDING = "pending"
    ALLOWED = "allowed"
    """The owner allowed it, and the application has not used its token yet."""
    COMPLETED = "completed"
    """The application uses its token: none is handed out any more."""
    DENIED = "denied"
    EXPIRED = "expired"
    LOCKED = "locked"
    """Too many wrong codes or secrets."""


@unique
class ApplicationState(StrEnum):
    """Whether an application may call."""

    WAITING = "waiting"
    """Allowed; it has not fetched its token yet."""
    ACTIVE = "active"
    EXPIRED = "expired"
    REVOKED = "revoked"


class PairingRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An application asks to be let in."""

    name: Annotated[str, Meta(min_length=1, max_length=LONGEST_NAME, description="As its users know it.")]
    scopes: Annotated[
        tuple[Scope, ...],
        Meta(min_length=1, max_length=6, description="What it wants to do; the owner chooses."),
    ]
    origin: (
        Annotated[
            str,
            Meta(
                max_length=255,
                description="Of an application in a browser: where its pages come from, as `Origin` says it.",
            ),
        ]
        | None
    ) = None


class PairingTicket(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to the application; `code` is for its screen, `secret` fetches the token and is shown to nobody."""

    id: PairingId
    code: str
    secret: str
    state: PairingState
    expires_at: datetime
    interval: int
    """Seconds between two questions whether the owner has decided."""


class TokenRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An application asks what became of its pairing."""

    secret: Annotated[str, Meta(min_length=1, max_length=128)]


class ApprovalRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The owner lets an application in; `code` is the one that the application shows."""

    code: Annotated[str, Meta(min_length=6, max_length=16, description="Six digits; spaces do not matter.")]
    scopes: (
        Annotated[
            tuple[Scope, ...],
            Meta(min_length=1, max_length=6, description="Some of those asked for; default: all."),
        ]
        | None
    ) = None
    days: (
        Annotated[int, Meta(ge=1, le=MOST_DAYS, description="How long; null: until it is revoked.")] | None
    ) = 90


class RenameRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The owner calls an application by another name."""

    name: Annotated[str, Meta(min_length=1, max_length=LONGEST_NAME)]


class PairingView(msgspec.Struct, frozen=True, kw_only=True):
    """A request to be let in, as the owner sees it."""

    id: PairingId
    name: str
    origin: str | None
    scopes: tuple[Scope, ...]
    code: str
    state: PairingState
    requested_at: datetime
    expires_at: datetime
    tries_left: int


class ApplicationView(msgspec.Struct, frozen=True, kw_only=True):
    """An application that was let in; its token is never shown again."""

    id: ApplicationId
    name: str
    origin: str | None
    scopes: tuple[Scope, ...]
    state: ApplicationState
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    ended_at: datetime | None

    def may(self, wanted: frozenset[Scope]) -> bool:
        """Tell whether one of the `wanted` scopes was granted."""
        return Scope.OWNER in self.scopes or not wanted.isdisjoint(self.scopes)


class PairingOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a pairing; `token` comes with `allowed`, each time another, until the first one is used."""

    state: PairingState
    token: str | None = None
    application: ApplicationView | None = None


@unique
class KeyOperation(StrEnum):
    """What an application wants to do with a key of a card."""

    SIGN = "sign"
    AUTHENTICATE = "authenticate"
    DECRYPT = "decrypt"


class KeyUse(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of use of one key, which the holder agrees to."""

    operation: KeyOperation
    role: str
    """The key: `authentication`, `signature` or `technical`."""
    mechanism: str


class ConsentView(msgspec.Struct, frozen=True, kw_only=True):
    """A question that waits for the card's holder."""

    id: ConsentId
    application: ApplicationId
    name: str
    origin: str | None
    card: str
    use: KeyUse
    asked_at: datetime
    expires_at: datetime
