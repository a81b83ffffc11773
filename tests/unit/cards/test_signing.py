"""What a signature request becomes before it reaches the module."""

import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256

from cardd.cards.signing import for_module, offered, prepare, unavailable
from cardd.cards.types import Capability, CardRole, SignRequest
from cardd.errors import InvalidFieldsError
from cardd_pkcs11.types import SignMechanism
from tests.support.cards import rsa_key


def _request(mechanism: str, *, data: bytes | None = None, digest: bytes | None = None) -> SignRequest:
    return SignRequest(role=CardRole.AUTHENTICATION, mechanism=mechanism, data=data, digest=digest)


@pytest.mark.parametrize(("hash_name", "bits"), [("sha256", 256), ("sha384", 384), ("sha512", 512)])
def test_a_digest_becomes_the_digest_info_that_hashing_would_have_made(hash_name: str, bits: int) -> None:
    digest = hashlib.new(hash_name, b"act").digest()
    for mechanism in ("rsa_pkcs", f"sha{bits}_rsa_pkcs"):
        asked = prepare(_request(mechanism, digest=digest))
        assert asked.mechanism is SignMechanism.RSA_PKCS
        assert asked.data.endswith(digest)
    if bits == 256:
        signature = rsa_key(0).sign(b"act", PKCS1v15(), SHA256())
        numbers = rsa_key(0).public_key().public_numbers()
        padded = pow(int.from_bytes(signature), numbers.e, numbers.n).to_bytes(256)
        assert padded.endswith(b"\x00" + asked.data)


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        (_request("md5", data=b""), "mechanism"),
        (_request("rsa_pkcs"), "data"),
        (_request("rsa_pkcs", data=b"a", digest=bytes(32)), "data"),
        (_request("rsa_pkcs", data=bytes(246)), "data"),
        (_request("sha256_rsa_pkcs", digest=bytes(20)), "digest"),
        (_request("sha256_rsa_pkcs", digest=bytes(48)), "digest"),
        (_request("sha256_rsa_pss", digest=bytes(32)), "digest"),
    ],
)
def test_what_does_not_fit_names_its_field(asked: SignRequest, field: str) -> None:
    with pytest.raises(InvalidFieldsError) as refused:
        prepare(asked)
    assert [problem.field for problem in refused.value.fields] == [field]


def test_the_signature_key_through_opensc_is_refused_with_the_module_that_can() -> None:
    refused = unavailable(CardRole.SIGNATURE, "sha256_rsa_pkcs", module="opensc")
    assert refused.data["modules_that_could"] == ["cryptolib-cps"]
    assert "cryptolib-cps" in refused.detail.fr


def test_sha_256_is_offered_where_the_module_signs_a_digest_info_only() -> None:
    able = Capability(role=CardRole.AUTHENTICATION, operation="sign", mechanisms=("rsa_pkcs",))
    opened = Capability(role=CardRole.AUTHENTICATION, operation="decrypt", mechanisms=("rsa_pkcs",))
    assert [each.mechanisms for each in offered((able, opened))] == [
        ("rsa_pkcs", "sha256_rsa_pkcs"),
        ("rsa_pkcs",),
    ]
    asked = prepare(_request("sha256_rsa_pkcs", data=b"act"))
    made = for_module(asked, (able,), CardRole.AUTHENTICATION)
    assert made == prepare(_request("sha256_rsa_pkcs", digest=hashlib.sha256(b"act").digest()))
    hashing = Capability(role=CardRole.AUTHENTICATION, operation="sign", mechanisms=("sha256_rsa_pkcs",))
    assert for_module(asked, (able, hashing), CardRole.AUTHENTICATION) == asked
    assert for_module(asked, (able,), CardRole.SIGNATURE) == asked
