"""Certificate files given to commands, PEM or DER."""

import hashlib
from pathlib import Path

import click

from cardd.cli.language import say


def as_pem(path: str) -> str:
    """Return a certificate's file, PEM or DER, as PEM; raises `click.UsageError`."""
    from cryptography import x509  # noqa: PLC0415  slow to import, and not needed by most commands
    from cryptography.hazmat.primitives.serialization import Encoding  # noqa: PLC0415

    content = Path(path).read_bytes()
    try:
        is_pem = b"-----BEGIN" in content
        load = x509.load_pem_x509_certificate if is_pem else x509.load_der_x509_certificate
        return load(content).public_bytes(Encoding.PEM).decode()
    except ValueError:
        raise click.UsageError(
            say(f"{path} is no certificate.", f"{path} n’est pas un certificat.")
        ) from None


def spki_sha256(pem: str) -> str:
    """Return SHA-256 of a certificate's DER SubjectPublicKeyInfo, in hexadecimal."""
    from cryptography import x509  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat  # noqa: PLC0415

    key = x509.load_pem_x509_certificate(pem.encode()).public_key()
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()
