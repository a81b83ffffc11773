import copy
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from cardd.igc.errors import SigningError
from cardd.igc.signer import (
    key_with_signature,
    placeholder_key,
    placeholder_signature,
    sign_verified,
    verifies,
)
from tests.support.igc import MemorySigner, ec_signer, rsa_signer


@pytest.mark.parametrize("make", [rsa_signer, ec_signer])
async def test_a_signature_is_handed_out_once_it_verifies(make: Callable[[], MemorySigner]) -> None:
    signer = make()
    signature = await sign_verified(signer, b"to be signed")
    assert verifies(signer.public_key, signature, b"to be signed")
    assert not verifies(signer.public_key, signature, b"something else")


async def test_bytes_that_are_no_signature_are_refused() -> None:
    class Broken(MemorySigner):
        async def sign(self, data: bytes) -> bytes:
            return data[:1]

    with pytest.raises(SigningError):
        await sign_verified(Broken(ec_signer().key), b"to be signed")


def test_a_placeholder_has_a_signatures_form_and_signs_nothing() -> None:
    key = rsa_signer().public_key
    assert isinstance(key, rsa.RSAPublicKey)
    assert len(placeholder_signature(key)) == key.key_size // 8
    assert not verifies(key, placeholder_signature(key), b"anything")
    point = ec_signer().public_key
    assert not verifies(point, placeholder_signature(point), b"anything")


@pytest.mark.parametrize("make", [rsa_signer, ec_signer])
def test_a_given_signature_is_all_that_its_key_object_can_give(make: Callable[[], MemorySigner]) -> None:
    public_key = make().public_key
    key = key_with_signature(public_key, b"given")
    assert key.public_key() == public_key
    assert key.key_size == public_key.key_size
    assert copy.deepcopy(copy.copy(key)) is key
    with pytest.raises(TypeError):
        key.private_numbers()
    with pytest.raises(TypeError):
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def test_a_placeholder_key_neither_decrypts_nor_agrees() -> None:
    key = placeholder_key(rsa_signer().public_key)
    assert isinstance(key, rsa.RSAPrivateKey)
    with pytest.raises(TypeError):
        key.decrypt(b"", None)  # type: ignore[arg-type]
    point = placeholder_key(ec_signer().public_key)
    assert isinstance(point, ec.EllipticCurvePrivateKey)
    assert isinstance(point.curve, ec.SECP256R1)
    with pytest.raises(TypeError):
        point.exchange(ec.ECDH(), point.public_key())
