"""Fetching a list over HTTP(S) from servers that may be slow, wrong or hostile.

Nothing received is trusted: time, size, decompression and redirects are bounded, and a redirect never leads to
another scheme nor, from a public address, to a private one. What arrives goes to a file; it is judged by the
indexer.
"""

import asyncio
import ipaddress
import os
import socket
import ssl
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

import aiohttp
import msgspec
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from cardd.revocation.errors import FetchFailedError
from cardd.revocation.proxies import Proxies

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_CHUNK = 256 * 1024
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS


#: Told of the bytes received so far, and of those that the server announced.
Progress = Callable[[int, int | None], None]


def _no_progress(_: int, __: int | None) -> None:
    """Tell nobody."""


class FetchPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How much patience and room a server gets."""

    connect_seconds: float = 10.0
    idle_seconds: float = 30.0
    """Longest pause between two pieces of a body."""
    total_seconds: float = 600.0
    size_limit: int = 256 * 1024 * 1024
    """Largest list, in bytes, as it is after decompression."""
    redirects: int = 5
    private_redirects: bool = False
    """Whether a public address may redirect to a private one."""


class Validators(msgspec.Struct, frozen=True, kw_only=True):
    """What a server gave to ask again with (RFC 9110 §8.8)."""

    etag: str | None = None
    last_modified: str | None = None


class Fetched(NamedTuple):
    """What an address answered: a file with the content, or nothing new."""

    path: Path | None
    validators: Validators
    url: str


def is_private(address: str) -> bool:
    """Tell whether an IP address is not of the public Internet (loopback, link-local, RFC 1918, RFC 4193…)."""
    found = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(found, "ipv4_mapped", None)
    return not (mapped or found).is_global


def unsupported(url: str) -> FetchFailedError | None:
    """Return why an address cannot be fetched from at all, None where it can."""
    parts = urlsplit(url)
    if parts.scheme in ("ldap", "ldaps"):
        return FetchFailedError.of(
            "ldap",
            "LDAP is not supported: HTTP has caching, conditional requests and size limits, and every CA that "
            "publishes a list over LDAP alone can be mirrored over HTTP.",
            "LDAP n’est pas pris en charge : HTTP apporte cache, requêtes conditionnelles et limites de taille, et "
            "une liste publiée par LDAP seul peut être recopiée en HTTP.",
        )
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return FetchFailedError.of(
            "scheme",
            f"“{url[:200]}” is not an http or https address.",
            f"« {url[:200]} » n’est pas une adresse http ou https.",
        )
    return None


class Fetcher:
    """Fetches lists under one policy; servers over HTTPS are verified by `tls`, by default with the system's CAs."""

    def __init__(
        self,
        policy: FetchPolicy,
        directory: Path,
        *,
        private: Callable[[str], bool] = is_private,
        resolver: AbstractResolver | None = None,
        proxies: Proxies = Proxies(),  # noqa: B008  (immutable)
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._policy = policy
        self._directory = directory
        self._private = private
        self._resolver = resolver
        self._proxies = proxies
        self._tls = tls

    async def fetch(
        self,
        url: str,
        validators: Validators,
        *,
        may_be_private: bool = True,
        progress: Progress = _no_progress,
    ) -> Fetched:
        """Fetch one address; `progress` is given the bytes received so far and those announced.

        With `may_be_private` false, an address found in a certificate, it must be a public one. Raises
        `FetchFailedError`; nothing is left on disk then.
        """
        try:
            async with asyncio.timeout(self._policy.total_seconds):
                return await self._follow(url, validators, progress, may_be_private=may_be_private)
        except aiohttp.ServerTimeoutError:
            raise _unreachable(url, "timeout", "it does not answer in time") from None
        except TimeoutError:
            raise _timeout(self._policy.total_seconds) from None
        except aiohttp.ClientConnectorCertificateError as error:
            raise _unreachable(url, "tls", str(error.certificate_error)) from None
        except aiohttp.ClientSSLError as error:
            raise _unreachable(url, "tls", str(error)) from None
        except aiohttp.ClientConnectorDNSError:
            raise _unknown_name(url) from None
        except aiohttp.ClientHttpProxyError as error:
            raise _proxy_failed(f"HTTP {error.status}") from None
        except aiohttp.ClientProxyConnectionError:
            raise _proxy_failed("no connection") from None
        except aiohttp.ClientConnectorError as error:
            number = error.os_error.errno  # asyncio's own words for it name its internals
            reason = type(error.os_error).__name__ if number is None else os.strerror(number)
            raise _unreachable(url, "connection", reason) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _unreachable(url, "connection", str(error) or type(error).__name__) from None

    async def _follow(
        self, url: str, validators: Validators, progress: Progress, *, may_be_private: bool
    ) -> Fetched:
        guard = _Guard(self._private, self._resolver or ThreadedResolver(), may_be_private=may_be_private)
        timeout = aiohttp.ClientTimeout(
            total=None, connect=self._policy.connect_seconds, sock_read=self._policy.idle_seconds
        )
        connector = aiohttp.TCPConnector(
            resolver=guard, use_dns_cache=False, force_close=True, ssl=self._tls or True
        )
        async with aiohttp.ClientSession(
            connector=connector, timeout=timeout, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
        ) as session:
            target = url
            for _ in range(self._policy.redirects + 1):
                problem = unsupported(target)
                if problem is not None:
                    raise problem
                guard.check_literal(target)
                proxy = self._proxies.of(target)
                guard.through(proxy)
                async with session.get(
                    target, headers=_headers(validators), allow_redirects=False, proxy=proxy
                ) as response:
                    if response.status not in _REDIRECTS:
                        return await self._answered(response, validators, url, progress)
                    target = urljoin(target, response.headers.get("Location", ""))
                if not self._policy.private_redirects:
                    guard.redirected()
        raise FetchFailedError.of(
            "redirects",
            f"The address redirects more than {self._policy.redirects} times.",
            f"L’adresse redirige plus de {self._policy.redirects} fois.",
        )

    async def _answered(
        self,
        response: aiohttp.ClientResponse,
        validators: Validators,
        url: str,
        progress: Progress,
    ) -> Fetched:
        if response.status == HTTPStatus.NOT_MODIFIED:
            return Fetched(None, validators, url)
        if response.status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
            raise _proxy_failed(f"HTTP {response.status:d}")
        if response.status != HTTPStatus.OK:
            raise FetchFailedError.of(
                "http_status",
                f"The server answered HTTP {response.status}.",
                f"Le serveur a répondu HTTP {response.status}.",
                retry_after=_retry_after(response.headers),
            )
        if (response.content_length or 0) > self._policy.size_limit:
            raise self._too_large()
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._directory / f"{os.urandom(16).hex()}.part"
        try:
            await self._receive(response, path, progress)
        except BaseException:
            with suppress(FileNotFoundError):
                path.unlink()
            raise
        given = Validators(
            etag=response.headers.get("ETag"), last_modified=response.headers.get("Last-Modified")
        )
        return Fetched(path, given, url)

    async def _receive(self, response: aiohttp.ClientResponse, path: Path, progress: Progress) -> None:
        """Write the body to a file, decompressed, never holding more than a piece of it."""
        received, written, pending = 0, 0, bytearray()
        unpack = _decompressor(response.headers.get("Content-Encoding", "identity"))
        with await asyncio.to_thread(path.open, "wb") as file:
            async for chunk in response.content.iter_chunked(_CHUNK):
                received += len(chunk)
                data = unpack(chunk, self._policy.size_limit + 1 - written - len(pending))
                pending += data
                if max(written + len(pending), received) > self._policy.size_limit:
                    raise self._too_large()
                if len(pending) >= _CHUNK:
                    await asyncio.to_thread(file.write, bytes(pending))
                    written += len(pending)
                    pending.clear()
                progress(received, response.content_length)
            await asyncio.to_thread(file.write, bytes(pending))

    def _too_large(self) -> FetchFailedError:
        limit = self._policy.size_limit
        return FetchFailedError.of(
            "too_large",
            f"The list exceeds {limit} bytes (setting revocation.size_limit_mib).",
            f"La liste dépasse {limit} octets (paramètre revocation.size_limit_mib).",
        )


def tls_context(ca_file: str) -> ssl.SSLContext | None:
    """Return what verifies servers by the system's CAs and those of a PEM file; None without a file.

    Raises `OSError`, of which `ssl.SSLError` is one, for a file without certificates.
    """
    if not ca_file:
        return None
    context = ssl.create_default_context()
    context.load_verify_locations(cafile=ca_file)
    return context


class _Guard(AbstractResolver):
    """Resolves names, and refuses private addresses once a public one has redirected, or where none is due.

    The addresses that are checked are those that are then connected to, so that a name which answers
    differently the second time gains nothing.
    """

    def __init__(
        self, private: Callable[[str], bool], resolver: AbstractResolver, *, may_be_private: bool
    ) -> None:
        self._private = private
        self._resolver = resolver
        self._allowed = may_be_private
        self._began_public: bool | None = None
        self._proxy: str | None = None

    def through(self, proxy: str | None) -> None:
        """Let a proxy of the operator's be where it is. It resolves the names of what it fetches itself, so that
        only numeric addresses can be judged here.
        """
        self._proxy = None if proxy is None else urlsplit(proxy).hostname

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Resolve a name to addresses that may be connected to."""
        found = await self._resolver.resolve(host, port, family)
        for each in found if host != self._proxy else ():
            self._check(each["host"])
        return found

    async def close(self) -> None:
        """Close what it resolves with."""
        await self._resolver.close()

    def check_literal(self, url: str) -> None:
        """Check an address that is a number and is not resolved."""
        host = urlsplit(url).hostname or ""
        with suppress(ValueError):
            ipaddress.ip_address(host.partition("%")[0])
            self._check(host)

    def redirected(self) -> None:
        """Note that the address led elsewhere: from a public one, not to a private one."""
        if self._began_public or (self._began_public is None and self._proxy is not None):
            self._allowed = False

    def _check(self, address: str) -> None:
        private = self._private(address)
        if self._began_public is None:
            self._began_public = not private
        if private and not self._allowed:
            raise FetchFailedError.of(
                "private_address",
                f"A public address or a certificate leads to the private address {address}.",
                f"Une adresse publique ou un certificat mène à l’adresse privée {address}.",
            )


def _headers(validators: Validators) -> dict[str, str]:
    given = {
        "Accept": "application/pkix-crl, */*;q=0.1",
        "Accept-Encoding": "identity",
        "User-Agent": "cardd",
        "If-None-Match": validators.etag,
        "If-Modified-Since": validators.last_modified,
    }
    return {name: value for name, value in given.items() if value is not None}


def _decompressor(encoding: str) -> Callable[[bytes, int], bytes]:
    """Return what undoes a Content-Encoding, giving out at most so many bytes at a time."""
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return lambda data, _: data
    if name not in ("gzip", "x-gzip", "deflate"):
        raise FetchFailedError.of(
            "encoding",
            f"The server compresses in a way that was not asked for ({name[:40]}).",
            f"Le serveur compresse d’une manière non demandée ({name[:40]}).",
        )
    stream = zlib.decompressobj(_GZIP_OR_ZLIB)

    def unpack(data: bytes, most: int) -> bytes:
        try:
            return stream.decompress(data, max(most, 1))
        except zlib.error as error:
            raise FetchFailedError.of(
                "encoding",
                f"The compressed body is broken ({error}).",
                f"Le contenu compressé est abîmé ({error}).",
            ) from None

    return unpack


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of a Retry-After, a number or a date (RFC 9110 §10.2.3)."""
    given = headers.get("Retry-After", "").strip()
    if given.isascii() and given.isdecimal() and len(given) < 10:
        return float(given)
    try:
        moment = parsedate_to_datetime(given)
        answered = parsedate_to_datetime(headers.get("Date", "")) if "Date" in headers else datetime.now(UTC)
    except (TypeError, ValueError):
        return None
    return max((moment - answered).total_seconds(), 0.0)


def _proxy_failed(reason: str) -> FetchFailedError:
    """Tell what is wrong with the proxy without its address, which may hold a password."""
    return FetchFailedError.of(
        "proxy",
        f"The proxy does not fetch it ({reason}; setting revocation.proxy, or http_proxy of the environment).",
        f"Le mandataire ne l’obtient pas ({reason} ; paramètre revocation.proxy, ou http_proxy de l’environnement).",
    )


def _timeout(seconds: float) -> FetchFailedError:
    return FetchFailedError.of(
        "timeout",
        f"The list was not there after {seconds:g} s.",
        f"La liste n’était pas là après {seconds:g} s.",
    )


def _unknown_name(url: str) -> FetchFailedError:
    host = urlsplit(url).netloc
    return FetchFailedError.of(
        "dns",
        f"No address is known for {host}: the name is wrong, or this machine has no network.",
        f"Aucune adresse n’est connue pour {host} : le nom est faux, ou cette machine n’a pas de réseau.",
    )


def _unreachable(url: str, rule: str, reason: str) -> FetchFailedError:
    host = urlsplit(url).netloc
    return FetchFailedError.of(
        rule,
        f"{host} cannot be reached ({reason[:200]}).",
        f"{host} est injoignable ({reason[:200]}).",
    )
