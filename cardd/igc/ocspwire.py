"""OCSP on the wire (RFC 6960 §4): requests read strictly, responses for several certificates put together.

`cryptography` reads and writes messages of one certificate; its declarative ASN.1 does the rest here.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from enum import Enum
from typing import Annotated, Literal, NamedTuple, Self

from cryptography import x509
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import OCSPExtensionOID

#: Certificates asked about in one request, at most.
_MAX_CERTIFICATES = 32
#: A nonce has 1 to 32 bytes (RFC 8954 §2.1), and up to 128 since RFC 9654 §2.1.
_MAX_NONCE = 128


class MalformedRequestError(ValueError):
    """The bytes are not an OCSP request that can be answered."""


class HashAlgorithm(Enum):
    """Algorithms of a CertID's hashes, by object identifier."""

    SHA1 = "1.3.14.3.2.26"
    SHA256 = "2.16.840.1.101.3.4.2.1"
    SHA384 = "2.16.840.1.101.3.4.2.2"
    SHA512 = "2.16.840.1.101.3.4.2.3"

    def hash(self) -> hashes.SHA1 | hashes.SHA256 | hashes.SHA384 | hashes.SHA512:
        """Return the algorithm for `cryptography`. SHA-1 names an issuer here and protects nothing."""
        return _HASHES[self]()

    def digest(self, data: bytes) -> bytes:
        """Return the hash of `data`."""
        context = hashes.Hash(self.hash())
        context.update(data)
        return context.finalize()


_HASHES: dict[HashAlgorithm, type[hashes.SHA1 | hashes.SHA256 | hashes.SHA384 | hashes.SHA512]] = {
    HashAlgorithm.SHA1: hashes.SHA1,
    HashAlgorithm.SHA256: hashes.SHA256,
    HashAlgorithm.SHA384: hashes.SHA384,
    HashAlgorithm.SHA512: hashes.SHA512,
}


class IssuerKey(NamedTuple):
    """How a CertID names an issuer."""

    algorithm: HashAlgorithm
    name_hash: bytes
    key_hash: bytes


class CertificateId(NamedTuple):
    """A CertID (RFC 6960 §4.1.1)."""

    issuer: IssuerKey
    serial: int


class Request(NamedTuple):
    """What a request asks."""

    certificates: tuple[CertificateId, ...]
    nonce: bytes | None


def issuer_keys(certificate: x509.Certificate) -> Iterator[IssuerKey]:
    """Yield the names that CertIDs may give the CA of `certificate`, one a hash algorithm."""
    name, key = certificate.subject.public_bytes(), _key_bits(certificate)
    for algorithm in HashAlgorithm:
        yield IssuerKey(algorithm, algorithm.digest(name), algorithm.digest(key))


def parse_request(encoded: bytes, *, limit: int) -> Request:
    """Read a DER OCSPRequest of at most `limit` bytes; its optional signature is passed over.

    Raises `MalformedRequestError`, also for an unknown critical extension and a nonce of a wrong length.
    """
    if len(encoded) > limit:
        raise MalformedRequestError("too long")
    try:
        tbs = asn1.decode_der(_OcspRequest, encoded).tbs_request
        certificates = tuple(_certificate_id(request.req_cert) for request in tbs.request_list)
        nonce = _nonce(tbs.request_extensions or [])
    except ValueError as error:
        raise MalformedRequestError(str(error)) from error
    if not 1 <= len(certificates) <= _MAX_CERTIFICATES:
        raise MalformedRequestError("no certificate, or too many")
    return Request(certificates, nonce)


class UnsignedResponse:
    """A response that waits for its signature."""

    def __init__(self, envelope: "_OcspResponse", basic: "_BasicOcspResponse") -> None:
        self._envelope = envelope
        self._basic = basic

    @classmethod
    def merge(cls, drafts: Sequence[bytes], produced_at: datetime) -> Self:
        """Put together responses of one certificate each, alike but for the certificate; DER OCSPResponses.

        They are said to be made at `produced_at` (UTC, whole seconds), whatever clock the drafts were made by.
        """
        envelopes = [asn1.decode_der(_OcspResponse, draft) for draft in drafts]
        basics = [
            asn1.decode_der(_BasicOcspResponse, envelope.response_bytes.response) for envelope in envelopes
        ]
        merged = basics[0]
        merged.response_data.produced_at = asn1.GeneralizedTime(produced_at)
        merged.response_data.responses = [one for basic in basics for one in basic.response_data.responses]
        return cls(envelopes[0], merged)

    @property
    def to_be_signed(self) -> bytes:
        """The ResponseData, DER."""
        return asn1.encode_der(self._basic.response_data)

    def signed(self, signature: bytes) -> bytes:
        """Return the whole OCSPResponse with `signature`, DER."""
        self._basic.signature = asn1.BitString(signature, 0)
        self._envelope.response_bytes.response = asn1.encode_der(self._basic)
        return asn1.encode_der(self._envelope)


