"""What sentences and answers say of a certificate, read by a parser that takes old ones too.

`cryptography` refuses some certificates that RFC 5280 allows, such as DSA keys that inherit their
parameters (RFC 3279 §2.3.2); a validation must still be able to speak of them.
"""

import hashlib
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from cryptography import x509
from cryptography.x509.oid import NameOID

from cardd.revocation.domains import Domain
from cardd.revocation.recognition import domain_of_name

if TYPE_CHECKING:
    from asn1crypto import x509 as asn1


class CertificateFacts(NamedTuple):
    """A certificate as people read it."""

    subject: str
    issuer: str
    serial: int
    not_before: datetime
    not_after: datetime
    fingerprint_sha256: str
    self_issued: bool
    key_usage: frozenset[str] | None
    """Bits of keyUsage; `None` without the extension."""
    extended_key_usage: frozenset[str] | None
    """Purposes, as asn1crypto names them; `None` without the extension."""
    subject_key: bytes | None
    """subjectKeyIdentifier."""
    issuer_key: bytes | None
    """authorityKeyIdentifier's keyIdentifier."""
    issuer_domain: Domain | None
    """The PKI of ANS that the issuer's name is of."""


def facts_of(der: bytes) -> CertificateFacts:
    """Read a certificate; raises `ValueError` for what is none."""
    parsed = parsed_certificate(der)
    loaded = loaded_certificate(der)
    usage, extended = parsed.key_usage_value, parsed.extended_key_usage_value
    return CertificateFacts(
        subject=readable_name(loaded.subject) if loaded else parsed.subject.human_friendly,
        issuer=readable_name(loaded.issuer) if loaded else parsed.issuer.human_friendly,
        serial=parsed.serial_number,
        not_before=parsed.not_valid_before,
        not_after=parsed.not_valid_after,
        fingerprint_sha256=hashlib.sha256(der).hexdigest(),
        self_issued=parsed.subject == parsed.issuer,
        key_usage=frozenset(usage.native) if usage is not None else None,
        extended_key_usage=frozenset(extended.native) if extended is not None else None,
        subject_key=parsed.key_identifier,
        issuer_key=parsed.authority_key_identifier,
        issuer_domain=domain_of_name(loaded.issuer) if loaded else None,
    )


def readable_name(name: x509.Name) -> str:
    """Return a DN as RFC 4514 writes it, with the short names of the person attributes (RFC 4519 §2)."""
    return name.rfc4514_string(_SHORT_NAMES)


_SHORT_NAMES = {NameOID.SURNAME: "SN", NameOID.GIVEN_NAME: "GN", NameOID.TITLE: "title"}


def parsed_certificate(der: bytes) -> "asn1.Certificate":
    """Read the parts of a certificate that are spoken of now, where failure is expected; raises `ValueError`."""
    from asn1crypto import x509 as asn1  # noqa: PLC0415  slow to import, and needed once something is validated

    try:
        parsed = asn1.Certificate.load(der, strict=True)
        _ = (
            parsed.serial_number,
            parsed.subject.hashable,
            parsed.issuer.hashable,
            parsed.critical_extensions,
        )
        _ = (parsed.not_valid_before, parsed.not_valid_after, parsed.public_key.algorithm)
    except (TypeError, KeyError) as error:
        raise ValueError(str(error)) from None
    return parsed


def loaded_certificate(der: bytes) -> x509.Certificate | None:
    """Return the certificate as `cryptography` reads it; `None` where it refuses to."""
    try:
        certificate = x509.load_der_x509_certificate(der)
        certificate.extensions  # noqa: B018
    except (ValueError, x509.InvalidVersion):
        return None
    return certificate
