"""Public keys and signatures inside a host: SubjectPublicKeyInfo from attributes, and the check of what was signed."""

import hashlib
from functools import lru_cache

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from cardd_pkcs11.errors import Ckr, MechanismUnavailableError, SignatureMismatchError, TokenError
from cardd_pkcs11.types import SignMechanism, Spki

#: CKA_EC_PARAMS of the curves we use: DER of their OIDs (RFC 5480 §2.1.1.1).
P256_PARAMETERS = bytes.fromhex("06082a8648ce3d030107")
P384_PARAMETERS = bytes.fromhex("06052b81040022")

_CURVES: dict[bytes, type[ec.EllipticCurve]] = {P256_PARAMETERS: ec.SECP256R1, P384_PARAMETERS: ec.SECP384R1}
_PREHASHED: dict[int, type[hashes.HashAlgorithm]] = {32: hashes.SHA256, 48: hashes.SHA384, 64: hashes.SHA512}
_RSA_HASHES: dict[SignMechanism, type[hashes.HashAlgorithm]] = {
    SignMechanism.SHA256_RSA_PKCS: hashes.SHA256,
    SignMechanism.SHA384_RSA_PKCS: hashes.SHA384,
    SignMechanism.SHA512_RSA_PKCS: hashes.SHA512,
}


def rsa_spki(modulus: bytes, public_exponent: bytes) -> Spki:
    """Make the SubjectPublicKeyInfo of an RSA key from its big-endian integers (RFC 3279 §2.3.1)."""
    numbers = rsa.RSAPublicNumbers(int.from_bytes(public_exponent, "big"), int.from_bytes(modulus, "big"))
    return Spki(numbers.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def ec_spki(parameters: bytes, point: bytes) -> Spki:
    """Make the SubjectPublicKeyInfo of a P-256 or P-384 key from CKA_EC_PARAMS and CKA_EC_POINT (RFC 5480 §2).

    The point comes as the standard wants, inside an OCTET STRING, or bare as some modules give it.

    Raises:
        TokenError: the curve is another one, or the point is not on it.
    """
    try:
        curve = _CURVES[parameters]()
    except KeyError:
        raise TokenError("the key is on a curve that is not supported") from None
    bare = 1 + 2 * ((curve.key_size + 7) // 8)
    try:
        key = ec.EllipticCurvePublicKey.from_encoded_point(curve, point[-bare:])
    except ValueError:
        raise TokenError("the token states a point that is not on its curve") from None
    return Spki(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def ecdsa_digest(mechanism: SignMechanism, data: bytes) -> bytes:
    """Return what CKM_ECDSA signs: the message's hash, or the caller's digest as it is.

    Raises:
        MechanismUnavailableError: the caller's digest is not 32, 48 or 64 bytes.
    """
    if mechanism is SignMechanism.ECDSA_SHA256:
        return hashlib.sha256(data).digest()
    if mechanism is SignMechanism.ECDSA_SHA384:
        return hashlib.sha384(data).digest()
    if len(data) not in _PREHASHED:
        raise MechanismUnavailableError("ECDSA wants a digest of 32, 48 or 64 bytes", ckr=Ckr.DATA_LEN_RANGE)
    return data


def ecdsa_der(signature: bytes) -> bytes:
    """Turn Cryptoki's r‖s (PKCS#11 v2.40 §2.3.1) into a DER Ecdsa-Sig-Value (RFC 3279 §2.2.3)."""
    half = len(signature) // 2
    return encode_dss_signature(
        int.from_bytes(signature[:half], "big"), int.from_bytes(signature[half:], "big")
    )


def verify(spki: Spki, mechanism: SignMechanism, data: bytes, signature: bytes) -> None:
    """Check a signature (ECDSA: DER) as whoever receives it will.

    Raises:
        SignatureMismatchError: it does not verify, or `spki` is not a key of the mechanism's kind.
    """
    try:
        key = _public_key(spki)
        if isinstance(key, rsa.RSAPublicKey):
            _verify_rsa(key, mechanism, data, signature)
        else:
            digest = ecdsa_digest(mechanism, data)
            key.verify(signature, digest, ec.ECDSA(Prehashed(_PREHASHED[len(digest)]())))
    except (InvalidSignature, ValueError, KeyError):
        raise SignatureMismatchError("the signature does not verify with the public key expected") from None


def _verify_rsa(key: rsa.RSAPublicKey, mechanism: SignMechanism, data: bytes, signature: bytes) -> None:
    if mechanism is SignMechanism.RSA_PKCS:
        if key.recover_data_from_signature(signature, padding.PKCS1v15(), None) != data:
            raise InvalidSignature
    elif mechanism is SignMechanism.SHA256_RSA_PSS:
        scheme = padding.PSS(padding.MGF1(hashes.SHA256()), salt_length=32)
        key.verify(signature, data, scheme, hashes.SHA256())
    else:
        key.verify(signature, data, padding.PKCS1v15(), _RSA_HASHES[mechanism]())


@lru_cache(maxsize=256)
def _public_key(spki: bytes) -> rsa.RSAPublicKey | ec.EllipticCurvePublicKey:
    key = load_der_public_key(spki)
    if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
        raise ValueError("neither RSA nor EC")  # noqa: TRY004 - part of one refusal with malformed keys
    return key
