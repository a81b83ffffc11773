"""What custody says of keys and tokens, as published in the API. Hashes are lower-case hexadecimal SHA-256."""

from datetime import datetime
from enum import StrEnum, unique
from typing import Literal

import msgspec

from cardd_pkcs11.types import CustodyLevel, KeyAlgorithm, KeyAttributes, TokenSerial

#: The public half of the instance key, in the state directory.
INSTANCE_PEM = "instance.pem"


class KeyStatement(msgspec.Struct, frozen=True, kw_only=True):
    """What an instance signs of a key; `at` is UTC."""

    version: Literal[1] = 1
    #: Hash of the instance key's SubjectPublicKeyInfo.
    instance: str
    spki_sha256: str
    algorithm: KeyAlgorithm
    key_id: str
    token_serial: TokenSerial
    module: str
    #: Hash that names the machine without showing its identifier.
    machine: str
    machine_bound: bool
    level: CustodyLevel
    attributes: KeyAttributes
    at: datetime


class EvidenceView(msgspec.Struct, frozen=True, kw_only=True):
    """A statement with what is needed to check it."""

    statement: KeyStatement
    jws: str
    instance_key: str


@unique
class Divergence(StrEnum):
    """How a token and the registry disagree."""

    #: The token's counter is lower: an earlier copy of it was put back.
    ROLLED_BACK = "rolled_back"
    #: The token's counter is higher: the registry is older than the token.
    REGISTRY_OLDER = "registry_older"
    #: The same counter with another value: two copies advanced apart.
    FORKED = "forked"
    #: The object is gone, or is not one of ours.
    OBJECT_MISSING = "object_missing"
    #: The device that is here did not make the token, or was cleared since.
    OTHER_DEVICE = "other_device"
    #: The token is on another machine too, of those that share the database.
    ELSEWHERE = "elsewhere"


@unique
class Decision(StrEnum):
    """What an owner decides about a token in quarantine."""

    REVOKE = "revoke"
    RELEASE = "release"


class Quarantine(msgspec.Struct, frozen=True, kw_only=True):
    """A token in quarantine, and its certificates to be watched."""

    token_serial: TokenSerial
    since: datetime
    reason: Divergence
    certificates: tuple[str, ...]


class QuarantineRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the owner decides about a token in quarantine."""

    decision: Decision


class QuarantineOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a token in quarantine, and the certificates that were revoked."""

    token_serial: TokenSerial
    label: str
    decision: Decision
    revoked: tuple[str, ...]


@unique
class Finding(StrEnum):
    """What can be wrong with a key or its token."""

    KEY_MISSING = "key_missing"
    #: An attribute is not what was read back when the key was made.
    ATTRIBUTES_CHANGED = "attributes_changed"
    PUBLIC_KEY_CHANGED = "public_key_changed"
    #: Several private keys bear its identifier: all but one came from elsewhere.
    IDENTIFIER_SHARED = "identifier_shared"
    #: The certificate issued for it is not beside it.
    CERTIFICATE_MISSING = "certificate_missing"
    #: A private key that the registry does not know; it is left alone.
    UNREGISTERED = "unregistered"
    TOKEN_MISSING = "token_missing"  # noqa: S105 (a name)
    TOKEN_UNREADABLE = "token_unreadable"  # noqa: S105 (a name)
    TOKEN_QUARANTINED = "token_quarantined"  # noqa: S105 (a name)


class KeyFinding(msgspec.Struct, frozen=True, kw_only=True):
    """One finding; `details` names attributes or says why."""

    finding: Finding
    details: tuple[str, ...] = ()


class KeyView(msgspec.Struct, frozen=True, kw_only=True):
    """A key as its owner sees it; one without `spki_sha256` is known by token and identifier only."""

    id: str
    spki_sha256: str | None
    registered: bool
    holder_kind: str | None
    holder: str | None
    level: str
    token: str | None
    token_serial: str | None
    key_id: str | None
    certificates: tuple[str, ...]
    evidence: bool
    claimed_at: datetime | None
    findings: tuple[KeyFinding, ...]
    ready: bool = False
    """Made in idle time and held by nobody yet; `registered` from the order on that takes it."""


class SweepReport(msgspec.Struct, frozen=True, kw_only=True):
    """What the last check of every key found; tokens that this instance did not make are named, and left alone."""

    swept_at: datetime
    keys: int
    findings: int
    foreign_tokens: tuple[str, ...]
