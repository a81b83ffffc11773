"""OCSP from lists of others: a foreign PKI's certificates, asked about as OpenSSL and `cryptography` do."""

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.ocsp import OCSPCertStatus, OCSPResponseStatus
from cryptography.x509.oid import ExtendedKeyUsageOID

from cardd.clock import ManualClock, SystemClock
from cardd.igc.answerers import CertificateStatus, Status
from cardd.igc.hierarchy import HierarchyBuilder
from cardd.igc.listocsp import ListIssuers, ListOcsp
from cardd.igc.listresponder import ListResponder
from cardd.igc.names import LIST_RESPONDER_ISSUER, CaName
from cardd.igc.ocsp import OcspReply, OcspService
from cardd.igc.ocspwire import issuer_keys
from cardd.revocation.names import spki_sha256
from cardd.revocation.policies import FRESHNESS_POLICIES
from cardd.revocation.types import CrlRequest, Freshness
from cardd.settings import RevocationSettings
from tests.support.igc import ec_signer, policy_for_tests, quick_pki
from tests.support.revocation import Bench, Ca, SigningKey, bench, ec_key, entry
from tests.support.softpki import opened_pki

pytest.importorskip(
    "certomancer", reason="the foreign PKI needs the package certomancer: pip install certomancer"
)

from tests.support.foreignpki import ForeignPki, foreign_pki

SUCCESSFUL, UNAUTHORIZED = OCSPResponseStatus.SUCCESSFUL, OCSPResponseStatus.UNAUTHORIZED
HOUR = timedelta(hours=1)


@dataclass
class Desk:
    """A cache of lists, and a responder whose key is in memory over it."""

    service: OcspService
    lists: Bench
    certificate: x509.Certificate

    @property
    def now(self) -> datetime:
        return self.lists.clock.now()

    async def ask(self, request: bytes) -> OcspReply:
        return await self.service.answer_post(request, self.now)

    async def said(
        self, issuer: x509.Certificate, serial: int, nonce: bytes | None = None
    ) -> ocsp.OCSPResponse:
        """Return the response about a serial."""
        return ocsp.load_der_ocsp_response((await self.ask(asked(issuer, serial, nonce))).body)

    async def status(self, issuer: x509.Certificate, serial: int) -> OCSPCertStatus | OCSPResponseStatus:
        """Return what is said of a serial, or why nothing is."""
        response = await self.said(issuer, serial)
        if response.response_status is not SUCCESSFUL:
            return response.response_status
        return response.certificate_status


def asked(issuer: x509.Certificate, serial: int, nonce: bytes | None = None) -> bytes:
    """Return a request about a serial, in RFC 5019's form where it has no nonce."""
    key = next(issuer_keys(issuer))
    builder = ocsp.OCSPRequestBuilder().add_certificate_by_hash(
        key.name_hash,
        key.key_hash,
        serial,
        hashes.SHA1(),  # noqa: S303 (it names an issuer and protects nothing)
    )
    if nonce is not None:
        builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
    return builder.build().public_bytes(Encoding.DER)


@pytest.fixture(scope="module")
def responder() -> Iterator[ListResponder]:
    with quick_pki() as pki:
        signer, now = ec_signer(), SystemClock().now()
        builder = HierarchyBuilder(pki.policy, pki.linter)
        making = builder.list_responder_certificate(
            pki.authorities[LIST_RESPONDER_ISSUER], signer.public_key, now
        )
        yield ListResponder(asyncio.run(making), signer)


async def _nothing_issued(_: CaName, __: int) -> CertificateStatus:
    return CertificateStatus(Status.UNKNOWN)


@asynccontextmanager
async def _desk(directory: Path, responder: ListResponder, policy: str = "standard") -> AsyncIterator[Desk]:
    """Answer for every CA whose list is kept, from this moment on."""
    clock = ManualClock(SystemClock().now().replace(microsecond=0))
    options: dict[str, Any] = {"policy": FRESHNESS_POLICIES[policy], "private": lambda _: False}
    async with bench(directory, clock=clock, **options) as lists:
        service = OcspService(policy_for_tests(), {}, _nothing_issued)
        service.answer_for(ListIssuers(lists.cache, responder, None, HOUR))
        yield Desk(service, lists, responder.certificate)


@pytest.fixture
async def desk(tmp_path: Path, responder: ListResponder) -> AsyncIterator[Desk]:
    async with _desk(tmp_path / "cache", responder) as found:
        yield found


