import base64
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cardd.errors import UnavailableError
from cardd.igc import der, ocspwire
from cardd.igc.answerers import CertificateStatus, Responder, Status
from cardd.igc.crl import RevocationReason
from cardd.igc.hierarchy import HierarchyBuilder
from cardd.igc.names import CaName
from cardd.igc.ocsp import MAX_REQUEST_BYTES, OcspService
from cardd.igc.signer import verifies
from cardd.text import Text
from tests.support.igc import MemorySigner, TestPki, ec_signer

NOW = datetime(2026, 4, 3, 15, 33, 7, 654321, tzinfo=UTC)
GOOD, REVOKED, UNKNOWN = 0x1001, 0x1002, 0x1003
CA = CaName.ACI_EL_ORG
SHA1 = hashes.SHA1()  # noqa: S303  (it names an issuer and protects nothing)
#: Where, in a short request, requestList and its one Request begin.
_REQUEST_LIST, _REQUEST = 4, 6


class Book:
    """What the CAs say; counts the look-ups."""

    def __init__(self) -> None:
        self.statuses = {
            GOOD: CertificateStatus(Status.GOOD),
            REVOKED: CertificateStatus(
                Status.REVOKED, datetime(2026, 4, 1, tzinfo=UTC), RevocationReason.KEY_COMPROMISE
            ),
        }
        self.asked = 0
        self.during: Callable[[], None] = lambda: None

    async def look_up(self, _: CaName, serial: int) -> CertificateStatus:
        self.asked += 1
        status = self.statuses.get(serial, CertificateStatus(Status.UNKNOWN))
        self.during()
        return status


@pytest.fixture
def book() -> Book:
    return Book()


@pytest.fixture(params=["rsa", "ec"])
async def service(request: pytest.FixtureRequest, pki: TestPki, ec_pki: TestPki, book: Book) -> OcspService:
    used = pki if request.param == "rsa" else ec_pki
    return await _service(used, book.look_up)


async def _service(
    pki: TestPki,
    lookup: Callable[[CaName, int], Awaitable[CertificateStatus]],
    *,
    key: MemorySigner | None = None,
) -> OcspService:
    builder = HierarchyBuilder(pki.policy, pki.linter)
    signer = key or ec_signer()
    responders = {
        name: Responder(
            pki.authorities[name],
            await builder.responder_certificate(pki.authorities[name], signer.public_key, NOW),
            signer,
        )
        for name in (CA, CaName.ACR_EL)
    }
    return OcspService(pki.policy, responders, lookup)


@pytest.fixture
def issuer(request: pytest.FixtureRequest, pki: TestPki, ec_pki: TestPki) -> x509.Certificate:
    used = ec_pki if "ec" in request.node.callspec.id else pki
    return used.authorities[CA].certificate


def ask(
    issuer: x509.Certificate,
    serial: int,
    *,
    algorithm: hashes.HashAlgorithm | None = None,
    nonce: bytes | None = None,
) -> bytes:
    """Return a request for one serial."""
    algorithm = algorithm or SHA1
    name = ocspwire.HashAlgorithm[algorithm.name.upper()]
    key = next(k for k in ocspwire.issuer_keys(issuer) if k.algorithm is name)
    builder = ocsp.OCSPRequestBuilder().add_certificate_by_hash(
        key.name_hash, key.key_hash, serial, algorithm
    )
    if nonce is not None:
        builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
    return builder.build().public_bytes(Encoding.DER)


def together(*requests: bytes) -> bytes:
    """Return one request for what several short requests ask."""
    return der.sequence(der.sequence(der.sequence(*(request[_REQUEST:] for request in requests))))


def status_of(body: bytes) -> ocsp.OCSPResponseStatus:
    return ocsp.load_der_ocsp_response(body).response_status


@pytest.mark.parametrize("algorithm", [SHA1, hashes.SHA256(), hashes.SHA384(), hashes.SHA512()])
async def test_a_good_serial_is_good_under_every_hash(
    service: OcspService, issuer: x509.Certificate, algorithm: hashes.HashAlgorithm
) -> None:
    reply = await service.answer_post(ask(issuer, GOOD, algorithm=algorithm), NOW)
    response = ocsp.load_der_ocsp_response(reply.body)
    assert response.certificate_status is ocsp.OCSPCertStatus.GOOD
    assert response.serial_number == GOOD
    assert response.this_update_utc == NOW.replace(microsecond=0)
    assert response.next_update_utc == NOW.replace(microsecond=0) + timedelta(hours=1)
    assert response.produced_at_utc == NOW.replace(microsecond=0)


