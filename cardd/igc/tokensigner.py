"""The signer of a key on a token: each signature is made by a token host and verified there."""

import asyncio
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from cardd.custody.errors import token_errors_translated
from cardd.igc.signer import SigningPublicKey
from cardd_pkcs11.operations import TokenOperations
from cardd_pkcs11.types import KeyId, SignMechanism, Spki, TokenSerial


class TokenSigner:
    """Signs with SHA-256 and the private key `key_id` of a token; implements `cardd.igc.signer.Signer`."""

    def __init__(self, pool: TokenOperations, token: TokenSerial, key_id: KeyId, spki: bytes) -> None:
        public_key = load_der_public_key(spki)
        if not isinstance(public_key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
            raise TypeError("a signer's key is RSA or on an elliptic curve")
        self._pool = pool
        self._token = token
        self._key_id = key_id
        self._spki = Spki(spki)
        self._public_key = public_key
        is_rsa = isinstance(public_key, rsa.RSAPublicKey)
        self._mechanism = SignMechanism.SHA256_RSA_PKCS if is_rsa else SignMechanism.ECDSA_SHA256

    @property
    def public_key(self) -> SigningPublicKey:
        """The public half of the key."""
        return self._public_key

    async def sign(self, data: bytes) -> bytes:
        """Sign `data`: RSASSA-PKCS1-v1_5 with SHA-256, or ECDSA with SHA-256 as DER.

        Raises `TokenFaultError` when the token or its host refuses or fails.
        """
        mechanism, given = self._mechanism, data
        if len(data) > _LONGEST_MESSAGE:
            mechanism = (
                SignMechanism.RSA_PKCS if mechanism is SignMechanism.SHA256_RSA_PKCS else SignMechanism.ECDSA
            )
            digest = await asyncio.to_thread(lambda: sha256(data).digest())
            given = _SHA256_DIGEST_INFO + digest if mechanism is SignMechanism.RSA_PKCS else digest
        with token_errors_translated():
            return await self._pool.sign(self._token, self._key_id, mechanism, given, spki=self._spki)


#: Longer messages, such as large revocation lists, are hashed here and not carried to the token host, in bytes.
_LONGEST_MESSAGE = 64 * 1024
#: What stands before a SHA-256 digest in a DigestInfo (RFC 8017 §9.2, note 1).
_SHA256_DIGEST_INFO = bytes.fromhex("3031300D060960864801650304020105000420")