@pytest.fixture
async def foreign(tmp_path: Path, desk: Desk) -> ForeignPki:
    """The foreign PKI, whose lists are kept: a complete one and one split by reasons of a CA, an indirect one."""
    made = foreign_pki(tmp_path, desk.lists.server.base)
    for label, signer, others in (
        ("whole", "direct", ()),
        ("by-key", "direct", ()),
        ("indirect", "signer", (made.pem("other"),)),
    ):
        content = made.whole_crl(desk.now) if label == "whole" else made.crl(label, desk.now)
        url = desk.lists.server.on(f"/{label}", content)
        view = await desk.lists.cache.add(
            CrlRequest(issuer_certificate=made.pem(signer), url=url, certificate_issuers=others)
        )
        assert (await desk.lists.settle(view.id)).state is Freshness.FRESH
    return made


async def _keep(desk: Desk, ca: Ca, content: bytes) -> str:
    """Keep a list; return its identifier."""
    desk.lists.server.on("/list", content)
    return (await desk.lists.add("/list", ca=ca)).id


async def _replace(desk: Desk, source: str, content: bytes) -> None:
    """Publish another list in the place of one, and have it fetched."""
    desk.lists.server.on("/list", content)
    await desk.lists.cache.refresh(source)


async def test_an_issuer_of_which_no_list_is_kept_is_not_answered_for(desk: Desk) -> None:
    assert await desk.status(Ca("UNKNOWN", ec_key(3)).certificate, 1) is UNAUTHORIZED


async def test_a_list_that_is_removed_is_not_answered_from_any_more(desk: Desk) -> None:
    ca = Ca()
    source = await _keep(desk, ca, ca.crl(5, at=desk.now))
    assert await desk.status(ca.certificate, 5) is OCSPCertStatus.REVOKED
    await desk.lists.cache.remove(source)
    assert await desk.status(ca.certificate, 5) is UNAUTHORIZED


async def test_revocations_of_complete_split_and_indirect_lists_are_told_with_reason_and_time(
    desk: Desk, foreign: ForeignPki
) -> None:
    for label, issuer, reason in (
        ("revoked", "direct", x509.ReasonFlags.superseded),
        ("split-revoked", "direct", x509.ReasonFlags.key_compromise),
        ("indirect-revoked", "other", x509.ReasonFlags.affiliation_changed),
    ):
        serial = foreign.certificate(label).serial_number
        response = await desk.said(foreign.certificate(issuer), serial)
        assert response.certificate_status is OCSPCertStatus.REVOKED, label
        assert response.revocation_reason is reason, label
        assert response.revocation_time_utc == datetime.fromisoformat("2026-01-15T00:00:00+00:00"), label


async def test_the_same_serial_of_another_issuer_is_not_confused(desk: Desk, foreign: ForeignPki) -> None:
    """1001 is good of `direct` and revoked of `other`; the lists of `other` all have distribution points."""
    assert await desk.status(foreign.certificate("direct"), 1001) is OCSPCertStatus.GOOD
    assert await desk.status(foreign.certificate("other"), 1001) is OCSPCertStatus.REVOKED
    assert await desk.status(foreign.certificate("other"), 1002) is OCSPCertStatus.UNKNOWN


@pytest.mark.skipif(shutil.which("openssl") is None, reason="the openssl command is not installed")
@pytest.mark.parametrize("nonce", ["-nonce", "-no_nonce"])
async def test_openssl_believes_the_responder_where_its_certificate_is_given(
    desk: Desk, foreign: ForeignPki, tmp_path: Path, nonce: str
) -> None:
    responder = _written(tmp_path / "responder.pem", desk.certificate)
    options = ["-sha256", "-issuer", _written(tmp_path / "ca.pem", foreign.certificate("direct"))]
    for label in ("good", "revoked"):
        options += ["-cert", _written(tmp_path / f"{label}.pem", foreign.certificate(label))]
    request, response = tmp_path / "request.der", tmp_path / "response.der"
    await _openssl("ocsp", nonce, *options, "-reqout", str(request))
    response.write_bytes((await desk.ask(request.read_bytes())).body)
    reading = ["ocsp", "-no_nonce", "-reqin", str(request), *options, "-respin", str(response)]
    said = await _openssl(*reading, "-VAfile", responder)
    assert "Response verify OK" in said
    assert "good.pem: good" in said
    assert "revoked.pem: revoked" in said
    assert "Reason: superseded" in said
    root = _written(tmp_path / "root.pem", foreign.certificate("root"))
    assert "Response Verify Failure" in await _openssl(*reading, "-CAfile", root)


