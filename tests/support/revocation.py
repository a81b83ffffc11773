"""A CA that signs any list it is told to, a server that misbehaves as told, and a cache over both."""

import asyncio
import functools
import hashlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from cardd.clock import ManualClock
from cardd.events import EventBus
from cardd.revocation.cache import RevocationCache
from cardd.revocation.cacheparts import CacheParts, LocalList
from cardd.revocation.fetching import Fetcher, FetchPolicy
from cardd.revocation.names import spki_sha256
from cardd.revocation.policies import FRESHNESS_POLICIES
from cardd.revocation.types import CrlId, CrlRequest, CrlView, RevocationAnswer
from cardd.store import Store
from tests.support.stores import open_store

START = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
WEEK = timedelta(days=7)

SigningKey = (
    rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey
)


@functools.cache
def ec_key(number: int = 0) -> ec.EllipticCurvePrivateKey:
    """Return one of the keys of the test run."""
    return ec.generate_private_key(ec.SECP256R1())


def name(common_name: str) -> x509.Name:
    """Return a DN with one CN."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


@dataclass
class Ca:
    """A CA with its certificate; `crl` signs lists."""

    common_name: str = "TEST CA"
    key: SigningKey = field(default_factory=ec_key)
    crl_sign: bool = True
    issuer: "Ca | None" = None
    """Who certifies it; itself where there is none."""
    extensions: Sequence[x509.ExtensionType] = ()

    @functools.cached_property
    def certificate(self) -> x509.Certificate:
        usage = x509.KeyUsage(
            digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
            key_agreement=False, key_cert_sign=True, crl_sign=self.crl_sign, encipher_only=False, decipher_only=False,
        )  # fmt: skip
        above, public = self.issuer or self, self.key.public_key()
        builder = (
            x509.CertificateBuilder(
                name(above.common_name), name(self.common_name), public, x509.random_serial_number()
            )
            .not_valid_before(START - timedelta(days=1000))
            .not_valid_after(START + timedelta(days=5000))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(usage, critical=True)
        )
        for extension in self.extensions:
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(above.key, _digest(above.key))

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(Encoding.PEM).decode()

    def issue(self, serial: int, *extensions: x509.ExtensionType, ca: bool = False) -> x509.Certificate:
        """Sign a certificate of `serial`."""
        builder = (
            x509.CertificateBuilder(name(self.common_name), name("leaf"), ec_key(9).public_key(), serial)
            .not_valid_before(START - timedelta(days=10))
            .not_valid_after(START + timedelta(days=1000))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(self.key, _digest(self.key))

    def crl(
        self,
        *serials: int,
        number: int | None = 1,
        at: datetime = START,
        validity: timedelta | None = WEEK,
        entries: Sequence[x509.RevokedCertificate] = (),
        extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
        base: int | None = None,
        aki: CertificateIssuerPublicKeyTypes | None = None,
        pss: bool = False,
    ) -> bytes:
        """Sign a list; DER."""
        builder = x509.CertificateRevocationListBuilder(name(self.common_name), at, at + (validity or WEEK))
        for serial in serials:
            builder = builder.add_revoked_certificate(entry(serial))
        for revoked in entries:
            builder = builder.add_revoked_certificate(revoked)
        if number is not None:
            builder = builder.add_extension(x509.CRLNumber(number), critical=False)
        if base is not None:
            builder = builder.add_extension(x509.DeltaCRLIndicator(base), critical=True)
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(aki or self.key.public_key())
        builder = builder.add_extension(identifier, critical=False)
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical=critical)
        options: dict[str, Any] = {}
        if pss:
            options["rsa_padding"] = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)
        return builder.sign(self.key, _digest(self.key), **options).public_bytes(Encoding.DER)


def entry(
    serial: int, *extensions: x509.ExtensionType, at: datetime = START - timedelta(days=1)
) -> x509.RevokedCertificate:
    """Return an entry of a list."""
    builder = x509.RevokedCertificateBuilder(serial, at)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=isinstance(extension, x509.CertificateIssuer))
    return builder.build()


def idp(**limits: Any) -> tuple[x509.ExtensionType, bool]:
    """Return an issuingDistributionPoint, critical."""
    values: dict[str, Any] = {
        "full_name": None, "relative_name": None, "only_contains_user_certs": False,
        "only_contains_ca_certs": False, "only_some_reasons": None, "indirect_crl": False,
        "only_contains_attribute_certs": False,
    }  # fmt: skip
    return x509.IssuingDistributionPoint(**(values | limits)), True


Answering = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """Answers each path with bytes or with a handler, and counts what it is asked."""

    def __init__(self) -> None:
        self.asked: list[web.BaseRequest] = []
        self.base = ""
        self._answers: dict[str, bytes | Answering] = {}

    def on(self, path: str, answer: bytes | Answering) -> str:
        """Answer a path from now on; return its address."""
        self._answers[path] = answer
        return self.base + path

    def count(self, path: str) -> int:
        """Return how often a path was asked for."""
        return sum(request.path == path for request in self.asked)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request."""
        self.asked.append(request)
        answer = self._answers.get(request.path)
        if answer is None:
            return web.Response(status=404)
        if isinstance(answer, bytes):
            return web.Response(body=answer, content_type="application/pkix-crl")
        return await answer(request)  # type: ignore[arg-type]


