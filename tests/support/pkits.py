"""NIST PKITS (Public Key Interoperability Test Suite 1.0.1): its tests, its vectors, and the requests they mean.

The vectors are those of PyPI's `cryptography-vectors`. `pkits.json` lists each test with the certificates, the
lists and the initial state that NIST's document names; it follows the machine-readable cases of
pyhanko-certvalidator (MIT licence), with the verdict that each of them means here.
"""

import base64
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
import pytest

_PACKAGE = find_spec("cryptography_vectors")
#: For `pytestmark` of what reads the vectors.
NEEDS_VECTORS = [
    pytest.mark.skipif(
        _PACKAGE is None,
        reason="PKITS needs the package cryptography-vectors: pip install cryptography-vectors",
    ),
    pytest.mark.filterwarnings("ignore:Parsed a serial number"),
]

#: A moment within the validity of the vectors, which NIST renewed in 2011.
MOMENT = datetime(2022, 5, 1, tzinfo=UTC)
ROOT, ROOT_LIST = "TrustAnchorRootCertificate.crt", "TrustAnchorRootCRL.crl"


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


def of_section(section: str) -> list[Case]:
    """Return the tests of a section."""
    return [case for case in CASES if case.id.startswith(section)]


def vector(name: str) -> bytes:
    """Return a file of the vectors, DER: a certificate or a list, by its name."""
    assert _PACKAGE is not None
    assert _PACKAGE.origin is not None
    folder = "crls" if name.endswith(".crl") else "certs"
    return (Path(_PACKAGE.origin).parent / "x509" / "PKITS_data" / folder / name).read_bytes()


def encoded(name: str) -> str:
    """Return a file of the vectors in base64."""
    return base64.b64encode(vector(name)).decode("ascii")


def request_of(case: Case) -> dict[str, Any]:
    """Return the request that a test of the suite means, without its lists."""
    policies = [oid for oid in case.params.get("user_initial_policy_set", ()) if oid != "any_policy"]
    return {
        "certificate": encoded(case.certificate),
        "intermediates": [encoded(name) for name in case.intermediates],
        "at": MOMENT.isoformat(),
        "policy": {
            "anchors": [encoded(ROOT)],
            "policies": policies,
            "require_explicit_policy": case.params.get("initial_explicit_policy", False),
            "inhibit_policy_mapping": case.params.get("initial_policy_mapping_inhibit", False),
            "inhibit_any_policy": case.params.get("initial_any_policy_inhibit", False),
            "legacy_algorithms": True,
        },
    }
