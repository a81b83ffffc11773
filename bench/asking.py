"""Questions about certificates, as clients of OCSP and of the status call ask them."""

import hashlib

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import ocsp

#: The CA that issues what the benchmarks order.
ISSUER = "ACI-EL-ORG-TEST"
OCSP_REQUEST = "application/ocsp-request"


def ocsp_request(issuer: x509.Certificate, serial: int) -> bytes:
    """Return an OCSP request of RFC 5019's form, DER."""
    key = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    name = hashlib.sha1(issuer.subject.public_bytes()).digest()  # noqa: S324 (a name, as RFC 5019 §2.1.1 wants)
    builder = ocsp.OCSPRequestBuilder().add_certificate_by_hash(name, key, serial, hashes.SHA1())  # noqa: S303
    return builder.build().public_bytes(Encoding.DER)


def status_path(issuer: x509.Certificate, serial: str) -> str:
    """Return the path of the status call for a serial, hexadecimal."""
    return f"/api/v1/status?issuer={key_hash(issuer)}&serial={serial}"


def key_hash(issuer: x509.Certificate) -> str:
    """Return the hash by which the status call names a CA."""
    spki = issuer.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(spki).hexdigest()