@asynccontextmanager
async def serving(host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    """Run a server on a free port."""
    server = Server()
    runner = web.ServerRunner(web.Server(server.handle), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, host, 0, ssl_context=tls)
    await site.start()
    server.base = f"{'http' if tls is None else 'https'}://{host}:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        await runner.cleanup()


def own_list(source: CrlId, ca: Ca, der: bytes) -> LocalList:
    """Return a list as the local PKI publishes it."""
    return LocalList(source, ca.certificate, der, hashlib.sha256(der).hexdigest())


class NoNames(AbstractResolver):
    """Knows no name, so that no test calls a server of the world."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        raise OSError(f"{host} is not known here")

    async def close(self) -> None:
        pass


@dataclass
class OwnLists:
    """The local PKI's lists, as a test says."""

    lists: list[LocalList] = field(default_factory=list)

    def current(self) -> list[LocalList]:
        return self.lists


@dataclass
class Bench:
    """A cache, its clock, and a server to fetch from."""

    cache: RevocationCache
    clock: ManualClock
    server: Server
    store: Store
    bus: EventBus
    local: OwnLists
    ca: Ca
    directory: Path

    async def add(self, *paths: str, ca: Ca | None = None, **more: Any) -> CrlView:
        """Keep the list at some paths of the server, and wait for its first fetch, which may fail."""
        urls = tuple(self.server.base + path for path in paths)
        issuer = (ca or self.ca).pem
        view = await self.cache.add(CrlRequest(issuer_certificate=issuer, urls=urls, **more))
        return await self.settle(view.id)

    async def settle(self, source: str) -> CrlView:
        """Wait for the flight of a list to end."""
        while self.cache.get(source).fetching:  # noqa: ASYNC110 (the flight is of another task)
            await asyncio.sleep(0.005)
        return self.cache.get(source)

    async def due(self) -> None:
        """Fetch what is due and wait for it."""
        await asyncio.gather(*self.cache.start_due(), return_exceptions=True)

    def ask(self, serial: int, ca: Ca | None = None, policy: str = "standard") -> RevocationAnswer:
        """Ask for a serial."""
        issuer = spki_sha256((ca or self.ca).certificate)
        return self.cache.answer(issuer, serial, FRESHNESS_POLICIES[policy])


@asynccontextmanager
async def bench(directory: Path, **changes: Any) -> AsyncIterator[Bench]:
    """Run a cache over a server; `changes` replace parts, `fetching` those of the fetch policy."""
    clock = changes.pop("clock", None) or ManualClock(START)
    bus, local = EventBus(), OwnLists()
    fetching = changes.pop("fetching", FetchPolicy())
    private = changes.pop("private", None)
    directory.mkdir(exist_ok=True)
    store = await open_store(directory, clock, bus)
    revocation = directory / "revocation"
    options: dict[str, Any] = {"resolver": NoNames()} | ({} if private is None else {"private": private})
    parts: dict[str, Any] = {
        "store": store,
        "clock": clock,
        "bus": bus,
        "directory": revocation,
        "fetcher": Fetcher(fetching, revocation / "incoming", **options),
        "policy": FRESHNESS_POLICIES["standard"],
        "local": local,
        "random": Random(7),
    }
    cache = RevocationCache(CacheParts(**(parts | changes)))
    async with serving() as server:
        await cache.start()
        try:
            yield Bench(cache, clock, server, store, bus, local, Ca(), directory)
        finally:
            await cache.close()
            await store.close()


def _digest(key: SigningKey) -> hashes.SHA256 | None:
    return None if isinstance(key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey) else hashes.SHA256()
