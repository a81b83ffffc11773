"""Possession of a key that a CSR brought: a fresh nonce, signed by the key itself before anything is certified.

A CSR's own signature shows only that its maker once held the key; a CSR found or stolen has it too. What is signed
here names its purpose and the order, so that a signature serves nowhere else, and holds a nonce, so that it serves
once.
"""

import base64
import secrets
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS, PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from cardd.vocabulary import PossessionMechanism
from cardd_pkcs11.types import KeyAlgorithm, Spki

#: First bytes of every message; no other signature of a test certificate's key begins so.
CONTEXT: Final = b"cardd-proof-of-possession-v1"

NONCE_BYTES: Final = 32

#: How long a nonce can be signed.
NONCE_VALIDITY: Final = timedelta(hours=24)


class Challenge(NamedTuple):
    """What a key has yet to sign."""

    #: Base64.
    nonce: str
    expires_at: datetime


def mechanisms_of(algorithm: KeyAlgorithm) -> tuple[PossessionMechanism, ...]:
    """Return the mechanisms that a kind of key can prove itself by."""
    if algorithm.is_rsa:
        return (PossessionMechanism.SHA256_RSA_PKCS, PossessionMechanism.SHA256_RSA_PSS)
    return (PossessionMechanism.ECDSA_SHA256,)


def new_challenge(now: datetime) -> Challenge:
    """Return a new nonce that can be signed from now on."""
    nonce = base64.b64encode(secrets.token_bytes(NONCE_BYTES)).decode("ascii")
    return Challenge(nonce, now + NONCE_VALIDITY)


def message(order_id: str, nonce: str) -> bytes:
    """Return what is to be signed: the context, the order's identifier and the nonce's bytes, each but the last ended
    by a zero byte."""
    return b"\0".join((CONTEXT, order_id.encode("ascii"), base64.b64decode(nonce)))


def verified_by(
    spki: Spki, signed: bytes, signature: bytes, mechanism: PossessionMechanism | None = None
) -> PossessionMechanism | None:
    """Return the mechanism by which a signature verifies, None where by none; `mechanism` leaves only that one."""
    key = load_der_public_key(spki)
    candidates = [mechanism] if mechanism is not None else list(PossessionMechanism)
    for candidate in candidates:
        try:
            match key, candidate:
                case rsa.RSAPublicKey(), PossessionMechanism.SHA256_RSA_PKCS:
                    key.verify(signature, signed, PKCS1v15(), SHA256())
                case rsa.RSAPublicKey(), PossessionMechanism.SHA256_RSA_PSS:
                    key.verify(signature, signed, PSS(MGF1(SHA256()), PSS.AUTO), SHA256())
                case ec.EllipticCurvePublicKey(), PossessionMechanism.ECDSA_SHA256:
                    key.verify(signature, signed, ec.ECDSA(SHA256()))
                case _:
                    continue
        except (InvalidSignature, ValueError):
            continue
        return candidate
    return None
