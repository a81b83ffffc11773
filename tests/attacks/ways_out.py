"""Every way out of a token that the standard knows, tried on a key by calling the module directly.

Run as a program: `ways_out.py MODULE LABEL PIN RSA-ID EC-ID`. Prints what became of each attempt as JSON: the name of
the value that refused it, or `done` where it worked.
"""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass

from tests.support.cryptoki import Cryptoki, RefusedError, Value, ecdh_parameter

DONE = "done"

_P256 = bytes.fromhex("06082a8648ce3d030107")
_RSA_SECRETS = (
    Attribute.PRIVATE_EXPONENT, Attribute.PRIME_1, Attribute.PRIME_2, Attribute.EXPONENT_1, Attribute.EXPONENT_2,
    Attribute.COEFFICIENT,
)  # fmt: skip
_CHANGES: tuple[tuple[Attribute, bool], ...] = (
    (Attribute.EXTRACTABLE, True),
    (Attribute.SENSITIVE, False),
    (Attribute.PRIVATE, False),
    (Attribute.COPYABLE, True),
    (Attribute.MODIFIABLE, True),
    (Attribute.DERIVE, True),
    (Attribute.UNWRAP, True),
    (Attribute.WRAP_WITH_TRUSTED, False),
)

Attempt = tuple[str, Callable[[], object]]


def attempts(module: Cryptoki, rsa_id: bytes, ec_id: bytes) -> Iterator[Attempt]:
    """Yield each way out with the call that takes it."""
    for name, key_id in (("RSA", rsa_id), ("EC", ec_id)):
        handle = module.find(ObjectClass.PRIVATE_KEY, key_id)
        secrets = _RSA_SECRETS if name == "RSA" else (Attribute.VALUE,)
        for secret in secrets:
            yield f"{name}: read CKA_{secret.name}", lambda h=handle, s=secret: module.read(h, s)  # type: ignore[misc]
        yield from _copies(module, name, handle)
        for attribute, value in _CHANGES:
            yield (
                f"{name}: set CKA_{attribute.name} to {value}",
                lambda h=handle, a=attribute, v=value: module.write(h, {a: v}),  # type: ignore[misc]
            )
        yield from _wrappings(module, name, handle)
        yield from _derivations(module, name, handle)
        yield from _recreations(module, name, key_id)


def _copies(module: Cryptoki, name: str, handle: int) -> Iterator[Attempt]:
    yield f"{name}: copy it as it is", lambda: module.copy(handle, {})
    yield f"{name}: copy it into the session", lambda: module.copy(handle, {Attribute.TOKEN: False})
    yield (
        f"{name}: copy it as extractable",
        lambda: module.copy(handle, {Attribute.EXTRACTABLE: True, Attribute.SENSITIVE: False}),
    )


def _wrappings(module: Cryptoki, name: str, handle: int) -> Iterator[Attempt]:
    aes = module.generate(
        Mechanism.AES_KEY_GEN,
        {Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.KEY_TYPE: KeyType.AES, Attribute.VALUE_LEN: 32,
         Attribute.TOKEN: False, Attribute.WRAP: True, Attribute.ENCRYPT: True},
    )  # fmt: skip
    public, _ = module.generate_pair(
        Mechanism.RSA_PKCS_KEY_PAIR_GEN,
        {Attribute.TOKEN: False, Attribute.WRAP: True, Attribute.MODULUS_BITS: 2048,
         Attribute.PUBLIC_EXPONENT: b"\x01\x00\x01"},
        {Attribute.TOKEN: False, Attribute.UNWRAP: True},
    )  # fmt: skip
    for mechanism in (Mechanism.AES_KEY_WRAP, Mechanism.AES_KEY_WRAP_PAD):
        yield (
            f"{name}: wrap it with {mechanism.name}",
            lambda m=mechanism: module.wrap(m, aes, handle),  # type: ignore[misc]
        )
    yield f"{name}: wrap it with RSA_PKCS", lambda: module.wrap(Mechanism.RSA_PKCS, public, handle)


