"""OpenSSL's judgement of what the test PKI makes."""

import asyncio
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from cardd.clock import SystemClock
from cardd.igc import chain
from cardd.igc.answerers import CertificateStatus, Responder, Status
from cardd.igc.crl import CrlBuilder, Entries, RevocationReason, SignedCrl, encode_entry
from cardd.igc.hierarchy import HierarchyBuilder
from cardd.igc.issuing import IssuedCertificate
from cardd.igc.lint import Linter
from cardd.igc.names import CaName
from cardd.igc.ocsp import OcspService
from cardd.igc.profiles import ProfileName
from tests.support.igc import TestPki, build_pki, ec_signer, policy_for_tests, request_for, rsa_signer

pytestmark = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="the openssl command is not installed"
)

ROOT, CA = CaName.ACR_EL, CaName.ACI_EL_ORG


@dataclass
class Bench:
    """A PKI of this moment and a directory of files for OpenSSL."""

    pki: TestPki
    now: datetime
    directory: Path

    def file(self, name: str, contents: bytes) -> str:
        path = self.directory / name
        path.write_bytes(contents)
        return str(path)

    def pem(self, name: str, certificate: x509.Certificate) -> str:
        return self.file(name, certificate.public_bytes(Encoding.PEM))

    def crl(self, name: str, signed: SignedCrl) -> str:
        return self.file(name, x509.load_der_x509_crl(signed.der).public_bytes(Encoding.PEM))

    async def leaf(self, profile: ProfileName = ProfileName.ORG_AUTH_CLI) -> IssuedCertificate:
        return await self.pki.issuer.issue(request_for(profile, rsa_signer().public_key), self.now)

    def lists(self) -> CrlBuilder:
        return CrlBuilder(self.pki.policy, self.pki.linter)


@pytest.fixture(scope="module")
def pki() -> Iterator[TestPki]:
    linter = Linter()
    yield build_pki(policy_for_tests(), linter, dict.fromkeys(CaName, rsa_signer()), SystemClock().now())
    asyncio.run(linter.close())


@pytest.fixture
def bench(pki: TestPki, tmp_path: Path) -> Bench:
    return Bench(pki, SystemClock().now(), tmp_path)


async def openssl(*arguments: str) -> str:
    """Run openssl and return all it says."""
    run = await asyncio.to_thread(
        subprocess.run, ["openssl", *arguments], capture_output=True, text=True, timeout=30, check=False
    )
    return run.stdout + run.stderr


async def verify(bench: Bench, leaf: IssuedCertificate, *lists: SignedCrl) -> str:
    """Verify a leaf with complete lists and deltas of both its CAs."""
    files = [option for i, one in enumerate(lists) for option in ("-CRLfile", bench.crl(f"{i}.crl", one))]
    return await openssl(
        "verify", "-x509_strict", "-crl_check_all", "-use_deltas", "-extended_crl", *files,
        "-CAfile", bench.pem("root.pem", bench.pki.authorities[ROOT].certificate),
        "-untrusted", bench.pem("ca.pem", bench.pki.authorities[CA].certificate),
        bench.pem("leaf.pem", x509.load_der_x509_certificate(leaf.der)),
    )  # fmt: skip


async def test_openssl_follows_complete_lists_and_deltas(bench: Bench) -> None:
    lists, ca = bench.lists(), bench.pki.authorities[CA]
    leaf, other = await bench.leaf(), await bench.leaf()
    root_list = await lists.complete(bench.pki.authorities[ROOT], 1, Entries(), bench.now)
    base = await lists.complete(ca, 7, Entries(), bench.now)
    empty = await lists.delta(ca, 7, 7, Entries(), bench.now)
    assert "leaf.pem: OK" in await verify(bench, leaf, root_list, base, empty)
    entry = encode_entry(leaf.serial, bench.now, RevocationReason.CESSATION_OF_OPERATION)
    delta = await lists.delta(ca, 8, 7, Entries(more=[entry]), bench.now)
    assert "certificate revoked" in await verify(bench, leaf, root_list, base, delta)
    assert "leaf.pem: OK" in await verify(bench, other, root_list, base, delta)
    complete = await lists.complete(ca, 8, Entries(more=[entry]), bench.now)
    assert "certificate revoked" in await verify(bench, leaf, root_list, complete, delta)


@pytest.mark.parametrize("profile", [ProfileName.SERV_SSL_SERV, ProfileName.ORG_SIGN, ProfileName.SERV_SMIME])
async def test_openssl_accepts_other_profiles_strictly(bench: Bench, profile: ProfileName) -> None:
    lists = bench.lists()
    both = [await lists.complete(bench.pki.authorities[name], 1, Entries(), bench.now) for name in (ROOT, CA)]
    assert "leaf.pem: OK" in await verify(bench, await bench.leaf(profile), *both)


async def test_openssl_notices_a_list_past_its_next_update(bench: Bench) -> None:
    lists = bench.lists()
    root_list = await lists.complete(bench.pki.authorities[ROOT], 1, Entries(), bench.now)
    old = await lists.complete(bench.pki.authorities[CA], 1, Entries(), bench.now - timedelta(days=8))
    assert "CRL has expired" in await verify(bench, await bench.leaf(), root_list, old)


@pytest.mark.parametrize("nonce", ["-nonce", "-no_nonce"])
@pytest.mark.parametrize("digest", ["-sha1", "-sha256"])
async def test_openssl_believes_the_ocsp_responder(bench: Bench, digest: str, nonce: str) -> None:
    ca = bench.pki.authorities[CA]
    good, revoked = await bench.leaf(), await bench.leaf()

    async def look_up(_: CaName, serial: int) -> CertificateStatus:
        if serial == revoked.serial:
            return CertificateStatus(Status.REVOKED, bench.now, RevocationReason.KEY_COMPROMISE)
        return CertificateStatus(Status.GOOD)

    signer = ec_signer()
    builder = HierarchyBuilder(bench.pki.policy, bench.pki.linter)
    delegated = await builder.responder_certificate(ca, signer.public_key, bench.now)
    service = OcspService(bench.pki.policy, {CA: Responder(ca, delegated, signer)}, look_up)

    asked = [digest, "-issuer", bench.pem("ca.pem", ca.certificate)]
    for name, leaf in (("good.pem", good), ("revoked.pem", revoked)):
        asked += ["-cert", bench.pem(name, x509.load_der_x509_certificate(leaf.der))]
    request = bench.directory / "request.der"
    await openssl("ocsp", nonce, *asked, "-reqout", str(request))
    reply = await service.answer_post(request.read_bytes(), bench.now)
    # The nonce of the request is compared with the response's; without -no_nonce it would be drawn anew.
    said = await openssl(
        "ocsp", "-no_nonce", "-reqin", str(request), *asked, "-respin", bench.file("response.der", reply.body),
        "-CAfile", bench.pem("root.pem", bench.pki.authorities[ROOT].certificate),
    )  # fmt: skip
    assert "Response verify OK" in said
    assert "good.pem: good" in said
    assert "revoked.pem: revoked" in said
    assert "Reason: keyCompromise" in said


async def test_openssl_reads_the_published_chain(bench: Bench) -> None:
    encoded = chain.p7b(chain.every_authority(bench.pki.authorities))
    path = bench.file("chain.p7b", encoded)
    said = await openssl("pkcs7", "-inform", "DER", "-in", path, "-print_certs", "-noout")
    assert said.count("subject=") == 9
    assert "CN = TEST AC IGC-SANTE ELEMENTAIRE ORGANISATIONS" in said
