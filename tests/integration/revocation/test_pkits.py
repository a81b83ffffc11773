"""NIST PKITS through `POST /api/v1/validation`: whole with lists sent along, and what is about lists by the cache.

For the cache every list of sections 4.4, 4.14 and 4.15 is kept at once, fetched from a server as lists of the
world are. Which CAs a list speaks for is what an operator says who adds it: those of the tests it belongs to.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from cardd.clock import ManualClock
from cardd.revocation.types import CrlRequest
from tests.support.pkits import (
    CASES,
    MOMENT,
    NEEDS_VECTORS,
    ROOT,
    ROOT_LIST,
    SECTIONS,
    Case,
    encoded,
    of_section,
    request_of,
    vector,
)
from tests.support.revocation import Bench, bench
from tests.support.validation import validation
from tests.support.webservice import Running, running

pytestmark = NEEDS_VECTORS

#: Revocation: basic lists, distribution points and indirect lists, deltas.
ABOUT_LISTS = ("404", "414", "415")


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Running]:
    """Serve a validation that holds nothing of its own that matters here."""
    validating = validation(tmp_path, now=MOMENT)
    async with running(tmp_path, validation=validating, trust=validating.trust) as served:
        yield served


@pytest.fixture
async def caching(tmp_path: Path) -> AsyncIterator[Running]:
    """Serve a validation over a cache that keeps every list of the sections about lists."""
    async with bench(tmp_path / "cache", clock=ManualClock(MOMENT)) as cached:
        await _keep_all(cached)
        validating = validation(tmp_path, cached.cache, now=MOMENT)
        async with running(tmp_path, validation=validating, trust=validating.trust) as served:
            yield served


@pytest.mark.parametrize("section", sorted(SECTIONS))
async def test_every_test_of_a_section_of_pkits_has_its_verdict(service: Running, section: str) -> None:
    wrong = {}
    for case in of_section(section):
        lists = [encoded(name) for name in (ROOT_LIST, *case.crls)]
        status, answer = await service.json(
            "POST", "/api/v1/validation", json=request_of(case) | {"crls": lists}
        )
        assert status == 200, (case.id, answer)
        if answer["result"] != case.result:
            wrong[f"{case.id} {case.name}"] = answer["result"], answer["findings"]
    assert wrong == {}


async def test_every_test_of_pkits_about_lists_has_its_verdict_by_the_cached_ones(caching: Running) -> None:
    wrong = {}
    for case in (each for section in ABOUT_LISTS for each in of_section(section)):
        status, answer = await caching.json("POST", "/api/v1/validation", json=request_of(case))
        assert status == 200, (case.id, answer)
        if answer["result"] != case.result:
            wrong[f"{case.id} {case.name}"] = case.result, answer["result"], answer["findings"]
    assert wrong == {}


def test_no_test_of_pkits_is_missing() -> None:
    numbers = {section: {case.id for case in CASES if case.id.startswith(section)} for section in SECTIONS}
    assert {section: len(ids) for section, ids in numbers.items()} == SECTIONS


@dataclass
class _Kept:
    """A list to keep: whose key signs it, whom it speaks for, and where it is."""

    signer: x509.Certificate
    files: list[str]
    deltas: list[str] = field(default_factory=list)
    others: list[x509.Certificate] = field(default_factory=list)


async def _keep_all(cached: Bench) -> None:
    """Add every list as an operator would."""
    kept: dict[tuple[str, ...], _Kept] = {}
    for case in (each for section in ABOUT_LISTS for each in of_section(section)):
        for found in _lists_of(case):
            known = kept.setdefault(tuple(found.files), found)
            known.others += [each for each in found.others if each not in known.others]
    for each in kept.values():
        request = CrlRequest(
            issuer_certificate=_pem(each.signer),
            urls=tuple(cached.server.on(f"/{name}", vector(name)) for name in each.files),
            delta_urls=tuple(cached.server.on(f"/{name}", vector(name)) for name in each.deltas),
            certificate_issuers=tuple(map(_pem, each.others)),
        )
        added = await cached.cache.add(request)
        await cached.settle(added.id)


def _lists_of(case: Case) -> list[_Kept]:
    """Return the lists of a test: two of one CA for the same certificates are two addresses of one list."""
    authorities = [x509.load_der_x509_certificate(vector(name)) for name in (*case.intermediates, ROOT)]
    deltas = [name for name in case.crls if name.endswith("deltaCRL.crl")]
    files = [[ROOT_LIST], *([name] for name in case.crls if name not in deltas)]
    if case.name == "valid_two_crls_test7":
        files = [[ROOT_LIST], list(case.crls)]
    return [
        _Kept(
            signer := authorities[-1] if ROOT_LIST in names else _signer(vector(names[0]), authorities[:-1]),
            names,
            deltas if ROOT_LIST not in names else [],
            [each for each in authorities if each != signer],
        )
        for names in files
    ]


def _signer(crl: bytes, authorities: list[x509.Certificate]) -> x509.Certificate:
    """Return whose key signed a list; of one that nobody below the root signed, the CA that it was meant for."""
    parsed = x509.load_der_x509_crl(crl)
    fitting = [each for each in authorities if parsed.is_signature_valid(each.public_key())]  # type: ignore[arg-type]
    return fitting[0] if fitting else authorities[0]


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode("ascii")
