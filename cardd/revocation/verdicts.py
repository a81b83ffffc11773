"""What is asked of a validation, and what it answers."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from cardd.revocation.domains import Domain
from cardd.revocation.findings import FindingCode, Severity
from cardd.revocation.types import PolicyName, RevocationAnswer
from cardd.text import Text

#: A certificate or list as text: PEM, or DER in base64.
CertificateText = Annotated[
    str, Meta(min_length=1, max_length=64 * 1024, description="PEM, or DER in base64.")
]
ListText = Annotated[str, Meta(min_length=1, max_length=1024 * 1024, description="PEM, or DER in base64.")]
PolicyOid = Annotated[str, Meta(pattern=r"^[0-2](\.(0|[1-9][0-9]*)){1,30}$")]


class Result(StrEnum):
    """The verdict. Indeterminate is neither valid nor invalid: something is missing to decide."""

    VALID = "valid"
    INVALID = "invalid"
    REVOKED = "revoked"
    INDETERMINATE = "indeterminate"


class RevocationMode(StrEnum):
    """How much must be known of revocation."""

    REQUIRED = "required"
    """Without an answer that may be relied on, the result is indeterminate."""
    IF_AVAILABLE = "if_available"
    """Without an answer, the result stands and a warning says so."""
    NONE = "none"
    """Not asked."""


class CertificateUse(StrEnum):
    """What the certificate is to be used for."""

    CLIENT = "client"
    """TLS client authentication."""
    SERVER = "server"
    """TLS server."""
    SIGNATURE = "signature"
    """Signature of documents."""
    ENCRYPTION = "encryption"
    """Encryption to the holder."""


class ValidationPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the application accepts."""

    accept: Annotated[
        tuple[Literal["local", "igc_sante_test", "igc_sante"], ...],
        Meta(
            max_length=3,
            description="PKIs whose certificates are accepted. Production is accepted only where it is named.",
        ),
    ] = ("local", "igc_sante_test")
    anchors: Annotated[
        tuple[CertificateText, ...],
        Meta(max_length=16, description="Further trust anchors, for this request only."),
    ] = ()
    revocation: Annotated[RevocationMode, Meta(description="How much must be known of revocation.")] = (
        RevocationMode.REQUIRED
    )
    freshness: Annotated[
        PolicyName | None,
        Meta(
            description="Freshness policy for the cached lists. Default: that of the application, else of the settings."
        ),
    ] = None
    use: Annotated[CertificateUse | None, Meta(description="What the certificate is to be used for.")] = None
    policies: Annotated[
        tuple[PolicyOid, ...],
        Meta(max_length=32, description="Acceptable certificate policies (RFC 5280 §6.1.1 c). Empty: any."),
    ] = ()
    require_explicit_policy: Annotated[
        bool, Meta(description="RFC 5280 §6.1.1 (f): one of them must hold along the whole path.")
    ] = False
    inhibit_policy_mapping: Annotated[bool, Meta(description="RFC 5280 §6.1.1 (e).")] = False
    inhibit_any_policy: Annotated[bool, Meta(description="RFC 5280 §6.1.1 (g).")] = False
    legacy_algorithms: Annotated[
        bool, Meta(description="Also take SHA-1 and short DSA keys, for certificates of the past.")
    ] = False


class ValidationRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A certificate to validate, and what is known beside it."""

    certificate: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=256 * 1024,
            description="PEM, or DER in base64. Of several in one PEM the first is validated.",
        ),
    ]
    intermediates: Annotated[
        tuple[CertificateText, ...], Meta(max_length=64, description="Certificates that may be on the path.")
    ] = ()
    crls: Annotated[
        tuple[ListText, ...],
        Meta(
            max_length=64,
            description="Revocation lists, complete or delta, to decide on instead of the cached ones.",
        ),
    ] = ()
    at: (
        Annotated[datetime, Meta(tz=True, description="The moment to validate for; now where absent.")] | None
    ) = None
    policy: ValidationPolicy = ValidationPolicy()


class FindingView(msgspec.Struct, frozen=True, kw_only=True):
    """One thing found, in the reader's language and in both."""

    code: FindingCode
    severity: Severity
    detail: str
    advice: str
    certificate: int | None
    """Place in the path; 0 is the certificate asked about."""
    text: Text


class PathElement(msgspec.Struct, frozen=True, kw_only=True):
    """One certificate of the path."""

    role: Literal["certificate", "intermediate", "anchor"]
    subject: str
    issuer: str
    serial: str
    not_before: datetime
    not_after: datetime
    fingerprint_sha256: str
    revocation: RevocationAnswer | None = None
    """Absent of anchors, and where revocation was not asked."""


class ValidationView(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict, the path it was reached on, from the certificate up to its anchor, and all that was found."""

    result: Result
    at: datetime
    domain: Domain | None
    """The PKI that the certificate belongs to, or by its names claims to."""
    path: tuple[PathElement, ...]
    findings: tuple[FindingView, ...]
