"""Certificates from CSRs by python-x509-pkcs11, on a SoftHSM token of its own: `sign_csrs.py DIRECTORY COUNT`.

Run by the peers' own Python. Prints how many certificates a second it made, its fastest way: all asked for at once.
"""

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from python_x509_pkcs11.csr import sign_csr
from python_x509_pkcs11.lib import KEYTYPES
from python_x509_pkcs11.pkcs11_handle import PKCS11Session

_MODULE = "/usr/lib/softhsm/libsofthsm2.so"
_KEY = "bench"
_NAME = {"common_name": "BENCH CA"}


def prepare(directory: Path) -> None:
    """Make a token for the library, which is configured by the environment alone."""
    tokens = directory / "tokens"
    configuration = directory / "softhsm2.conf"
    fresh = not configuration.exists()
    configuration.write_text(f"directories.tokendir = {tokens}\nlog.level = ERROR\n", encoding="utf-8")
    os.environ |= {
        "SOFTHSM2_CONF": str(configuration),
        "PKCS11_MODULE": _MODULE,
        "PKCS11_TOKEN": "peer",
        "PKCS11_PIN": "123456",
    }
    if fresh:
        tokens.mkdir()
        made = (
            "softhsm2-util",
            "--init-token",
            "--free",
            "--label",
            "peer",
            "--pin",
            "123456",
            "--so-pin",
            "123456",
        )
        subprocess.run(made, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 (our own words)


async def measure(count: int) -> float:
    """Sign `count` requests; return how many a second."""
    if _KEY not in await PKCS11Session().key_labels():
        await PKCS11Session().create_keypair(_KEY, KEYTYPES.SECP256r1)
    requests = [
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"BENCH {number}")]))
        .sign(ec.generate_private_key(ec.SECP256R1()), SHA256())
        .public_bytes(Encoding.PEM)
        .decode()
        for number in range(count)
    ]
    await sign_csr(_KEY, _NAME, requests[0], key_type=KEYTYPES.SECP256r1)
    started = time.perf_counter()
    await asyncio.gather(*(sign_csr(_KEY, _NAME, each, key_type=KEYTYPES.SECP256r1) for each in requests))
    return count / (time.perf_counter() - started)


if __name__ == "__main__":
    prepare(Path(sys.argv[1]))
    sys.stdout.write(f"{asyncio.run(measure(int(sys.argv[2])))}\n")
    sys.stdout.flush()
    # SoftHSM with OpenSSL 3 may crash in its exit handlers.
    os._exit(0)
