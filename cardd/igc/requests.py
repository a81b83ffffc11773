"""Certification requests for keys on tokens, with the evidence of where they are (RFC 2986).

The evidence is the attribute `id-aa-attestation` of draft-ietf-lamps-csr-attestation (OID 1.2.840.113549.1.9.16.2.59,
first allocated as `id-aa-evidence`) in its form since draft 27: an AttestationBundle of statements without a hint. Our
statement is a JWS in a UTF8String, of a type in the arc for documentation (RFC 5612), since it has no registered one.
"""

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from cardd.igc import der
from cardd.igc.signer import Signer

#: id-aa-attestation.
ATTESTATION_OID = x509.ObjectIdentifier("1.2.840.113549.1.9.16.2.59")

_ATTESTATION = bytes.fromhex("2a864886f70d010910023b")
#: 1.3.6.1.4.1.32473.1.2: a JWS of `cardd.custody.evidence`.
_STATEMENT_TYPE = bytes.fromhex("2b0601040181fd590102")
#: sha256WithRSAEncryption with its NULL (RFC 4055 §5), ecdsa-with-SHA256 without (RFC 5758 §3.2).
_RSA_SHA256 = bytes.fromhex("300d06092a864886f70d01010b0500")
_ECDSA_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")
#: [0] IMPLICIT SET OF Attribute (RFC 2986 §4.1).
_TAG_ATTRIBUTES = 0xA0
_TAG_SET = 0x31


async def make_request(common_name: str, statement: str, signer: Signer) -> x509.CertificateSigningRequest:
    """Return a request signed by a key on a token, with a statement of evidence about it."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])
    key = signer.public_key
    information = der.sequence(
        der.integer(0),
        name.public_bytes(),
        key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        der.tlv(_TAG_ATTRIBUTES, _attestation(statement)),
    )
    algorithm = _RSA_SHA256 if isinstance(key, rsa.RSAPublicKey) else _ECDSA_SHA256
    signature = await signer.sign(information)
    encoded = der.sequence(information, algorithm, der.tlv(der.TAG_BIT_STRING, b"\0", signature))
    return x509.load_der_x509_csr(encoded)


def _attestation(statement: str) -> bytes:
    """Return the attribute with an AttestationBundle of one statement."""
    stated = der.sequence(
        der.tlv(der.TAG_OBJECT_IDENTIFIER, _STATEMENT_TYPE), der.tlv(der.TAG_UTF8_STRING, statement.encode())
    )
    bundle = der.sequence(der.sequence(stated))
    return der.sequence(der.tlv(der.TAG_OBJECT_IDENTIFIER, _ATTESTATION), der.tlv(_TAG_SET, bundle))
