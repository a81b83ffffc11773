"""Names that compare: issuers, distribution points and keys, in the forms under which lists are matched."""

import hashlib
from collections.abc import Iterable

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from cardd.revocation.types import SpkiHash

#: Bytes of the certificate issuer's hash before the serial in the keys of an indirect list.
PREFIX_BYTES = 16


def comparable(name: x509.Name) -> tuple[tuple[tuple[str, str], ...], ...]:
    """Return a name in a form that compares as RFC 5280 §7.1 asks: without case, spaces run together.

    The attributes of an RDN are put in order: their own has no meaning, and the form outlives this process.
    """
    return tuple(
        tuple(sorted((a.oid.dotted_string, " ".join(_text(a.value).split()).casefold()) for a in rdn))
        for rdn in name.rdns
    )


def issuer_prefix(name: x509.Name) -> bytes:
    """Return what the keys of a certificate issuer begin with in an indirect list."""
    return hashlib.sha256(repr(comparable(name)).encode()).digest()[:PREFIX_BYTES]


def spki_sha256(certificate: x509.Certificate) -> SpkiHash:
    """Return the hash under which a CA is asked for."""
    spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return SpkiHash(hashlib.sha256(spki).hexdigest())


def urls_of(points: Iterable[x509.DistributionPoint]) -> tuple[str, ...]:
    """Return the URIs of distribution points, in their order."""
    return tuple(
        name.value
        for point in points
        for name in point.full_name or ()
        if isinstance(name, x509.UniformResourceIdentifier)
    )


def point_names(
    full_name: Iterable[x509.GeneralName] | None,
    relative: x509.RelativeDistinguishedName | None,
    issuer: x509.Name,
) -> tuple[bytes, ...] | None:
    """Return the names of a distribution point in a form that compares; None without one (RFC 5280 §6.3.3 b 2)."""
    if relative is not None:
        full = x509.Name([*issuer.rdns, relative])
        return (repr(comparable(full)).encode(),)
    if full_name is None:
        return None
    return tuple(
        repr(comparable(name.value)).encode()
        if isinstance(name, x509.DirectoryName)
        else f"{type(name).__name__}:{name.value}".encode()
        for name in full_name
    )


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.hex()
