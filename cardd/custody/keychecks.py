"""Rules for public keys, in requests and on tokens; each refusal names its rule.

Types and sizes: RSA of 2048, 3072 or 4096 bits with exponent 65537, EC P-256 and P-384 (ANSSI, RGS annexe B1;
CA/Browser Forum Baseline Requirements §6.1.5, §6.1.6). Then the known ways in which RSA keys came out broken, by
badkeys: offline, without its blocklist of leaked keys; those that standards and examples print, and elliptic
curve keys whose private key is a small number, are known here. All of it is CPU work: call it in a thread.
"""

import hashlib
from collections.abc import Mapping
from enum import StrEnum, unique
from functools import cache

import badkeys
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from cardd.custody.errors import WeakKeyError
from cardd.custody.publickeys import KNOWN_PUBLICLY
from cardd.text import Text
from cardd_pkcs11.types import KeyAlgorithm, Spki


@unique
class KeyRule(StrEnum):
    """Rules that a public key can break."""

    #: Not a SubjectPublicKeyInfo, or a point that is not on its curve.
    MALFORMED = "malformed"
    KEY_TYPE = "key_type"
    CURVE = "curve"
    RSA_SIZE = "rsa_size"
    RSA_EXPONENT = "rsa_exponent"
    #: The modulus is itself a prime, so that anyone can compute the private key.
    RSA_PRIME_MODULUS = "rsa_prime_modulus"
    #: Primes too close to each other (Fermat factorisation).
    FERMAT = "fermat"
    #: CVE-2017-15361.
    ROCA = "roca"
    RSA_INVALID = "rsainvalid"
    RSA_POLYNOMIAL = "rsapoly"
    SHARED_PRIMES = "sharedprimes"
    SMALL_FACTORS = "smallfactors"
    PATTERN = "pattern"
    #: The private key is a small number, or its negative.
    EC_SMALL_PRIVATE_KEY = "ec_small_private_key"
    #: The private key is printed in a standard or an example.
    PUBLISHED = "published"


_REASONS: dict[KeyRule, Text] = {
    KeyRule.MALFORMED: Text(
        "The public key cannot be read, or its point is not on its curve.",
        "La clé publique est illisible, ou son point n’est pas sur sa courbe.",
    ),
    KeyRule.KEY_TYPE: Text("Only RSA and EC keys are accepted.", "Seules les clés RSA et EC sont acceptées."),
    KeyRule.CURVE: Text(
        "Only the curves P-256 and P-384 are accepted.", "Seules les courbes P-256 et P-384 sont acceptées."
    ),
    KeyRule.RSA_SIZE: Text(
        "An RSA key must have 2048, 3072 or 4096 bits.", "Une clé RSA doit avoir 2048, 3072 ou 4096 bits."
    ),
    KeyRule.RSA_EXPONENT: Text(
        "The public exponent of an RSA key must be 65537.", "L’exposant public d’une clé RSA doit être 65537."
    ),
    KeyRule.RSA_PRIME_MODULUS: Text(
        "The RSA modulus is a prime number: anyone can compute the private key.",
        "Le module RSA est un nombre premier : n’importe qui peut calculer la clé privée.",
    ),
    KeyRule.FERMAT: Text(
        "The two primes of the RSA key are too close: it can be factored.",
        "Les deux facteurs de la clé RSA sont trop proches : elle est factorisable.",
    ),
    KeyRule.ROCA: Text(
        "The RSA key was made by a chip with the ROCA flaw (CVE-2017-15361).",
        "La clé RSA provient d’une puce atteinte par la faille ROCA (CVE-2017-15361).",
    ),
    KeyRule.RSA_INVALID: Text(
        "The RSA key’s values are not valid.", "Les valeurs de la clé RSA ne sont pas valides."
    ),
    KeyRule.RSA_POLYNOMIAL: Text(
        "The RSA modulus has a pattern that allows factoring it.",
        "Le module RSA présente un motif qui permet de le factoriser.",
    ),
    KeyRule.SHARED_PRIMES: Text(
        "The RSA key shares a prime with published keys.",
        "La clé RSA partage un facteur avec des clés publiées.",
    ),
    KeyRule.SMALL_FACTORS: Text("The RSA modulus has a small factor.", "Le module RSA a un petit facteur."),
    KeyRule.PATTERN: Text(
        "The RSA modulus repeats a byte as no random key does.",
        "Le module RSA répète un octet comme aucune clé aléatoire ne le fait.",
    ),
    KeyRule.EC_SMALL_PRIVATE_KEY: Text(
        "The private key is a small number that anyone can guess.",
        "La clé privée est un petit nombre que n’importe qui peut deviner.",
    ),
    KeyRule.PUBLISHED: Text(
        "The private key is published: anyone can use it.",
        "La clé privée est publiée : n’importe qui peut s’en servir.",
    ),
}

