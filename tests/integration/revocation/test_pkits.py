"""NIST PKITS (Public Key Interoperability Test Suite 1.0.1) through `POST /api/v1/validation`.

The vectors are those of PyPI's `cryptography-vectors`. `pkits.json` lists each test with the certificates, the
lists and the initial state that NIST's document names; it follows the machine-readable cases of
pyhanko-certvalidator (MIT licence), with the verdict that each of them means here.
"""

import base64
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support.validation import validation
from tests.support.webservice import Running, running

_PACKAGE = find_spec("cryptography_vectors")
pytestmark = [
    pytest.mark.skipif(
        _PACKAGE is None,
        reason="PKITS needs the package cryptography-vectors: pip install cryptography-vectors",
    ),
    pytest.mark.filterwarnings("ignore:Parsed a serial number"),
]

#: A moment within the validity of the vectors, which NIST renewed in 2011.
MOMENT = datetime(2022, 5, 1, tzinfo=UTC)


class Case(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One test of the suite; its id is section, subsection and number, two digits each after the first."""

    id: str
    name: str
    certificate: str
    result: str
    intermediates: tuple[str, ...] = ()
    crls: tuple[str, ...] = ()
    params: dict[str, Any] = {}


CASES = msgspec.json.decode((Path(__file__).parent / "pkits.json").read_bytes(), type=tuple[Case, ...])
#: Tests in each section of NIST's document (4.1 to 4.16), so that none goes missing.
SECTIONS = {
    "401": 6, "402": 8, "403": 11, "404": 21, "405": 8, "406": 17, "407": 5, "408": 20, "409": 8, "410": 14,
    "411": 11, "412": 10, "413": 38, "414": 35, "415": 10, "416": 2,
}  # fmt: skip


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Running]:
    """Serve a validation that holds nothing of its own that matters here."""
    validating = validation(tmp_path, now=MOMENT)
    async with running(tmp_path, validation=validating, trust=validating.trust) as served:
        yield served


def encoded(folder: str, name: str) -> str:
    """Return a file of the vectors in base64."""
    assert _PACKAGE is not None
    assert _PACKAGE.origin is not None
    path = Path(_PACKAGE.origin).parent / "x509" / "PKITS_data" / folder / name
    return base64.b64encode(path.read_bytes()).decode("ascii")


def request_of(case: Case) -> dict[str, Any]:
    """Return the request that a test of the suite means."""
    policies = [oid for oid in case.params.get("user_initial_policy_set", ()) if oid != "any_policy"]
    return {
        "certificate": encoded("certs", case.certificate),
        "intermediates": [encoded("certs", name) for name in case.intermediates],
        "crls": [encoded("crls", name) for name in ("TrustAnchorRootCRL.crl", *case.crls)],
        "at": MOMENT.isoformat(),
        "policy": {
            "anchors": [encoded("certs", "TrustAnchorRootCertificate.crt")],
            "policies": policies,
            "require_explicit_policy": case.params.get("initial_explicit_policy", False),
            "inhibit_policy_mapping": case.params.get("initial_policy_mapping_inhibit", False),
            "inhibit_any_policy": case.params.get("initial_any_policy_inhibit", False),
            "legacy_algorithms": True,
        },
    }


@pytest.mark.parametrize("section", sorted(SECTIONS))
async def test_every_test_of_a_section_of_pkits_has_its_verdict(service: Running, section: str) -> None:
    wrong = {}
    for case in (each for each in CASES if each.id.startswith(section)):
        status, answer = await service.json("POST", "/api/v1/validation", json=request_of(case))
        assert status == 200, (case.id, answer)
        if answer["result"] != case.result:
            wrong[f"{case.id} {case.name}"] = answer["result"], answer["findings"]
    assert wrong == {}


def test_no_test_of_pkits_is_missing() -> None:
    numbers = {section: {case.id for case in CASES if case.id.startswith(section)} for section in SECTIONS}
    assert {section: len(ids) for section, ids in numbers.items()} == SECTIONS
