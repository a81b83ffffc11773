"""TLS on the loopback addresses, where the settings ask for it.

A certification authority is made for one certificate and its key destroyed at once, so that nobody can ever
certify anything else with it; it is limited to this machine's own names besides (RFC 5280 §4.2.1.10). It goes
into no trust store by itself: who wants it there imports `ca.pem`.
"""

import asyncio
import ipaddress
import secrets
import ssl
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cardd.clock import Clock
from cardd.store import Store
from cardd_webservice.privatefiles import write_draft

DIRECTORY = "tls"
#: The certificate of the authority, for who wants to import it.
CA_FILE = "ca.pem"
#: Key, certificate and authority of the service, in one file that is whole or not there.
_SERVER_FILE = "server.pem"
#: The longest that all browsers take of a certificate from an imported authority.
_LIFETIME = timedelta(days=825)
_RENEWED_BEFORE = timedelta(days=30)
_SKEW = timedelta(hours=1)
_ADDRESSES = (ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1"))

_log = structlog.get_logger(__name__)


class _Made(NamedTuple):
    """What was made: key, certificate and authority, PEM, one after the other; and the authority alone."""

    server: bytes
    authority: bytes


class TlsKeeper:
    """The service's certificate: made where there is none, made anew before it ends."""

    def __init__(self, state: Path, store: Store, clock: Clock) -> None:
        self._directory = state / DIRECTORY
        self._store = store
        self._clock = clock
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.set_alpn_protocols(["http/1.1"])

    async def renew_due(self) -> None:
        """See to it that there is a certificate for at least another month; connections use it from then on."""
        held, now = await asyncio.to_thread(_held, self._directory), self._clock.now()
        if (
            held is None
            or now < held.not_valid_before_utc
            or held.not_valid_after_utc - now <= _RENEWED_BEFORE
        ):
            made = await asyncio.to_thread(_make, now)
            await asyncio.to_thread(_write, self._directory, made)
            async with self._store.transaction() as tx:
                tx.journal("tls.certificate_made", "tls", not_after=(tx.now + _LIFETIME).isoformat())
            _log.info("tls_certificate_made", ca=str(self._directory / CA_FILE))
        await asyncio.to_thread(self._load)

    def _load(self) -> None:
        content = (self._directory / _SERVER_FILE).read_bytes()
        authority = content[content.rindex(b"-----BEGIN CERTIFICATE-----") :]
        if not (self._directory / CA_FILE).exists() or (self._directory / CA_FILE).read_bytes() != authority:
            write_draft(self._directory / CA_FILE, authority).replace(self._directory / CA_FILE)
        self.context.load_cert_chain(self._directory / _SERVER_FILE)


def _held(directory: Path) -> x509.Certificate | None:
    """Return the certificate; nothing where there is none that can be read."""
    try:
        certificate, *_ = x509.load_pem_x509_certificates((directory / _SERVER_FILE).read_bytes())
    except (OSError, ValueError):
        return None
    return certificate


def _make(now: datetime) -> _Made:
    """Make an authority and its one certificate; the authority's key does not leave this function."""
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    name = _name(f"cardd, this machine only ({secrets.token_hex(4)})")
    begins, ends = now - _SKEW, now + _LIFETIME
    addresses = [ipaddress.ip_network(address) for address in _ADDRESSES]
    authority = (
        x509.CertificateBuilder(name, name, authority_key.public_key(), x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(certifies=True), critical=True)
        .add_extension(
            x509.NameConstraints(
                [x509.DNSName("localhost"), *(x509.IPAddress(each) for each in addresses)], None
            ),
            critical=True,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    names = [x509.DNSName("localhost"), *(x509.IPAddress(address) for address in _ADDRESSES)]
    certificate = (
        x509.CertificateBuilder(name, _name("localhost"), key.public_key(), x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(certifies=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False
        )
        .sign(authority_key, hashes.SHA256())
    )
    shown = authority.public_bytes(Encoding.PEM)
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return _Made(secret + certificate.public_bytes(Encoding.PEM) + shown, shown)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _usage(*, certifies: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not certifies, key_cert_sign=certifies, crl_sign=False, content_commitment=False,
        key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False,
        decipher_only=False,
    )  # fmt: skip


def _write(directory: Path, made: _Made) -> None:
    directory.mkdir(mode=0o700, exist_ok=True)
    for name, content in ((_SERVER_FILE, made.server), (CA_FILE, made.authority)):
        write_draft(directory / name, content).replace(directory / name)