@asn1.sequence
class _SubjectPublicKeyInfo:
    algorithm: asn1.TLV
    subject_public_key: asn1.BitString


@asn1.sequence
class _AlgorithmIdentifier:
    algorithm: x509.ObjectIdentifier
    parameters: asn1.Null | None


@asn1.sequence
class _CertId:
    hash_algorithm: _AlgorithmIdentifier
    issuer_name_hash: bytes
    issuer_key_hash: bytes
    serial_number: int


@asn1.sequence
class _Extension:
    extn_id: x509.ObjectIdentifier
    critical: Annotated[bool, asn1.Default(value=False)]
    extn_value: bytes


@asn1.sequence
class _SingleRequest:
    req_cert: _CertId
    single_request_extensions: Annotated[list[_Extension] | None, asn1.Explicit(0)]


#: The forms of GeneralName that name a requestor; the name is passed over.
_RequestorName = (
    Annotated[asn1.Variant[asn1.IA5String, Literal["rfc822Name"]], asn1.Implicit(1)]
    | Annotated[asn1.Variant[asn1.IA5String, Literal["dNSName"]], asn1.Implicit(2)]
    | Annotated[asn1.Variant[asn1.TLV, Literal["directoryName"]], asn1.Explicit(4)]
    | Annotated[asn1.Variant[asn1.IA5String, Literal["uniformResourceIdentifier"]], asn1.Implicit(6)]
)


@asn1.sequence
class _TbsRequest:
    version: Annotated[int, asn1.Explicit(0), asn1.Default(value=0)]
    requestor_name: Annotated[_RequestorName | None, asn1.Explicit(1)]
    request_list: list[_SingleRequest]
    request_extensions: Annotated[list[_Extension] | None, asn1.Explicit(2)]


@asn1.sequence
class _RequestSignature:
    signature_algorithm: asn1.TLV
    signature: asn1.BitString
    certs: Annotated[list[asn1.TLV] | None, asn1.Explicit(0)]


@asn1.sequence
class _OcspRequest:
    tbs_request: _TbsRequest
    optional_signature: Annotated[_RequestSignature | None, asn1.Explicit(0)]


@asn1.sequence
class _ResponseData:
    responder_id: asn1.TLV
    produced_at: asn1.GeneralizedTime
    responses: list[asn1.TLV]
    response_extensions: Annotated[list[asn1.TLV] | None, asn1.Explicit(1)]


@asn1.sequence
class _BasicOcspResponse:
    response_data: _ResponseData
    signature_algorithm: asn1.TLV
    signature: asn1.BitString
    certs: Annotated[list[asn1.TLV] | None, asn1.Explicit(0)]


@asn1.sequence
class _ResponseBytes:
    response_type: x509.ObjectIdentifier
    response: bytes


@asn1.sequence
class _OcspResponse:
    response_status: asn1.TLV
    response_bytes: Annotated[_ResponseBytes, asn1.Explicit(0)]


def _certificate_id(cert_id: _CertId) -> CertificateId:
    algorithm = HashAlgorithm(cert_id.hash_algorithm.algorithm.dotted_string)
    issuer = IssuerKey(algorithm, cert_id.issuer_name_hash, cert_id.issuer_key_hash)
    return CertificateId(issuer, cert_id.serial_number)


def _nonce(extensions: Sequence[_Extension]) -> bytes | None:
    nonce = None
    for extension in extensions:
        if extension.extn_id == OCSPExtensionOID.NONCE:
            nonce = asn1.decode_der(bytes, extension.extn_value)
            if not 1 <= len(nonce) <= _MAX_NONCE:
                raise MalformedRequestError("nonce of a wrong length")
        elif extension.critical:
            raise MalformedRequestError("unknown critical extension")
    return nonce


def _key_bits(certificate: x509.Certificate) -> bytes:
    """Return the contents of subjectPublicKey, without its tag, length and unused-bits byte."""
    encoded = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return asn1.decode_der(_SubjectPublicKeyInfo, encoded).subject_public_key.as_bytes()
