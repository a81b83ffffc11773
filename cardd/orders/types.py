"""What the administrative and the technical phase ask for and answer, as published in the API."""

from datetime import datetime
from enum import StrEnum, unique
from typing import Annotated, Any, Literal, NewType

import msgspec
from msgspec import Meta

from cardd.text import Text
from cardd.vocabulary import PossessionMechanism, Usage

OrderId = NewType("OrderId", str)
HabilitationId = NewType("HabilitationId", str)
#: Prefix and number, as in the certificates' OU: `3` + SIRET, `2` + SIREN, `1` + FINESS.
StructureId = NewType("StructureId", str)
#: Lower-case hexadecimal.
CertificateSerial = NewType("CertificateSerial", str)


@unique
class Offer(StrEnum):
    """What a certificate designates."""

    ORG = "ORG"
    SERV = "SERV"
    PRO = "PRO"
    PS = "PS"


@unique
class OrderState(StrEnum):
    """Where an order stands."""

    TO_RETRIEVE = "to_retrieve"
    RETRIEVED = "retrieved"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


@unique
class CertificateState(StrEnum):
    """Where a certificate stands; `renewable` is active and within its notice period."""

    ACTIVE = "active"
    RENEWABLE = "renewable"
    EXPIRED = "expired"
    REVOKED = "revoked"


@unique
class HabilitationState(StrEnum):
    """Where a habilitation stands."""

    SUBMITTED = "submitted"
    APPROVED = "approved"
    REFUSED = "refused"
    WITHDRAWN = "withdrawn"


@unique
class RevocationReason(StrEnum):
    """The reasons used (RFC 5280 §5.3.1); `unspecified` leaves the extension out."""

    UNSPECIFIED = "unspecified"
    KEY_COMPROMISE = "key_compromise"
    AFFILIATION_CHANGED = "affiliation_changed"
    SUPERSEDED = "superseded"
    CESSATION_OF_OPERATION = "cessation_of_operation"


# --- administrative phase -------------------------------------------------------------------------------

Line = Annotated[str, Meta(min_length=1, max_length=200)]


