"""Signing with a key that is elsewhere, through the ordinary builders of `cryptography`.

The builders accept any `RSAPrivateKey` or `EllipticCurvePrivateKey`. Ours holds no key: its `sign`
returns a signature it was given. An object is built once with a placeholder signature, linted, and its
to-be-signed bytes go to the `Signer`; then it is built again with the real signature. The two builds
have the same to-be-signed bytes, and the signature verifies, or nothing is issued.
"""

from collections.abc import Awaitable, Callable
from typing import NoReturn, Protocol, Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from cardd.igc.errors import SigningError
from cardd.text import Text

SigningPublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey
SigningPrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

#: Looks at a DER encoding before the real key signs it; raises to refuse.
LintCheck = Callable[[bytes], Awaitable[None]]


class Signer(Protocol):
    """A private key that can sign but not be seen."""

    @property
    def public_key(self) -> SigningPublicKey:
        """The public half of the key."""
        ...

    async def sign(self, data: bytes) -> bytes:
        """Sign `data`: RSASSA-PKCS1-v1_5 with SHA-256, or ECDSA with SHA-256 as DER (RFC 3279 §2.2.3)."""
        ...


async def sign_certificate(
    builder: x509.CertificateBuilder, signer: Signer, lint: LintCheck
) -> x509.Certificate:
    """Lint what `builder` makes, sign it with `signer` and return the certificate.

    Raises `LintRefusedError` before the real key is used, `SigningError` when its signature does not fit.
    """
    draft = builder.sign(placeholder_key(signer.public_key), SHA256())
    await lint(draft.public_bytes(Encoding.DER))
    signature = await sign_verified(signer, draft.tbs_certificate_bytes)
    certificate = builder.sign(key_with_signature(signer.public_key, signature), SHA256())
    if certificate.tbs_certificate_bytes != draft.tbs_certificate_bytes:
        raise SigningError(
            Text(
                "The certificate changed between its check and its signature.",
                "Le certificat a changé entre son contrôle et sa signature.",
            ),
        )
    return certificate


async def sign_verified(signer: Signer, data: bytes) -> bytes:
    """Return the signature of `data` once it is verified, else raise `SigningError`."""
    signature = await signer.sign(data)
    if not verifies(signer.public_key, signature, data):
        raise SigningError(
            Text(
                "The signing key answered with a signature that does not verify.",
                "La clé de signature a répondu par une signature qui ne se vérifie pas.",
            ),
        )
    return signature


def verifies(public_key: SigningPublicKey, signature: bytes, data: bytes) -> bool:
    """Tell whether `signature` is that of `data` with SHA-256 under `public_key`."""
    try:
        if isinstance(public_key, rsa.RSAPublicKey):
            public_key.verify(signature, data, PKCS1v15(), SHA256())
        else:
            public_key.verify(signature, data, ec.ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True


def key_with_signature(public_key: SigningPublicKey, signature: bytes) -> SigningPrivateKey:
    """Return a key object for a builder, whose only signature is `signature`."""
    if isinstance(public_key, rsa.RSAPublicKey):
        return _GivenRsaSignature(public_key, signature)
    return _GivenEcdsaSignature(public_key, signature)


def placeholder_key(public_key: SigningPublicKey) -> SigningPrivateKey:
    """Return a key object whose signature has the right form and signs nothing."""
    return key_with_signature(public_key, placeholder_signature(public_key))


def placeholder_signature(public_key: SigningPublicKey) -> bytes:
    """Return bytes of the form of a signature under `public_key`, made with no key at all."""
    if isinstance(public_key, rsa.RSAPublicKey):
        return bytes(public_key.key_size // 8)
    return encode_dss_signature(1, 1)


class _GivenRsaSignature(rsa.RSAPrivateKey):
    def __init__(self, public_key: rsa.RSAPublicKey, signature: bytes) -> None:
        self._public_key = public_key
        self._signature = signature

    @property
    def key_size(self) -> int:
        return self._public_key.key_size

    def public_key(self) -> rsa.RSAPublicKey:
        return self._public_key

    def sign(self, *_: object) -> bytes:
        return self._signature

    def decrypt(self, *_: object) -> NoReturn:
        _refuse()

    def private_numbers(self) -> NoReturn:
        _refuse()

    def private_bytes(self, *_: object) -> NoReturn:
        _refuse()

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _: object) -> Self:
        return self


class _GivenEcdsaSignature(ec.EllipticCurvePrivateKey):
    def __init__(self, public_key: ec.EllipticCurvePublicKey, signature: bytes) -> None:
        self._public_key = public_key
        self._signature = signature

    @property
    def curve(self) -> ec.EllipticCurve:
        return self._public_key.curve

    @property
    def key_size(self) -> int:
        return self._public_key.key_size

    def public_key(self) -> ec.EllipticCurvePublicKey:
        return self._public_key

    def sign(self, *_: object) -> bytes:
        return self._signature

    def exchange(self, *_: object) -> NoReturn:
        _refuse()

    def private_numbers(self) -> NoReturn:
        _refuse()

    def private_bytes(self, *_: object) -> NoReturn:
        _refuse()

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _: object) -> Self:
        return self


def _refuse() -> NoReturn:
    raise TypeError("the private key is not here: only its signature was given")
