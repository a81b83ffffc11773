"""Certification requests (PKCS#10, RFC 2986): parsed, their proof of possession verified, their key checked."""

from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from cardd.custody.errors import CsrMalformedError, CsrSignatureInvalidError
from cardd.custody.keychecks import KeyRule, check_public_key, refusal
from cardd.text import Text
from cardd_pkcs11.types import KeyAlgorithm, Spki

#: No request is larger, in bytes; an RSA-4096 one in PEM has about 1700.
MAXIMUM_SIZE = 64 * 1024

_PEM_MARK = b"-----BEGIN"
_WEAK_HASHES = frozenset({"md5", "sha1"})


class ProvenKey(NamedTuple):
    """The public key of a request whose maker holds the private one."""

    spki: Spki
    algorithm: KeyAlgorithm


def read_csr(encoded: bytes) -> ProvenKey:
    """Read one request, PEM or DER, and return its key. Takes up to 200 ms of CPU: call it in a thread.

    The subject and the attributes are ignored: a profile alone decides what a certificate says.

    Raises:
        CsrMalformedError: too large, or not one PKCS#10 request.
        CsrSignatureInvalidError: the self-signature does not verify, or rests on MD5 or SHA-1.
        WeakKeyError: the key breaks a rule.
    """
    if len(encoded) > MAXIMUM_SIZE:
        raise CsrMalformedError(
            Text(
                f"The request is larger than {MAXIMUM_SIZE} bytes.",
                f"La demande dépasse {MAXIMUM_SIZE} octets.",
            )
        )
    request = _parsed(encoded)
    spki = _spki(request)
    _verify(request)
    return ProvenKey(spki, check_public_key(spki))


def _parsed(encoded: bytes) -> x509.CertificateSigningRequest:
    try:
        if encoded.count(_PEM_MARK) > 1:
            raise CsrMalformedError(Text("There is more than one PEM block.", "Il y a plusieurs blocs PEM."))
        if _PEM_MARK in encoded:
            return x509.load_pem_x509_csr(encoded)
        return x509.load_der_x509_csr(encoded)
    except (ValueError, TypeError, x509.InvalidVersion):
        raise CsrMalformedError(
            Text(
                "This is not a PKCS#10 request in PEM or DER.",
                "Ce n’est pas une demande PKCS#10 en PEM ou en DER.",
            )
        ) from None


def _spki(request: x509.CertificateSigningRequest) -> Spki:
    try:
        key = request.public_key()
    except UnsupportedAlgorithm:
        raise refusal(KeyRule.KEY_TYPE) from None
    except ValueError:
        raise refusal(KeyRule.MALFORMED) from None
    return Spki(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def _verify(request: x509.CertificateSigningRequest) -> None:
    # A signature is whole bytes: the octet of unused bits before it is zero, which the library does not ask.
    if request.public_bytes(Encoding.DER)[-len(request.signature) - 1] != 0:
        raise _signature_invalid()
    try:
        algorithm = request.signature_hash_algorithm
        valid = request.is_signature_valid
    except (UnsupportedAlgorithm, InvalidSignature, ValueError, TypeError):
        raise _signature_invalid() from None
    if not valid:
        raise _signature_invalid()
    if algorithm is not None and algorithm.name in _WEAK_HASHES:
        raise CsrSignatureInvalidError(
            Text(
                "The request is signed with MD5 or SHA-1, which proves nothing.",
                "La demande est signée avec MD5 ou SHA-1, ce qui ne prouve rien.",
            )
        )


def _signature_invalid() -> CsrSignatureInvalidError:
    return CsrSignatureInvalidError(
        Text(
            "The request’s signature does not verify with the key inside it.",
            "La signature de la demande ne correspond pas à la clé qu’elle contient.",
        )
    )