async def test_a_response_is_signed_by_the_delegated_responder(
    service: OcspService, issuer: x509.Certificate
) -> None:
    response = ocsp.load_der_ocsp_response((await service.answer_post(ask(issuer, GOOD), NOW)).body)
    (certificate,) = response.certificates
    certificate.verify_directly_issued_by(issuer)
    key = certificate.public_key()
    assert verifies(key, response.signature, response.tbs_response_bytes)  # type: ignore[arg-type]
    identifier = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    assert response.responder_key_hash == identifier
    assert response.responder_name is None


async def test_a_revoked_serial_says_since_when_and_why(
    service: OcspService, issuer: x509.Certificate
) -> None:
    response = ocsp.load_der_ocsp_response((await service.answer_post(ask(issuer, REVOKED), NOW)).body)
    assert response.certificate_status is ocsp.OCSPCertStatus.REVOKED
    assert response.revocation_time_utc == datetime(2026, 4, 1, tzinfo=UTC)
    assert response.revocation_reason is x509.ReasonFlags.key_compromise


async def test_the_reason_unspecified_is_left_out(
    service: OcspService, issuer: x509.Certificate, book: Book
) -> None:
    book.statuses[GOOD] = CertificateStatus(Status.REVOKED, NOW)
    response = ocsp.load_der_ocsp_response((await service.answer_post(ask(issuer, GOOD), NOW)).body)
    assert response.revocation_reason is None


async def test_a_serial_never_issued_is_unknown(service: OcspService, issuer: x509.Certificate) -> None:
    response = ocsp.load_der_ocsp_response((await service.answer_post(ask(issuer, UNKNOWN), NOW)).body)
    assert response.certificate_status is ocsp.OCSPCertStatus.UNKNOWN


async def test_several_serials_are_answered_in_one_response(
    service: OcspService, issuer: x509.Certificate
) -> None:
    request = together(ask(issuer, GOOD), ask(issuer, REVOKED), ask(issuer, UNKNOWN))
    response = ocsp.load_der_ocsp_response((await service.answer_post(request, NOW)).body)
    assert [(one.serial_number, one.certificate_status) for one in response.responses] == [
        (GOOD, ocsp.OCSPCertStatus.GOOD),
        (REVOKED, ocsp.OCSPCertStatus.REVOKED),
        (UNKNOWN, ocsp.OCSPCertStatus.UNKNOWN),
    ]
    (certificate,) = response.certificates
    assert verifies(certificate.public_key(), response.signature, response.tbs_response_bytes)  # type: ignore[arg-type]


@pytest.mark.parametrize("length", [1, 16, 32, 128])
async def test_a_nonce_is_echoed_and_its_answer_is_not_cacheable(
    service: OcspService, issuer: x509.Certificate, book: Book, length: int
) -> None:
    request = ask(issuer, GOOD, nonce=bytes(range(length)))
    reply = await service.answer_post(request, NOW)
    response = ocsp.load_der_ocsp_response(reply.body)
    assert response.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce == bytes(range(length))
    assert (reply.max_age, reply.etag) == (None, None)
    await service.answer_post(request, NOW)
    assert book.asked == 2


@pytest.mark.parametrize("length", [0, 129])
async def test_a_nonce_of_a_wrong_length_is_malformed(
    service: OcspService, issuer: x509.Certificate, length: int
) -> None:
    reply = await service.answer_post(ask(issuer, GOOD, nonce=bytes(length)), NOW)
    assert status_of(reply.body) is ocsp.OCSPResponseStatus.MALFORMED_REQUEST


async def test_an_answer_is_kept_until_the_cas_data_change(
    service: OcspService, issuer: x509.Certificate, book: Book
) -> None:
    first = await service.answer_post(ask(issuer, GOOD), NOW)
    assert (await service.answer_post(ask(issuer, GOOD), NOW + timedelta(minutes=10))).body == first.body
    assert book.asked == 1
    book.statuses[GOOD] = book.statuses[REVOKED]
    service.invalidate(CaName.ACR_EL)
    assert (await service.answer_post(ask(issuer, GOOD), NOW)).body == first.body
    service.invalidate(CA)
    response = ocsp.load_der_ocsp_response((await service.answer_post(ask(issuer, GOOD), NOW)).body)
    assert response.certificate_status is ocsp.OCSPCertStatus.REVOKED