async def test_its_key_signs_what_goes_with_the_nonce_that_was_asked(desk: Desk, foreign: ForeignPki) -> None:
    response = await desk.said(foreign.certificate("direct"), 1001, nonce=b"0123456789abcdef")
    assert response.certificates == [desk.certificate]
    key = desk.certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    key.verify(response.signature, response.tbs_response_bytes, ec.ECDSA(hashes.SHA256()))
    assert response.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce == b"0123456789abcdef"


@pytest.mark.usefixtures("each_store")
async def test_the_settings_say_for_whom_is_answered_and_the_responder_stays_the_same(tmp_path: Path) -> None:
    """On a real SoftHSM: off at first, all, one, off; at the next start the key and the certificate are there."""
    clock = ManualClock(SystemClock().now().replace(microsecond=0))
    one, two = Ca("ONE", ec_key(1)), Ca("TWO", ec_key(2))
    (tmp_path / "pki").mkdir()
    found: list[x509.Certificate | None] = []
    async with bench(tmp_path / "cache", clock=clock) as lists:
        for path, ca in (("/1", one), ("/2", two)):
            lists.server.on(path, ca.crl(5, at=clock.now()))
            await lists.add(path, ca=ca)
        for _ in range(2):
            async with opened_pki(tmp_path / "pki", clock) as (pki, _store):
                assert isinstance(pki.ocsp, OcspService)
                listed = ListOcsp(pki, lists.cache)

                async def said(service: OcspService = pki.ocsp) -> list[object]:
                    replies = [
                        await service.answer_post(asked(ca.certificate, 5), clock.now()) for ca in (one, two)
                    ]
                    return [ocsp.load_der_ocsp_response(reply.body).response_status for reply in replies]

                assert await said() == [UNAUTHORIZED, UNAUTHORIZED]
                assert listed.certificate is None
                await listed.take_settings(RevocationSettings(ocsp="all"))
                assert await said() == [SUCCESSFUL, SUCCESSFUL]
                found.append(listed.certificate)
                await listed.take_settings(RevocationSettings(ocsp=spki_sha256(two.certificate)))
                assert await said() == [UNAUTHORIZED, SUCCESSFUL]
                await listed.take_settings(RevocationSettings())
                assert await said() == [UNAUTHORIZED, UNAUTHORIZED]
                authority = pki.authorities[LIST_RESPONDER_ISSUER].certificate
    certificate = found[0]
    assert certificate is not None
    assert found[1] == certificate
    certificate.verify_directly_issued_by(authority)
    assert certificate.not_valid_after_utc == authority.not_valid_after_utc
    purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(purposes) == [ExtendedKeyUsageOID.OCSP_SIGNING]


async def test_a_response_says_no_more_than_its_list_and_is_signed_once_until_the_list_changes(
    desk: Desk,
) -> None:
    ca, published = Ca(), desk.now
    source = await _keep(desk, ca, ca.crl(at=published, validity=timedelta(hours=40)))
    desk.lists.clock.advance(timedelta(minutes=7))
    request = asked(ca.certificate, 5)
    first = await desk.ask(request)
    response = ocsp.load_der_ocsp_response(first.body)
    assert response.certificate_status is OCSPCertStatus.GOOD
    assert response.this_update_utc == published
    assert response.next_update_utc == desk.now + HOUR
    assert response.produced_at_utc == desk.now
    assert (first.last_modified, first.expires, first.max_age) == (published, desk.now + HOUR, 3600)
    desk.lists.clock.advance(timedelta(minutes=20))
    assert (await desk.ask(request)).body == first.body
    assert (await desk.ask(request)).max_age == 2400

    await _replace(desk, source, ca.crl(5, number=2, at=desk.now, validity=timedelta(hours=40)))
    response = ocsp.load_der_ocsp_response((await desk.ask(request)).body)
    assert response.certificate_status is OCSPCertStatus.REVOKED
    assert response.this_update_utc == desk.now


async def test_a_response_never_outlives_its_list_and_none_is_made_from_a_list_that_is_over(
    desk: Desk,
) -> None:
    ca, published = Ca(), desk.now
    await _keep(desk, ca, ca.crl(5, at=published, validity=HOUR * 2))
    desk.lists.clock.advance(timedelta(minutes=110))
    for serial in (5, 6):
        response = await desk.said(ca.certificate, serial)
        assert response.next_update_utc == published + HOUR * 2
    for _ in range(2):
        desk.lists.clock.advance(timedelta(minutes=10))
        for serial in (5, 6):
            assert await desk.status(ca.certificate, serial) is OCSPResponseStatus.TRY_LATER


