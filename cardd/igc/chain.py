"""The published chain and the path of one certificate."""

from collections.abc import Iterable, Mapping

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from cardd.igc.authority import Authority
from cardd.igc.names import CaName


def path(issuer: CaName, authorities: Mapping[CaName, Authority]) -> list[x509.Certificate]:
    """Return the certificates above one issued by `issuer`, its issuer's first, its root's last."""
    names = [issuer] if issuer.is_root else [issuer, issuer.issuer]
    return [authorities[name].certificate for name in names]


def pem(certificates: Iterable[x509.Certificate]) -> bytes:
    """Return `certificates` as one PEM file, in their order (RFC 8555 §9.1: the leaf first)."""
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)


def p7b(certificates: Iterable[x509.Certificate]) -> bytes:
    """Return `certificates` as a certificates-only PKCS #7, DER (RFC 5652 §5.2), as ANS publishes its chain."""
    return pkcs7.serialize_certificates(list(certificates), Encoding.DER)


def every_authority(authorities: Mapping[CaName, Authority]) -> list[x509.Certificate]:
    """Return the certificates of all CAs, roots first."""
    return [authorities[name].certificate for name in CaName if name in authorities]
