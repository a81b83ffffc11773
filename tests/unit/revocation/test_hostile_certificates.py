"""Whatever bytes come as certificates or lists: an answer or a named field, never anything unforeseen."""

import base64
import tempfile
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cardd.errors import InvalidFieldsError
from cardd.revocation.reading import certificates_in, list_in
from cardd.revocation.verdicts import Result, ValidationRequest
from tests.support.validation import BEGINS, ENDS, small_pki, validation

pytestmark = pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")

_LEAF = small_pki().leaf().certificate.public_bytes(Encoding.DER)
_CA = small_pki().ca.certificate.public_bytes(Encoding.DER)
_LIST = x509.load_pem_x509_crl(small_pki().crl().encode()).public_bytes(Encoding.DER)


@st.composite
def damaged(draw: st.DrawFn, original: bytes) -> bytes:
    """Return `original` with a few bytes changed, or cut short."""
    content = bytearray(original)
    for _ in range(draw(st.integers(1, 4))):
        content[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
    return bytes(content[: draw(st.integers(0, len(content)))]) if draw(st.booleans()) else bytes(content)


def text(der: bytes) -> str:
    """Return bytes as the API takes them; never empty."""
    return base64.b64encode(der).decode("ascii") or "AA=="


@given(st.binary(max_size=300) | damaged(_LEAF) | st.text(max_size=100).map(str.encode))
def test_any_bytes_are_certificates_or_a_value_error(content: bytes) -> None:
    for read in (certificates_in, list_in):
        try:
            read(content)
        except ValueError:
            continue


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(leaf=damaged(_LEAF), ca=damaged(_CA) | st.just(_CA), crl=damaged(_LIST) | st.just(_LIST))
async def test_a_damaged_certificate_never_passes_and_never_fails_the_daemon(
    leaf: bytes, ca: bytes, crl: bytes
) -> None:
    root = small_pki().crl(issuer=small_pki().root)
    request = ValidationRequest(certificate=text(leaf), intermediates=(text(ca),), crls=(text(crl), root))
    with tempfile.TemporaryDirectory() as directory:
        try:
            view = await validation(Path(directory)).validate(request)
        except InvalidFieldsError:
            return
    assert view.result is not Result.VALID or leaf == _LEAF
    assert view.findings


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(crl=damaged(_LIST))
async def test_a_damaged_list_never_clears_a_certificate(crl: bytes) -> None:
    root = small_pki().crl(issuer=small_pki().root)
    request = ValidationRequest(certificate=text(_LEAF), crls=(text(crl), root))
    with tempfile.TemporaryDirectory() as directory:
        try:
            view = await validation(Path(directory)).validate(request)
        except InvalidFieldsError:
            return
    assert view.result is Result.INDETERMINATE or crl == _LIST


async def test_a_signature_of_another_kind_of_key_than_the_issuer_s_is_refused(tmp_path: Path) -> None:
    pki, key = small_pki(), rsa.generate_private_key(public_exponent=65537, key_size=2048)
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(pki.ca.key.public_key())
    forged = (
        x509.CertificateBuilder()
        .subject_name(pki.leaf().certificate.subject)
        .issuer_name(pki.ca.certificate.subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(BEGINS)
        .not_valid_after(ENDS)
        .add_extension(authority, critical=False)
        .sign(key, hashes.SHA256())
    )
    request = ValidationRequest(certificate=forged.public_bytes(Encoding.PEM).decode("ascii"))
    assert (await validation(tmp_path).validate(request)).result is Result.INVALID


async def test_a_list_signed_by_another_kind_of_key_than_the_issuer_s_clears_nothing(tmp_path: Path) -> None:
    pki, key = small_pki(), rsa.generate_private_key(public_exponent=65537, key_size=2048)
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(pki.ca.key.public_key())
    forged = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(pki.ca.certificate.subject)
        .last_update(BEGINS)
        .next_update(ENDS)
        .add_extension(authority, critical=False)
        .sign(key, hashes.SHA256())
    )
    lists = (forged.public_bytes(Encoding.PEM).decode("ascii"), pki.crl(issuer=pki.root))
    request = ValidationRequest(certificate=pki.leaf().pem, crls=lists)
    assert (await validation(tmp_path).validate(request)).result is Result.INDETERMINATE