class Recipient(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The person to whom the cards are sent."""

    last_name: Line
    first_name: Line
    function: Line
    phone: Line
    email: Line


class WantedCards(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Test cards asked for."""

    type: Literal["cps", "cpe", "cpa"] = "cps"
    quantity: Annotated[int, Meta(ge=1, le=100)] = 1
    use: Annotated[str, Meta(max_length=500)] = ""


class WantedOffer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Software certificates asked for; no usages means all of the offer's."""

    offer: Offer
    usages: Annotated[tuple[Usage, ...], Meta(max_length=5)] = ()
    use: Annotated[str, Meta(max_length=500)] = ""
    solution: Annotated[str, Meta(max_length=200)] = ""


class HabilitationForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Form F414: test cards and authorisation for software certificates. One of siret, siren, finess."""

    structure_name: Annotated[str, Meta(min_length=1, max_length=64)]
    delivery_address: Line
    postal_code: Line
    town: Line
    siret: Annotated[str, Meta(max_length=40)] | None = None
    siren: Annotated[str, Meta(max_length=40)] | None = None
    finess: Annotated[str, Meta(max_length=40)] | None = None
    recipient: Recipient
    cards: Annotated[tuple[WantedCards, ...], Meta(max_length=20)] = ()
    offers: Annotated[tuple[WantedOffer, ...], Meta(min_length=1, max_length=20)]


class RefusalRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why a habilitation is refused."""

    reason: Annotated[str, Meta(min_length=1, max_length=500)]


class StructureView(msgspec.Struct, frozen=True, kw_only=True):
    """A structure: the legal entity that certificates belong to."""

    id: StructureId
    name: str


class OfferUsages(msgspec.Struct, frozen=True, kw_only=True):
    """An offer and the usages of it that a habilitation covers."""

    offer: Offer
    usages: tuple[Usage, ...]


class HistoryEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One step in the life of an order, a certificate or a habilitation."""

    at: datetime
    action: str
    actor: str
    details: dict[str, Any] = {}


class HabilitationView(msgspec.Struct, frozen=True, kw_only=True):
    """A habilitation as its owner sees it."""

    id: HabilitationId
    state: HabilitationState
    submitted_at: datetime
    decided_at: datetime | None
    withdrawn_at: datetime | None
    reason: str | None
    form: HabilitationForm
    structures: tuple[StructureView, ...]
    offers: tuple[OfferUsages, ...]
    cards: tuple[str, ...]
    history: tuple[HistoryEntry, ...] = ()


# --- technical phase ------------------------------------------------------------------------------------


class FieldView(msgspec.Struct, frozen=True, kw_only=True):
    """A field of an order form; `pattern` is an ECMA 262 regular expression."""

    name: str
    kind: Literal["text", "fqdn_list", "email", "person", "email_list"]
    required: bool
    pattern: str | None
    example: Any
    label: Text
    help: Text


class UsageView(msgspec.Struct, frozen=True, kw_only=True):
    """A usage of an offer, with the fields its order takes."""

    usage: Usage
    label: Text
    fields: tuple[FieldView, ...]
    algorithms: tuple[str, ...]


class OfferView(msgspec.Struct, frozen=True, kw_only=True):
    """An offer with its usages."""

    offer: Offer
    label: Text
    designates: Text
    usages: tuple[UsageView, ...]


class Person(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A natural person: a health professional (PS: RPPS and profession) or a member of a structure (PRO: register)."""

    last_name: Annotated[str, Meta(min_length=1, max_length=64)]
    first_name: Annotated[str, Meta(min_length=1, max_length=64)]
    rpps: Annotated[str, Meta(max_length=40)] | None = None
    profession: Annotated[int, Meta(ge=0, le=255)] | None = None
    register: Annotated[str, Meta(max_length=32)] | None = None


class KeyRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the key is: made on a token by the daemon, or held by the caller who supplies a CSR (PEM or base64 DER)."""

    source: Literal["token", "csr"] = "token"
    token: Annotated[str, Meta(max_length=64)] | None = None
    csr: Annotated[str, Meta(max_length=65536)] | None = None
    algorithm: Annotated[str, Meta(max_length=16)] | None = None


class OrderRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An order for a certificate."""

    offer: Offer
    usage: Usage
    structure: Annotated[str, Meta(min_length=1, max_length=32)]
    service: Annotated[str, Meta(max_length=256)] | None = None
    fqdn: Annotated[tuple[Annotated[str, Meta(max_length=253)], ...], Meta(max_length=100)] = ()
    email: Annotated[str, Meta(max_length=254)] | None = None
    person: Person | None = None
    contacts: Annotated[tuple[Annotated[str, Meta(max_length=254)], ...], Meta(max_length=20)]
    key: KeyRequest = KeyRequest()


class PossessionView(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the order's key has shown that the caller holds it; a key on a token has.

    Where it is required, the key signs the bytes of `to_sign` (base64): the context `cardd-proof-of-possession-v1`,
    the order's identifier and the nonce's bytes, each but the last ended by a zero byte. Once the nonce has expired,
    only a new one can be signed.
    """

    state: Literal["required", "proven"]
    proven_at: datetime | None = None
    nonce: str | None = None
    to_sign: bytes | None = None
    mechanisms: tuple[PossessionMechanism, ...] = ()
    expires_at: datetime | None = None


class PossessionProof(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The signature (base64) by the CSR's key over `possession.to_sign`; without a mechanism, any that fits the key."""

    signature: Annotated[bytes, Meta(min_length=1, max_length=1024)]
    mechanism: PossessionMechanism | None = None


class OrderView(msgspec.Struct, frozen=True, kw_only=True):
    """An order as tracked."""

    id: OrderId
    state: OrderState
    offer: Offer
    usage: Usage
    structure: StructureView
    label: str
    fields: dict[str, Any]
    contacts: tuple[str, ...]
    key_source: str
    algorithm: str
    public_key_sha256: str
    custody: str
    possession: PossessionView = PossessionView(state="proven")
    token: str | None
    pkcs11_uri: str | None
    ordered_by: str
    created_at: datetime
    expires_at: datetime
    ended_at: datetime | None
    renewal_of: CertificateSerial | None
    certificate: CertificateSerial | None
    history: tuple[HistoryEntry, ...] = ()


class RetrievalRequest(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True
):
    """What finishes an order; `confirmation` repeats the revocation code.

    `without_code` stands for both: then the owner and authorised cards alone can revoke the certificate.
    """

    revocation_code: Annotated[str, Meta(max_length=128)] | None = None
    confirmation: Annotated[str, Meta(max_length=128)] | None = None
    without_code: bool = False
    accept_terms: bool


class CertificateView(msgspec.Struct, frozen=True, kw_only=True):
    """An issued certificate; `certificate` and `chain` are base64 DER, leaf's issuer first."""

    serial: CertificateSerial
    state: CertificateState
    offer: Offer | None
    usage: Usage | None
    profile: str
    structure: StructureView | None
    order: OrderId | None
    card: str | None
    subject: str
    issuer: str
    common_name: str
    not_before: datetime
    not_after: datetime
    days_left: int
    public_key_sha256: str
    custody: str
    pkcs11_uri: str | None
    contacts: tuple[str, ...]
    issued_at: datetime
    revoked_at: datetime | None
    revocation_reason: RevocationReason | None
    certificate: bytes
    pem: str
    chain: tuple[bytes, ...]
    history: tuple[HistoryEntry, ...] = ()


class CertificateSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate in a list."""

    serial: CertificateSerial
    state: CertificateState
    offer: Offer | None
    usage: Usage | None
    structure: StructureView | None
    order: OrderId | None
    card: str | None
    common_name: str
    not_before: datetime
    not_after: datetime
    days_left: int
    custody: str
    issued_at: datetime
    revoked_at: datetime | None


class KeyBlockRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Why a key is compromised."""

    reason: Line


class BlockedKeyView(msgspec.Struct, frozen=True, kw_only=True):
    """A key that nothing is certified for any more; `revoked` are the certificates that this call revoked."""

    public_key_sha256: str
    reason: str
    blocked_at: datetime
    revoked: tuple[CertificateSerial, ...] = ()


class RevocationRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A revocation, definitive. The code is asked of callers who are neither the owner nor an authorised card."""

    reason: RevocationReason
    revocation_code: Annotated[str, Meta(max_length=128)] | None = None


class RenewalRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A renewal; a certificate of a CSR needs a new CSR, since a key is never certified twice."""

    key: KeyRequest | None = None
    contacts: Annotated[tuple[Annotated[str, Meta(max_length=254)], ...], Meta(max_length=20)] | None = None