async def test_an_answer_is_signed_anew_once_half_its_validity_is_over(
    service: OcspService, issuer: x509.Certificate, book: Book
) -> None:
    await service.answer_post(ask(issuer, GOOD), NOW)
    later = await service.answer_post(ask(issuer, GOOD), NOW + timedelta(minutes=31))
    assert book.asked == 2
    assert later.max_age == 3599


async def test_a_revocation_during_an_answer_is_not_hidden_by_the_cache(
    service: OcspService, issuer: x509.Certificate, book: Book
) -> None:
    def revoke() -> None:
        book.statuses[GOOD] = book.statuses[REVOKED]
        service.invalidate(CA)

    book.during = revoke
    await service.answer_post(ask(issuer, GOOD), NOW)
    response = ocsp.load_der_ocsp_response((await service.answer_post(ask(issuer, GOOD), NOW)).body)
    assert response.certificate_status is ocsp.OCSPCertStatus.REVOKED


async def test_a_cacheable_answer_carries_the_values_of_its_headers(
    service: OcspService, issuer: x509.Certificate
) -> None:
    reply = await service.answer_post(ask(issuer, GOOD), NOW)
    assert reply.last_modified == NOW.replace(microsecond=0)
    assert reply.expires == NOW.replace(microsecond=0) + timedelta(hours=1)
    assert reply.max_age == 3599
    assert reply.etag is not None
    assert reply.etag.startswith('"')
    later = await service.answer_post(ask(issuer, GOOD), NOW + timedelta(minutes=10))
    assert (later.etag, later.max_age) == (reply.etag, 2999)


async def test_a_get_request_may_be_percent_encoded_or_not(
    service: OcspService, issuer: x509.Certificate
) -> None:
    encoded = base64.b64encode(ask(issuer, GOOD)).decode()
    for path in (encoded, quote(encoded, safe="")):
        reply = await service.answer_get(path, NOW)
        assert status_of(reply.body) is ocsp.OCSPResponseStatus.SUCCESSFUL


@pytest.mark.parametrize("path", ["", "%", "====", "é", "AAAA", "MAMCAQE", "A" * 100_000])
async def test_a_get_request_that_is_no_request_is_malformed(service: OcspService, path: str) -> None:
    reply = await service.answer_get(path, NOW)
    assert status_of(reply.body) is ocsp.OCSPResponseStatus.MALFORMED_REQUEST


async def test_a_foreign_issuer_is_unauthorized(
    service: OcspService, pki: TestPki, ec_pki: TestPki, issuer: x509.Certificate
) -> None:
    foreign = next(p for p in (pki, ec_pki) if p.authorities[CA].certificate != issuer)
    reply = await service.answer_post(ask(foreign.authorities[CA].certificate, GOOD), NOW)
    assert status_of(reply.body) is ocsp.OCSPResponseStatus.UNAUTHORIZED


async def test_two_cas_in_one_request_are_unauthorized(pki: TestPki, book: Book) -> None:
    service = await _service(pki, book.look_up)
    request = together(*(ask(pki.authorities[name].certificate, GOOD) for name in (CA, CaName.ACR_EL)))
    assert status_of((await service.answer_post(request, NOW)).body) is ocsp.OCSPResponseStatus.UNAUTHORIZED


async def test_a_request_that_is_too_long_is_malformed(pki: TestPki, book: Book) -> None:
    service = await _service(pki, book.look_up)
    reply = await service.answer_post(bytes(MAX_REQUEST_BYTES + 1), NOW)
    assert status_of(reply.body) is ocsp.OCSPResponseStatus.MALFORMED_REQUEST


async def test_too_many_certificates_are_malformed(pki: TestPki, book: Book) -> None:
    service = await _service(pki, book.look_up)
    request = together(*(ask(pki.authorities[CA].certificate, serial) for serial in range(1, 34)))
    reply = await service.answer_post(request, NOW)
    assert status_of(reply.body) is ocsp.OCSPResponseStatus.MALFORMED_REQUEST


