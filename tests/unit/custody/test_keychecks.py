"""Rules for public keys."""

import base64
import math
import random
from importlib import import_module

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


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1()])
@pytest.mark.parametrize("number", [1, 2, 256])
def test_a_private_key_that_anyone_guesses_is_refused(curve: ec.EllipticCurve, number: int) -> None:
    for guessed in (number, curve.group_order - number):
        key = ec.derive_private_key(guessed, curve).public_key()
        assert _broken_rule(_spki(key)) == "ec_small_private_key"


#: RFC 9500 §2.3, testECCP256; RFC 6979 §A.2.6; RFC 7515 §A.3; RFC 7517 §A.2.
_PRINTED = (
    (ec.SECP256R1(), "e6cb5bdd80aa45ae9c95e8c15476679ffec953c16851e711e743939589c64fc1"),
    (
        ec.SECP384R1(),
        "6b9d3dad2e1b8c1c05b19875b6659f4de23c3b667bf297ba9aa47740787137d896d5724e4c70a825f872c9ea60d2edf5",
    ),
    (ec.SECP256R1(), "8e9b109e719098bf980487df1f5d77e9cb29606ebed2263b5f57c213df84f4b2"),
    (ec.SECP256R1(), "f3bd0c07a81fb932781ed52752f60cc89a6be5e51934fe01938ddb55d8f77801"),
)


@pytest.mark.parametrize(("curve", "private_key"), _PRINTED)
def test_a_private_key_printed_in_a_standard_is_refused(curve: ec.EllipticCurve, private_key: str) -> None:
    key = ec.derive_private_key(int(private_key, 16), curve).public_key()
    assert _broken_rule(_spki(key)) == "published"


def test_an_rsa_key_printed_in_a_standard_is_refused() -> None:
    """RFC 7515 §A.2."""
    modulus = (
        "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2"
        "lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTB"
        "EMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kz"
        "k2PAcDTW9gb54h4FRWyuXpoQ=="
    )
    assert _broken_rule(_rsa(int.from_bytes(base64.urlsafe_b64decode(modulus), "big"))) == "published"


def test_a_prime_shared_with_published_keys_is_refused(
    primes: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    published = primes[1] * PRIME
    module = import_module("badkeys.rsakeys.sharedprimes")
    monkeypatch.setitem(module._moduli, 2048, published)
    assert _broken_rule(_rsa(primes[0] * primes[1])) == "sharedprimes"


def test_a_repeated_byte_is_refused(primes: tuple[int, int]) -> None:
    repeating = int.from_bytes(b"\xc5" * 256, "big")
    assert _broken_rule(_rsa(primes[0] * _next_prime(repeating // primes[0]))) == "pattern"


def test_a_modulus_that_is_a_sparse_polynomial_is_refused() -> None:
    """Primes of small coefficients in powers of 2^128, which factor as a polynomial does."""
    draw = random.Random(1)

    def sparse_prime() -> int:
        while True:
            chunks = [draw.randrange(1, 64) | 1, *(draw.randrange(1, 64) for _ in range(6)), 3 << 126]
            number = sum(chunk << (128 * position) for position, chunk in enumerate(chunks))
            if math.gcd(number, 3 * 5 * 7 * 11 * 13) == 1 and pow(2, number - 1, number) == 1:
                return number

    assert _broken_rule(_rsa(sparse_prime() * sparse_prime())) == "rsapoly"


@pytest.mark.parametrize("exponent", [3, 17, 65539, (1 << 64) + 13])
def test_every_exponent_but_65537_is_refused(primes: tuple[int, int], exponent: int) -> None:
    assert _broken_rule(_rsa(primes[0] * primes[1], exponent)) == "rsa_exponent"


@pytest.mark.parametrize("rule", KeyRule)
def test_every_rule_is_explained_in_both_languages(rule: KeyRule) -> None:
    assert _REASONS[rule].en
    assert _REASONS[rule].fr