_RSA = {algorithm.bits: algorithm for algorithm in KeyAlgorithm if algorithm.is_rsa}
_CURVES = {"secp256r1": KeyAlgorithm.EC_P256, "secp384r1": KeyAlgorithm.EC_P384}
_PUBLIC_EXPONENT = 65537
#: Private keys of elliptic curves up to this number are guessed.
_GUESSABLE = 256

#: badkeys' checks, in its own names; each is also the name of the rule.
_BADKEYS = (
    KeyRule.SMALL_FACTORS, KeyRule.FERMAT, KeyRule.ROCA, KeyRule.RSA_INVALID, KeyRule.RSA_POLYNOMIAL,
    KeyRule.SHARED_PRIMES, KeyRule.PATTERN,
)  # fmt: skip


def check_public_key(spki: Spki) -> KeyAlgorithm:
    """Check a DER SubjectPublicKeyInfo against every rule and return its algorithm. Takes 1 to 200 ms of CPU.

    Raises:
        WeakKeyError: with the rule in `data["rule"]`.
    """
    key = _loaded(spki)
    algorithm = _check_rsa(key.public_numbers()) if isinstance(key, rsa.RSAPublicKey) else _check_ec(key)
    if hashlib.sha256(spki).hexdigest() in KNOWN_PUBLICLY:
        raise refusal(KeyRule.PUBLISHED)
    return algorithm


def refusal(rule: KeyRule) -> WeakKeyError:
    """Return the error for a broken rule."""
    return WeakKeyError(_REASONS[rule], rule=rule.value)


def _loaded(spki: Spki) -> rsa.RSAPublicKey | ec.EllipticCurvePublicKey:
    try:
        key = load_der_public_key(spki)
    except UnsupportedAlgorithm:
        raise refusal(KeyRule.KEY_TYPE) from None
    except (ValueError, TypeError):
        raise refusal(KeyRule.MALFORMED) from None
    if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
        raise refusal(KeyRule.KEY_TYPE)
    return key


def _check_ec(key: ec.EllipticCurvePublicKey) -> KeyAlgorithm:
    algorithm = _CURVES.get(key.curve.name)
    if algorithm is None:
        raise refusal(KeyRule.CURVE)
    if key.public_numbers().x in _guessable_points()[algorithm]:
        raise refusal(KeyRule.EC_SMALL_PRIVATE_KEY)
    return algorithm


@cache
def _guessable_points() -> Mapping[KeyAlgorithm, frozenset[int]]:
    """Return the abscissas of the points that small private keys give; a number and its negative share one."""
    kinds: tuple[tuple[KeyAlgorithm, ec.EllipticCurve], ...] = (
        (KeyAlgorithm.EC_P256, ec.SECP256R1()),
        (KeyAlgorithm.EC_P384, ec.SECP384R1()),
    )
    return {
        algorithm: frozenset(
            ec.derive_private_key(number, curve).public_key().public_numbers().x
            for number in range(1, _GUESSABLE + 1)
        )
        for algorithm, curve in kinds
    }


def _check_rsa(numbers: rsa.RSAPublicNumbers) -> KeyAlgorithm:
    if numbers.n.bit_length() not in _RSA:
        raise refusal(KeyRule.RSA_SIZE)
    if numbers.e != _PUBLIC_EXPONENT:
        raise refusal(KeyRule.RSA_EXPONENT)
    found = badkeys.checkrsa(numbers.n, e=numbers.e, checks=[rule.value for rule in _BADKEYS])
    for rule in _BADKEYS:
        if rule.value in found:
            raise refusal(rule)
    if pow(2, numbers.n - 1, numbers.n) == 1:
        raise refusal(KeyRule.RSA_PRIME_MODULUS)
    return _RSA[numbers.n.bit_length()]
