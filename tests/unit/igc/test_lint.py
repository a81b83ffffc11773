import asyncio
import multiprocessing
import signal
import subprocess
import sys
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from cardd.errors import UnavailableError
from cardd.igc import lint
from cardd.igc.errors import LintRefusedError
from cardd.igc.lint import Linter
from cardd.igc.names import CaName
from tests.support.igc import PREPARED, TestPki
from tests.support.softhsm import until


def _certificate(*extensions: x509.ExtensionType) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "lint")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(PREPARED)
        .not_valid_after(PREPARED + timedelta(days=1))
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(key, SHA256()).public_bytes(Encoding.DER)


def _points(url: str) -> x509.CRLDistributionPoints:
    return x509.CRLDistributionPoints(
        [x509.DistributionPoint([x509.UniformResourceIdentifier(url)], None, None, None)]
    )


async def _codes(linter: Linter, der: bytes) -> set[str]:
    try:
        await linter.check_certificate(der)
    except LintRefusedError as refused:
        return {finding["code"] for finding in refused.data["findings"]}
    return set()


async def test_a_certificate_of_the_hierarchy_passes(linter: Linter, pki: TestPki) -> None:
    await linter.check_certificate(pki.authorities[CaName.ACR_EL].certificate.public_bytes(Encoding.DER))


async def test_a_refusal_names_rule_place_and_severity(linter: Linter) -> None:
    with pytest.raises(LintRefusedError) as refused:
        await linter.check_certificate(_certificate(_points("http://")))
    finding = next(f for f in refused.value.data["findings"] if f["code"] == "pkix.invalid_uri_syntax")
    assert finding["severity"] == "ERROR"
    assert finding["path"].startswith("certificate.tbsCertificate.extensions")


@pytest.mark.parametrize("url", ["http://localhost/a.crl", "http://localhost:8980/CRL/ACR-EL-TEST.crl"])
async def test_localhost_is_the_one_host_name_without_a_dot_that_is_allowed(linter: Linter, url: str) -> None:
    assert "pkix.invalid_uri_syntax" not in await _codes(linter, _certificate(_points(url)))
    elsewhere = url.replace("localhost", "intranet")
    assert "pkix.invalid_uri_syntax" in await _codes(linter, _certificate(_points(elsewhere)))


@pytest.mark.parametrize("host", ["127.0.0.1:8980", "[::1]:8980", "pki.example"])
async def test_addresses_and_qualified_names_need_no_allowance(linter: Linter, host: str) -> None:
    found = await _codes(linter, _certificate(_points(f"http://{host}/CRL/ACR-EL-TEST.crl")))
    assert "pkix.invalid_uri_syntax" not in found


@pytest.mark.parametrize("url", ["http://localhost:x/a", "http://localhost/a b", "http://localhost@evil/"])
async def test_the_rest_of_an_address_at_localhost_is_still_checked(linter: Linter, url: str) -> None:
    assert "pkix.invalid_uri_syntax" in await _codes(linter, _certificate(_points(url)))


async def test_bytes_that_are_no_certificate_are_refused(linter: Linter) -> None:
    with pytest.raises(LintRefusedError):
        await linter.check_certificate(b"\x30\x03\x02\x01\x01")
    with pytest.raises(LintRefusedError):
        await linter.check_crl(b"garbage")


async def test_the_process_leaves_when_idle_and_comes_back_when_it_is_needed(pki: TestPki) -> None:
    linter = Linter(stays=0)
    der = pki.authorities[CaName.ACR_EL].certificate.public_bytes(Encoding.DER)
    try:
        for _ in range(2):
            assert await _codes(linter, der) == set()
            await until(lambda: not linter.present)
    finally:
        await linter.close()


async def test_a_linter_that_died_is_started_again(pki: TestPki) -> None:
    linter = Linter()
    der = pki.authorities[CaName.ACR_EL].certificate.public_bytes(Encoding.DER)
    try:
        others = set(multiprocessing.active_children())
        await linter.start()
        (process,) = set(multiprocessing.active_children()) - others
        process.kill()
        await asyncio.gather(*(linter.check_certificate(der) for _ in range(3)))
    finally:
        await linter.close()


async def test_a_linter_that_does_not_answer_signs_nothing(
    pki: TestPki, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lint, "_DEADLINE", 0.0)
    linter = Linter()
    try:
        with pytest.raises(UnavailableError):
            await linter.start()
    finally:
        await linter.close()


def test_the_linters_process_ends_with_a_daemon_that_is_killed() -> None:
    program = (
        "import asyncio, multiprocessing, os, signal\n"
        "from cardd.igc.lint import Linter\n"
        "async def main():\n"
        "    linter = Linter()\n"
        "    await linter.start()\n"
        "    print(len(multiprocessing.active_children()), flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "if __name__ == '__main__':\n"
        "    asyncio.run(main())\n"
    )
    # The linter's process inherits stdout: reading it to its end waits for that process to be gone.
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    assert int(done.stdout) == 1


def test_the_daemon_does_not_load_the_rules() -> None:
    program = "import sys, cardd.igc.issuing, cardd.igc.ocsp; print('pkilint' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout.strip() == b"False"
