from datetime import timedelta

import msgspec
import pytest

from cardd.igc.errors import PolicyError
from cardd.igc.names import CaName
from cardd.igc.policy import PkiPolicy
from tests.support.igc import policy_for_tests


def test_addresses_follow_the_published_paths() -> None:
    policy = policy_for_tests()
    assert policy.crl_urls(CaName.ACI_EL_ORG) == (
        "http://127.0.0.1:8980/CRL/ACI-EL-ORG-TEST.crl",
        "http://localhost:8980/CRL/ACI-EL-ORG-TEST.crl",
    )
    assert policy.delta_url(CaName.ACR_EL) == "http://127.0.0.1:8980/CRL/ACR-EL-TEST-delta.crl"
    assert policy.certificate_url(CaName.ACR_EL) == "http://127.0.0.1:8980/AC/ACR-EL-TEST.cer"
    assert (policy.ocsp_url, policy.cps_uri) == ("http://127.0.0.1:8980/ocsp", "http://127.0.0.1:8980/PC")


@pytest.mark.parametrize(
    "changes",
    [
        {"policy_oid": "1.2.250.1.213.1.7.2.1.1.1.1"},
        {"policy_oid": "2.25.294182011893045146254037264116853271034.1"},
        {"policy_oid": "2.999.1"},
        {"policy_oid": "1.2"},
        {"policy_oid": "not an OID"},
        {"organisation": "asip-sante"},
        {"organisational_units": ("0002 187512751", "IGC LOCALE DE TEST")},
        {"organisational_units": ("0002 000000000", "IGC-SANTE TEST")},
        {"base_urls": ()},
        {"base_urls": ("http://127.0.0.1:8980/",)},
        {"base_urls": ("127.0.0.1",)},
        {"base_urls": ("http://127.0.0.1:8980", "http://intranet:8980")},
        {"crl_refresh_before": timedelta(days=7)},
        {"delta_refresh_before": timedelta(days=2)},
    ],
)
def test_a_policy_that_passes_for_anss_or_cannot_work_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(PolicyError):
        policy_for_tests(**changes)


def test_an_unknown_key_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="unknown field"):
        msgspec.convert({"base_urls": ["http://127.0.0.1"], "orgnisation": "X"}, PkiPolicy)
