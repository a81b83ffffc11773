"""Rules for public keys."""

import math

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from cardd.custody.errors import WeakKeyError
from cardd.custody.keychecks import _REASONS, KeyRule, check_public_key
from cardd_pkcs11.types import KeyAlgorithm, Spki

#: A prime of 2048 bits.
PRIME = int(
    "cdda0d98cb15d77db6de6c58cfc49ccbdeb6c7f7ae84045dfec4605ebe134f1db51ace0f5e4f35727fbaf4182876bf82"
    "c090e252f9fdb064c1c267afe2f6ad22e6412cc86263db26f72a52579e573a80fde90265bec8342ca101257313311c37"
    "9ca9d22dab377f37885a8ebb87fefdb620c17c084c591b9287151d1cead2a223ba92263fb9b3df9157fdf15e33b84a4a"
    "5106bee3212d02e8c3439681252ab9b4d04f0f547b94f151a1f1d1fad0de53bd1da6abac529560bfaf9c3b7b8104b414"
    "3ecafcd073e6476e3f2f852d92ab26a3debfe5e82e230d1751297160e6958ca4d0875e571b79bae96702623425dc83e1"
    "50f7e7267e2de5dcee6ebbc82448d34d",
    16,
)


def _spki(key: PublicKeyTypes) -> Spki:
    return Spki(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def _rsa(modulus: int, exponent: int = 65537) -> Spki:
    return _spki(rsa.RSAPublicNumbers(exponent, modulus).public_key())


def _broken_rule(spki: Spki) -> str:
    with pytest.raises(WeakKeyError) as caught:
        check_public_key(spki)
    assert caught.value.status == 422
    assert caught.value.code == "weak_key"
    return str(caught.value.data["rule"])


@pytest.fixture(scope="module")
def primes() -> tuple[int, int]:
    numbers = rsa.generate_private_key(65537, 2048).private_numbers()
    return numbers.p, numbers.q


def _next_prime(number: int) -> int:
    number |= 1
    while pow(2, number - 1, number) != 1 or math.gcd(number, 3 * 5 * 7 * 11 * 13) != 1:
        number += 2
    return number


def test_good_keys_pass_and_are_named(primes: tuple[int, int]) -> None:
    assert check_public_key(_rsa(primes[0] * primes[1])) is KeyAlgorithm.RSA_2048
    assert (
        check_public_key(_spki(ec.generate_private_key(ec.SECP256R1()).public_key())) is KeyAlgorithm.EC_P256
    )
    assert (
        check_public_key(_spki(ec.generate_private_key(ec.SECP384R1()).public_key())) is KeyAlgorithm.EC_P384
    )


@pytest.mark.parametrize("bits", [1024, 2056])
def test_other_rsa_sizes_are_refused(bits: int) -> None:
    key = rsa.generate_private_key(65537, bits)
    assert _broken_rule(_spki(key.public_key())) == "rsa_size"


def test_other_exponents_are_refused(primes: tuple[int, int]) -> None:
    assert _broken_rule(_rsa(primes[0] * primes[1], 3)) == "rsa_exponent"


def test_close_primes_are_refused(primes: tuple[int, int]) -> None:
    p = primes[0] | (3 << 1022)
    p = _next_prime(p)
    assert _broken_rule(_rsa(p * _next_prime(p + 2))) == "fermat"


def test_a_small_factor_is_refused() -> None:
    odd = (1 << 2047) + 12345678901
    assert _broken_rule(_rsa(odd - odd % 3 if (odd - odd % 3) % 2 else odd - odd % 3 + 3)) == "smallfactors"


def test_the_roca_fingerprint_is_refused() -> None:
    modulus = 0x924CBA6AE99DFA084537FACC54948DF0C23DA044D8CABE0EDD75BC6
    step = pow(65537, 12345, modulus)
    candidate = step + modulus * ((3 << 2046) // modulus)
    while candidate % 2 == 0 or math.gcd(candidate, _small_primes()) != 1:
        candidate += modulus
    assert _broken_rule(_rsa(candidate)) == "roca"


def _small_primes() -> int:
    sieve = bytearray([1]) * 65538
    product = 1
    for number in range(2, 65538):
        if sieve[number]:
            product *= number
            sieve[number * number :: number] = bytes(len(range(number * number, 65538, number)))
    return product


def test_a_prime_modulus_is_refused() -> None:
    assert _broken_rule(_rsa(PRIME)) == "rsa_prime_modulus"


def test_other_curves_and_kinds_are_refused() -> None:
    assert _broken_rule(_spki(ec.generate_private_key(ec.SECP521R1()).public_key())) == "curve"
    assert _broken_rule(_spki(ed25519.Ed25519PrivateKey.generate().public_key())) == "key_type"


def test_a_point_off_its_curve_is_refused() -> None:
    good = bytearray(_spki(ec.generate_private_key(ec.SECP256R1()).public_key()))
    good[-1] ^= 1
    assert _broken_rule(Spki(bytes(good))) == "malformed"
    assert _broken_rule(Spki(b"garbage")) == "malformed"


@pytest.mark.parametrize("rule", KeyRule)
def test_every_rule_is_explained_in_both_languages(rule: KeyRule) -> None:
    assert _REASONS[rule].en
    assert _REASONS[rule].fr
