"""Lists that certificates name: kept where the certificate's issuer is known, so that they can be verified.

A certificate says where to fetch from, and whoever made it chose that. So nothing is learnt from one whose issuer
is not held or whose signature is not the issuer's; the addresses have to be public ones, redirects included; and
what is known to be served elsewhere, such as the local PKI's own lists, is not fetched again.
"""

import asyncio
from collections.abc import Iterable, Sequence

from cryptography import x509

from cardd.revocation.fetching import unsupported
from cardd.revocation.names import urls_of
from cardd.revocation.sources import Keeper, NewSource, derived_id
from cardd.revocation.trust import TrustStore
from cardd.revocation.types import CrlView
from cardd.revocation.verifying import is_issued_by

#: Certificates from the one given up to its root; longer chains are not followed.
_LONGEST_CHAIN = 8
#: Addresses taken of one list.
_MOST_ADDRESSES = 8


class Learner:
    """Learns from certificates that cards show and that callers hand over."""

    def __init__(self, trust: TrustStore, cache: Keeper) -> None:
        self._trust = trust
        self._cache = cache

    async def learn(self, certificate: x509.Certificate) -> list[CrlView]:
        """Keep the lists that a certificate and the CAs above it name; return those that are new."""
        return [
            await self._cache.keep(new)
            for new in await asyncio.to_thread(self._named, certificate)
            if self._cache.lacks(new)
        ]

    def _named(self, certificate: x509.Certificate) -> list[NewSource]:
        """Return what the certificates of the chain name; blocking."""
        held = [each.certificate for each in self._trust.held()]
        known = [*held, *self._cache.authorities()]
        found: list[NewSource] = []
        current = certificate
        for _ in range(_LONGEST_CHAIN):
            issuer = next((each for each in known if is_issued_by(current, each)), None)
            if issuer is None:
                break
            found += _named_by(current, issuer)
            if issuer.subject == issuer.issuer:
                break
            current = issuer
        return found


def _named_by(certificate: x509.Certificate, issuer: x509.Certificate) -> list[NewSource]:
    """Return the lists that a certificate names, one for each choice of reasons; LDAP is passed over.

    Distribution points of the same reasons are addresses of one list. A point with a list issuer of its own is
    passed over: that signer's certificate is the operator's to give.
    """
    by_reasons: dict[frozenset[x509.ReasonFlags], list[str]] = {}
    for point in _points(certificate, x509.CRLDistributionPoints):
        if not point.crl_issuer:
            by_reasons.setdefault(point.reasons or frozenset(), []).extend(_fetchable([point]))
    deltas = _fetchable(_points(certificate, x509.FreshestCRL))
    return [
        NewSource(derived_id(issuer, urls), "certificate", issuer, urls=urls, delta_urls=deltas)
        for urls in map(_distinct, by_reasons.values())
        if urls
    ]


def _points(
    certificate: x509.Certificate, kind: type[x509.CRLDistributionPoints] | type[x509.FreshestCRL]
) -> Sequence[x509.DistributionPoint]:
    try:
        return list(certificate.extensions.get_extension_for_class(kind).value)
    except (x509.ExtensionNotFound, ValueError):
        return ()


def _fetchable(points: Sequence[x509.DistributionPoint]) -> tuple[str, ...]:
    return _distinct(url for url in urls_of(points) if unsupported(url) is None)


def _distinct(urls: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(urls))[:_MOST_ADDRESSES]
