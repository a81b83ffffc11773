"""Certification requests."""

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from cardd.custody.csr import MAXIMUM_SIZE, read_csr
from cardd.custody.errors import CsrError, CsrMalformedError, CsrSignatureInvalidError, WeakKeyError
from cardd_pkcs11.types import KeyAlgorithm, Spki

KEY = ec.generate_private_key(ec.SECP256R1())
NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "whatever")])
REQUEST = x509.CertificateSigningRequestBuilder(NAME).sign(KEY, hashes.SHA256())
DER = REQUEST.public_bytes(Encoding.DER)
PEM = REQUEST.public_bytes(Encoding.PEM)


@pytest.mark.parametrize("encoded", [DER, PEM, b"some text before\n" + PEM])
def test_a_request_gives_its_key_in_pem_and_der(encoded: bytes) -> None:
    proven = read_csr(encoded)
    assert proven.algorithm is KeyAlgorithm.EC_P256
    expected = KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert proven.spki == Spki(expected)


def test_a_request_signed_by_another_key_proves_nothing() -> None:
    tampered = DER.replace(b"whatever", b"somebody")
    with pytest.raises(CsrSignatureInvalidError) as caught:
        read_csr(tampered)
    assert caught.value.code == "csr_signature_invalid"
    assert [field.field for field in caught.value.fields] == ["key.csr"]


@pytest.mark.parametrize(
    "encoded", [b"", b"garbage", DER[:-5], DER + b"\0", PEM + PEM, PEM.replace(b"REQUEST", b"X")]
)
def test_what_is_not_one_request_is_malformed(encoded: bytes) -> None:
    with pytest.raises(CsrMalformedError) as caught:
        read_csr(encoded)
    assert (caught.value.code, caught.value.status) == ("csr_malformed", 422)
    assert [field.field for field in caught.value.fields] == ["key.csr"]


def test_a_request_of_10_megabytes_is_refused_unread() -> None:
    with pytest.raises(CsrMalformedError, match=str(MAXIMUM_SIZE)):
        read_csr(PEM + b" " * 10_000_000)


def test_a_weak_key_is_refused_by_its_rule() -> None:
    weak = rsa.generate_private_key(65537, 1024)  # noqa: S505 - the point of the test
    request = x509.CertificateSigningRequestBuilder(NAME).sign(weak, hashes.SHA256())
    with pytest.raises(WeakKeyError) as caught:
        read_csr(request.public_bytes(Encoding.DER))
    assert caught.value.data["rule"] == "rsa_size"


def test_a_signature_with_unused_bits_is_refused() -> None:
    request = REQUEST
    while request.signature[-1] % 2:  # a bit that is one cannot be unused: that is no DER at all
        request = x509.CertificateSigningRequestBuilder(NAME).sign(KEY, hashes.SHA256())
    whole = request.public_bytes(Encoding.DER).removesuffix(request.signature)
    assert whole.endswith(b"\0")
    with pytest.raises(CsrSignatureInvalidError):
        read_csr(whole[:-1] + b"\x01" + request.signature)


@given(st.integers(0, len(DER) - 1), st.integers(1, 255))
def test_one_changed_byte_is_always_a_clean_refusal(position: int, change: int) -> None:
    changed = bytearray(DER)
    changed[position] ^= change
    with pytest.raises((CsrError, WeakKeyError)):
        read_csr(bytes(changed))


@given(st.binary(max_size=500))
def test_garbage_is_a_clean_refusal(garbage: bytes) -> None:
    with pytest.raises((CsrError, WeakKeyError)):
        read_csr(garbage)