async def test_an_unknown_critical_extension_is_malformed(pki: TestPki, book: Book) -> None:
    service = await _service(pki, book.look_up)
    builder = ocsp.OCSPRequestBuilder().add_certificate(
        pki.authorities[CA].certificate, pki.authorities[CaName.ACR_EL].certificate, SHA1
    )
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
    for critical, status in (
        (True, ocsp.OCSPResponseStatus.MALFORMED_REQUEST),
        (False, ocsp.OCSPResponseStatus.SUCCESSFUL),
    ):
        request = builder.add_extension(unknown, critical=critical).build().public_bytes(Encoding.DER)
        assert status_of((await service.answer_post(request, NOW)).body) is status


async def test_a_part_that_is_down_is_answered_try_later(pki: TestPki) -> None:
    async def down(_: CaName, __: int) -> CertificateStatus:
        raise UnavailableError(Text("The token is away.", "Le jeton est absent."))

    service = await _service(pki, down)
    reply = await service.answer_post(ask(pki.authorities[CA].certificate, GOOD), NOW)
    assert status_of(reply.body) is ocsp.OCSPResponseStatus.TRY_LATER
    assert reply.max_age is None


async def test_a_renewed_responder_answers_at_once(pki: TestPki, book: Book) -> None:
    service = await _service(pki, book.look_up)
    request = ask(pki.authorities[CA].certificate, GOOD)
    await service.answer_post(request, NOW)
    signer = ec_signer()
    builder = HierarchyBuilder(pki.policy, pki.linter)
    renewed = await builder.responder_certificate(pki.authorities[CA], signer.public_key, NOW)
    service.replace(Responder(pki.authorities[CA], renewed, signer))
    response = ocsp.load_der_ocsp_response((await service.answer_post(request, NOW)).body)
    assert response.certificates == [renewed]


def _requestor(name: bytes) -> bytes:
    return der.tlv(0xA1, name)


@pytest.mark.parametrize(
    "requestor",
    [der.tlv(0x82, b"client.example"), der.tlv(0xA4, der.sequence()), der.tlv(0x81, b"a@b.example")],
    ids=["dNSName", "directoryName", "rfc822Name"],
)
def test_a_signed_request_with_a_name_is_read_and_its_signature_passed_over(
    pki: TestPki, requestor: bytes
) -> None:
    plain = ask(pki.authorities[CA].certificate, GOOD)
    listed = plain[_REQUEST_LIST:]
    signature = der.tlv(0xA0, der.sequence(der.sequence(), der.tlv(der.TAG_BIT_STRING, b"\0sig")))
    request = der.sequence(der.sequence(_requestor(requestor), listed), signature)
    assert ocspwire.parse_request(request, limit=1000) == ocspwire.parse_request(plain, limit=1000)


@given(garbage=st.binary(max_size=300))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_garbage_is_malformed_and_nothing_else(garbage: bytes) -> None:
    with pytest.raises(ocspwire.MalformedRequestError):
        ocspwire.parse_request(garbage, limit=1000)


@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
def test_a_damaged_request_is_read_or_malformed(pki: TestPki, data: st.DataObject) -> None:
    request = bytearray(ask(pki.authorities[CA].certificate, GOOD, nonce=b"nonce"))
    position = data.draw(st.integers(0, len(request) - 1))
    request[position] ^= data.draw(st.integers(1, 255))
    try:
        ocspwire.parse_request(bytes(request), limit=1000)
    except ocspwire.MalformedRequestError:
        return


def test_a_response_of_one_certificate_keeps_the_librarys_encoding(pki: TestPki) -> None:
    certificate = pki.authorities[CA].certificate
    key = next(iter(ocspwire.issuer_keys(certificate)))
    whole = (
        ocsp.OCSPResponseBuilder()
        .add_response_by_hash(
            key.name_hash, key.key_hash, 5, SHA1, ocsp.OCSPCertStatus.GOOD, NOW, NOW, None, None
        )
        .responder_id(ocsp.OCSPResponderEncoding.HASH, certificate)
        .sign(pki.authorities[CA].signer.key, hashes.SHA256())  # type: ignore[attr-defined]
    )
    merged = ocspwire.UnsignedResponse.merge([whole.public_bytes(Encoding.DER)], whole.produced_at_utc)
    assert merged.to_be_signed == whole.tbs_response_bytes
    assert merged.signed(whole.signature) == whole.public_bytes(Encoding.DER)
