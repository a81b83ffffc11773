"""What is asked and answered about readers, cards and card sessions, as published in the API."""

from datetime import datetime
from enum import StrEnum, unique
from typing import Annotated, Any, Literal, NewType

import msgspec
from msgspec import Meta

from cardd.text import Text
from cardd.vocabulary import Profession

#: 8 digits, as in EF.SN.
CardSerial = NewType("CardSerial", str)
CardSessionId = NewType("CardSessionId", str)


@unique
class CardType(StrEnum):
    """The family's members; a professional in training's (CPF) is read, not issued here."""

    CPS = "cps"
    CPF = "cpf"
    CPE = "cpe"
    CPA = "cpa"


#: The types that test cards are made of.
ISSUED_TYPES = (CardType.CPS, CardType.CPE, CardType.CPA)


@unique
class CardEnvironment(StrEnum):
    """Which PKI a card's certificates come from: private extension 5 and issuer tell."""

    TEST = "test"
    PRODUCTION = "production"
    #: Its certificates do not say, or could not be read.
    UNKNOWN = "unknown"


@unique
class SessionPurpose(StrEnum):
    """What a card session is for."""

    #: Everything; the card proves that it is one of this test PKI.
    ORDER = "order"
    #: The card's own keys only; any test card.
    USE = "use"


@unique
class CardRole(StrEnum):
    """What a card's key is for."""

    AUTHENTICATION = "authentication"
    SIGNATURE = "signature"
    TECHNICAL = "technical"


@unique
class PinState(StrEnum):
    """How near a PIN is to being blocked: `low` after a wrong try, `final` before the last."""

    OK = "ok"
    LOW = "low"
    FINAL = "final"
    LOCKED = "locked"


class ReaderView(msgspec.Struct, frozen=True, kw_only=True):
    """A reader and what is in it; `atr` is the card's answer to reset in hexadecimal."""

    name: str
    state: Literal["empty", "present", "mute", "unavailable"]
    card: CardSerial | None
    generation: str | None = None
    atr: str | None = None


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """Who holds a card."""

    last_name: str
    first_name: str
    identifier: str
    profession: int | None = None
    title: str | None = None


class CardCertificate(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate on a card; `certificate` is base64 DER."""

    role: CardRole
    label: str
    serial: str
    subject: str
    issuer: str
    not_before: datetime
    not_after: datetime
    key_id: str
    certificate: bytes


class PinView(msgspec.Struct, frozen=True, kw_only=True):
    """A card's PIN, never its value."""

    state: PinState
    tries_left: int


class Capability(msgspec.Struct, frozen=True, kw_only=True):
    """What one key can do through a module, asked of it; known once the card was logged in.

    `sha256_rsa_pkcs` is offered also where the module has `rsa_pkcs` only: the daemon then makes the DigestInfo.
    """

    role: CardRole
    operation: Literal["sign", "decrypt"]
    mechanisms: tuple[str, ...]
    module: str = ""


class CardView(msgspec.Struct, frozen=True, kw_only=True):
    """A card known to the daemon: made here, or in a reader. What is null could not be read, or is not known."""

    serial: CardSerial
    type: CardType | None
    generation: str
    medium: str
    reader: str | None
    module: str
    present: bool
    holder: Holder | None
    certificates: tuple[CardCertificate, ...]
    pin: PinView | None
    capabilities: tuple[Capability, ...]
    habilitations: tuple[str, ...]
    issued_at: datetime | None
    opposed: bool
    opposed_at: datetime | None
    opposed_reason: str | None
    opposes_at: datetime | None
    environment: CardEnvironment = CardEnvironment.TEST
    problem: Text | None = None


class TestCardRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A test card to be made for an approved habilitation. The holder's names default to the form's recipient."""

    __test__ = False

    habilitation: Annotated[str, Meta(min_length=1, max_length=64)]
    medium: Literal["softhsm", "virtual"] = "softhsm"
    type: CardType = CardType.CPS
    profession: Profession | None = None
    last_name: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    first_name: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    rpps: Annotated[str, Meta(max_length=40)] | None = None
    pin: Annotated[str, Meta(max_length=64)] | None = None


class SessionRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A card session asked for; at the final try only with consent."""

    pin: Annotated[str, Meta(max_length=64)]
    accept_final_try: bool = False
    purpose: SessionPurpose = SessionPurpose.ORDER


class SessionView(msgspec.Struct, frozen=True, kw_only=True):
    """An open card session and what its card is authorised for (see `cardd.orders.types`)."""

    id: CardSessionId
    card: CardSerial
    expires_at: datetime
    habilitations: tuple[Any, ...]


class PinChangeRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A change of PIN."""

    old: Annotated[str, Meta(max_length=64)]
    new: Annotated[str, Meta(max_length=64)]
    accept_final_try: bool = False


class UnblockRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A blocked PIN to be replaced with the card's PUK; wrong PUKs count, too."""

    puk: Annotated[str, Meta(max_length=64)]
    new: Annotated[str, Meta(max_length=64)]


class SignRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A signature asked of a card; exactly one of `data` (to be hashed) and `digest` (already hashed)."""

    role: CardRole
    mechanism: Annotated[str, Meta(max_length=32)] = "sha256_rsa_pkcs"
    data: bytes | None = None
    digest: bytes | None = None


class SignatureView(msgspec.Struct, frozen=True, kw_only=True):
    """A signature, verified before it is handed out."""

    signature: bytes
    mechanism: str
    certificate: bytes


class AuthenticationRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A challenge for a card's authentication key, chosen by whoever wants to be convinced."""

    challenge: Annotated[bytes, Meta(min_length=16, max_length=1024)]


class AuthenticationView(msgspec.Struct, frozen=True, kw_only=True):
    """A signed challenge; `signed` is what the signature covers: a constant context, then the challenge."""

    signature: bytes
    mechanism: str
    certificate: bytes
    signed: bytes


class DecryptRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A cryptogram for one of a card's keys."""

    ciphertext: Annotated[bytes, Meta(min_length=1, max_length=1024)]
    role: CardRole = CardRole.AUTHENTICATION
    mechanism: Annotated[str, Meta(max_length=32)] = "rsa_pkcs"


class DecryptionView(msgspec.Struct, frozen=True, kw_only=True):
    """What a cryptogram held."""

    plaintext: bytes
    mechanism: str


class OppositionRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Why a card is opposed."""

    reason: Annotated[str, Meta(min_length=1, max_length=200)] = "declared by the owner"


class CardIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """What a card says of itself (CPS_ID_CARD); dates as written on the card."""

    issuer: str | None
    serial: str | None
    type: str | None
    issued_at: str | None
    opposes_at: str | None


class CardActivity(msgspec.Struct, frozen=True, kw_only=True):
    """One activity of the holder (CPS_ACTIVITY_01_PS to 16, with gaps in the numbering)."""

    number: int
    structure: str | None
    name: str | None
    state: str | None


class CardDataView(msgspec.Struct, frozen=True, kw_only=True):
    """What was read from a card's data objects; activities and billing are seen only while a session is open."""

    serial: CardSerial
    complete: bool
    objects: tuple[str, ...]
    identity: CardIdentity
    identifier: str | None
    last_name: str | None
    first_name: str | None
    title: str | None
    languages: tuple[str, ...]
    profession: int | None
    activities: tuple[CardActivity, ...]
    billing: dict[str, str] | None