@pytest.mark.parametrize("policy", ["grace", "warn"])
async def test_an_expired_list_gives_no_response_under_the_mildest_policy_either(
    tmp_path: Path, responder: ListResponder, policy: str
) -> None:
    """Applications are told `good` with the label `expired`; a response could not bear the label."""
    async with _desk(tmp_path, responder, policy) as desk:
        ca = desk.lists.ca
        await _keep(desk, ca, ca.crl(at=desk.now, validity=HOUR))
        desk.lists.clock.advance(HOUR)
        assert desk.lists.ask(7, policy=policy).status == "good"
        assert await desk.status(ca.certificate, 7) is OCSPResponseStatus.TRY_LATER


@pytest.mark.parametrize(
    ("policy", "expected"),
    [("standard", OCSPCertStatus.GOOD), ("strict", OCSPResponseStatus.TRY_LATER)],
)
async def test_a_stale_list_is_answered_from_where_the_settings_policy_takes_it(
    tmp_path: Path, responder: ListResponder, policy: str, expected: object
) -> None:
    async with _desk(tmp_path, responder, policy) as desk:
        ca = desk.lists.ca
        await _keep(desk, ca, ca.crl(5, at=desk.now))
        desk.lists.clock.advance(timedelta(days=6.9))
        assert desk.lists.ask(7).freshness is Freshness.STALE
        assert await desk.status(ca.certificate, 7) is expected
        assert await desk.status(ca.certificate, 5) is OCSPCertStatus.REVOKED


async def test_a_list_that_could_not_be_fetched_yet_gives_no_answer_now(desk: Desk) -> None:
    ca = Ca()
    await _keep(desk, ca, b"no list")
    assert await desk.status(ca.certificate, 1) is OCSPResponseStatus.TRY_LATER


async def test_a_delta_counts_while_it_is_in_force(desk: Desk) -> None:
    ca, base_at = Ca(), desk.now
    hold = x509.CRLReason(x509.ReasonFlags.certificate_hold)
    lifted = x509.CRLReason(x509.ReasonFlags.remove_from_crl)
    desk.lists.server.on("/list", ca.crl(number=1, at=base_at, entries=[entry(8, hold)]))
    desk.lists.clock.advance(HOUR)
    delta = ca.crl(5, number=2, base=1, at=desk.now, validity=HOUR * 3, entries=[entry(8, lifted)])
    desk.lists.server.on("/delta", delta)
    delta_url = desk.lists.server.base + "/delta"
    assert (await desk.lists.add("/list", ca=ca, delta_urls=(delta_url,))).delta_number == 2
    response = await desk.said(ca.certificate, 5)
    assert response.certificate_status is OCSPCertStatus.REVOKED
    assert response.this_update_utc == desk.now
    assert await desk.status(ca.certificate, 8) is OCSPCertStatus.GOOD
    desk.lists.clock.advance(HOUR * 3)
    response = await desk.said(ca.certificate, 8)
    assert response.revocation_reason is x509.ReasonFlags.certificate_hold
    assert response.this_update_utc == base_at


async def test_cas_with_keys_of_every_kind_are_named_as_clients_name_them(desk: Desk) -> None:
    keys: tuple[SigningKey, ...] = (
        ed25519.Ed25519PrivateKey.generate(),
        ed448.Ed448PrivateKey.generate(),
        rsa.generate_private_key(public_exponent=65537, key_size=2048),
    )
    for number, key in enumerate(keys):
        ca = Ca(f"CA {number}", key)
        desk.lists.server.on(f"/{number}", ca.crl(5, at=desk.now, aki=key.public_key()))
        await desk.lists.add(f"/{number}", ca=ca)
        request = ocsp.OCSPRequestBuilder().add_certificate(ca.issue(5), ca.certificate, hashes.SHA256())
        reply = await desk.ask(request.build().public_bytes(Encoding.DER))
        assert ocsp.load_der_ocsp_response(reply.body).certificate_status is OCSPCertStatus.REVOKED


def _written(path: Path, certificate: x509.Certificate) -> str:
    path.write_bytes(certificate.public_bytes(Encoding.PEM))
    return str(path)


async def _openssl(*arguments: str) -> str:
    run = await asyncio.to_thread(
        subprocess.run, ["openssl", *arguments], capture_output=True, text=True, timeout=30, check=False
    )
    return run.stdout + run.stderr