def _derivations(module: Cryptoki, name: str, handle: int) -> Iterator[Attempt]:
    point = ec.generate_private_key(ec.SECP256R1()).public_key()
    encoded = point.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    parameter, _kept = ecdh_parameter(encoded)
    made: dict[Attribute, Value] = {
        Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.KEY_TYPE: KeyType.GENERIC_SECRET,
        Attribute.TOKEN: False, Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True, Attribute.VALUE_LEN: 32,
    }  # fmt: skip
    yield (
        f"{name}: derive from it",
        lambda: (module.derive(Mechanism.ECDH1_DERIVE, parameter, handle, made), _kept),
    )


def _recreations(module: Cryptoki, name: str, key_id: bytes) -> Iterator[Attempt]:
    """A foreign key under this key's identifier, claiming to have been made here."""
    base: dict[Attribute, Value] = {
        Attribute.CLASS: ObjectClass.PRIVATE_KEY, Attribute.TOKEN: True, Attribute.PRIVATE: True,
        Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False, Attribute.SIGN: True, Attribute.ID: key_id,
    }  # fmt: skip
    foreign = base | (_rsa_values() if name == "RSA" else _ec_values())
    yield (
        f"{name}: create it anew from its public half",
        lambda: module.create({**base, **_public_half(module, name, key_id)}),
    )
    for claim in (Attribute.LOCAL, Attribute.ALWAYS_SENSITIVE, Attribute.NEVER_EXTRACTABLE):
        yield (
            f"{name}: import a key that claims CKA_{claim.name}",
            lambda c=claim: module.create({**foreign, c: True}),  # type: ignore[misc]
        )


def _public_half(module: Cryptoki, name: str, key_id: bytes) -> dict[Attribute, Value]:
    public = module.find(ObjectClass.PUBLIC_KEY, key_id)
    if name == "EC":
        return {Attribute.KEY_TYPE: KeyType.EC, Attribute.EC_PARAMS: module.read(public, Attribute.EC_PARAMS)}
    parts = (Attribute.MODULUS, Attribute.PUBLIC_EXPONENT)
    return {Attribute.KEY_TYPE: KeyType.RSA, **{part: module.read(public, part) for part in parts}}


def _rsa_values() -> dict[Attribute, Value]:
    numbers = rsa.generate_private_key(65537, 2048).private_numbers()
    values = {
        Attribute.MODULUS: numbers.public_numbers.n, Attribute.PUBLIC_EXPONENT: 65537,
        Attribute.PRIVATE_EXPONENT: numbers.d, Attribute.PRIME_1: numbers.p, Attribute.PRIME_2: numbers.q,
        Attribute.EXPONENT_1: numbers.dmp1, Attribute.EXPONENT_2: numbers.dmq1, Attribute.COEFFICIENT: numbers.iqmp,
    }  # fmt: skip
    encoded: dict[Attribute, Value] = {
        name: value.to_bytes((value.bit_length() + 7) // 8, "big") for name, value in values.items()
    }
    return {Attribute.KEY_TYPE: KeyType.RSA, **encoded}


def _ec_values() -> dict[Attribute, Value]:
    number = ec.generate_private_key(ec.SECP256R1()).private_numbers().private_value
    return {
        Attribute.KEY_TYPE: KeyType.EC,
        Attribute.EC_PARAMS: _P256,
        Attribute.VALUE: number.to_bytes(32, "big"),
    }


def main(module: str, label: str, pin: str, rsa_id: str, ec_id: str) -> None:
    """Try everything and print what became of it."""
    cryptoki = Cryptoki(Path(module), label, pin)
    became = {}
    for name, take in attempts(cryptoki, bytes.fromhex(rsa_id), bytes.fromhex(ec_id)):
        try:
            take()
        except RefusedError as error:
            became[name] = str(error)
        else:
            became[name] = DONE
    print(json.dumps(became))


if __name__ == "__main__":
    main(*sys.argv[1:])
