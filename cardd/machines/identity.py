"""What a machine shows to the others: a key of its own with a certificate that says its identifier, made once."""

import ssl
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from cardd.custody.seal import write_secret

#: Key and certificate, PEM (0600), in the state directory.
FILE = "machine.pem"
#: The certificate is pinned and renewed by enrolling anew; its dates say nothing.
_VALIDITY = timedelta(days=3650)


class MachineIdentity:
    """The key and certificate of this machine, for TLS 1.3 with others that pin it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.certificate = x509.load_pem_x509_certificate(path.read_bytes())

    @property
    def der(self) -> bytes:
        """The certificate."""
        return self.certificate.public_bytes(Encoding.DER)

    def server_context(self, trusted: Iterable[bytes]) -> ssl.SSLContext:
        """Return the context of the port for others; `trusted` are the certificates (DER) that may call."""
        context = self._context(ssl.PROTOCOL_TLS_SERVER)
        trust(context, (self.der, *trusted))
        return context

    def client_context(self, server: bytes) -> ssl.SSLContext:
        """Return the context for calling the one machine whose certificate (DER) is `server`."""
        context = self._context(ssl.PROTOCOL_TLS_CLIENT)
        trust(context, (server,))
        return context

    def _context(self, protocol: int) -> ssl.SSLContext:
        context = ssl.SSLContext(protocol)
        context.check_hostname = False
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(self._path)
        return context


def trust(context: ssl.SSLContext, certificates: Iterable[bytes]) -> None:
    """Have a context accept further certificates (DER), in force from its next handshake."""
    for each in certificates:
        context.load_verify_locations(cadata=each)


def open_machine_identity(state: Path, machine: str, now: datetime) -> MachineIdentity:
    """Return the identity of a state directory, made at the first call; file work: call it in a thread."""
    path = state / FILE
    if not path.is_file():
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"cardd {machine}")])
        certificate = (
            x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + _VALIDITY)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .sign(key, SHA256())
        )
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        write_secret(path, pem + certificate.public_bytes(Encoding.PEM))
    return MachineIdentity(path)
