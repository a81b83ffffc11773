"""What a key signs to show that it is held, and what counts as its signature."""

import base64
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS, AsymmetricPadding, PKCS1v15
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, HashAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from cardd.custody.possession import CONTEXT, NONCE_BYTES, message, new_challenge, verified_by
from cardd.vocabulary import PossessionMechanism as Mechanism
from cardd_pkcs11.types import Spki
from tests.support.igc import PREPARED

EC = ec.generate_private_key(ec.SECP384R1())
RSA = rsa.generate_private_key(65537, 2048)


def _spki(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> Spki:
    return Spki(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def test_a_challenge_is_fresh_and_ends() -> None:
    first, second = new_challenge(PREPARED), new_challenge(PREPARED)
    assert first.nonce != second.nonce
    assert len(base64.b64decode(first.nonce)) == NONCE_BYTES
    assert first.expires_at == PREPARED + timedelta(hours=24)


def test_the_message_names_its_purpose_its_order_and_its_nonce() -> None:
    nonce = base64.b64encode(b"n" * NONCE_BYTES).decode()
    assert message("0123456789abcdef", nonce) == CONTEXT + b"\x000123456789abcdef\x00" + b"n" * NONCE_BYTES


@pytest.mark.parametrize(
    ("padding", "mechanism"),
    [
        (PKCS1v15(), Mechanism.SHA256_RSA_PKCS),
        (PSS(MGF1(SHA256()), 32), Mechanism.SHA256_RSA_PSS),
        (PSS(MGF1(SHA256()), PSS.MAX_LENGTH), Mechanism.SHA256_RSA_PSS),
    ],
)
def test_an_rsa_key_signs_either_way(padding: AsymmetricPadding, mechanism: Mechanism) -> None:
    signature = RSA.sign(b"m", padding, SHA256())
    assert verified_by(_spki(RSA), b"m", signature) is mechanism
    assert verified_by(_spki(RSA), b"m", signature, mechanism) is mechanism
    others = set(Mechanism) - {mechanism}
    assert [verified_by(_spki(RSA), b"m", signature, other) for other in others] == [None, None]


def test_an_elliptic_curve_key_signs_in_der() -> None:
    signature = EC.sign(b"m", ec.ECDSA(SHA256()))
    assert verified_by(_spki(EC), b"m", signature) is Mechanism.ECDSA_SHA256
    raw = b"".join(number.to_bytes(48, "big") for number in decode_dss_signature(signature))
    assert verified_by(_spki(EC), b"m", raw) is None


@pytest.mark.parametrize("algorithm", [SHA384()])
def test_other_hashes_do_not_count(algorithm: HashAlgorithm) -> None:
    assert verified_by(_spki(EC), b"m", EC.sign(b"m", ec.ECDSA(algorithm))) is None
    assert verified_by(_spki(RSA), b"m", RSA.sign(b"m", PKCS1v15(), algorithm)) is None


def test_another_key_or_another_message_does_not_count() -> None:
    other = ec.generate_private_key(ec.SECP384R1())
    assert verified_by(_spki(EC), b"m", other.sign(b"m", ec.ECDSA(SHA256()))) is None
    assert verified_by(_spki(EC), b"n", EC.sign(b"m", ec.ECDSA(SHA256()))) is None
    assert verified_by(_spki(RSA), b"m", b"garbage") is None
