"""A PKI of certomancer's making: its lists are taken, and its certificates get the right status and verdict."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cardd.clock import ManualClock
from cardd.revocation.learning import Learner
from cardd.revocation.trust import TrustStore
from cardd.revocation.types import CrlRequest, Freshness, Reason, Status
from cardd.revocation.verdicts import Result, ValidationPolicy, ValidationRequest
from tests.support.revocation import Bench, bench
from tests.support.validation import validation

pytest.importorskip(
    "certomancer", reason="the foreign PKI needs the package certomancer: pip install certomancer"
)

from tests.support.foreignpki import MOMENT, ForeignPki, foreign_pki

LISTS = ("roots", "directs", "by-key", "by-rest", "indirect")


@pytest.fixture
async def cached(tmp_path: Path) -> AsyncIterator[Bench]:
    """A cache over a server."""
    async with bench(tmp_path / "cache", clock=ManualClock(MOMENT), private=lambda _: False) as found:
        yield found


@pytest.fixture
def foreign(tmp_path: Path, cached: Bench) -> ForeignPki:
    """The PKI, with its lists on the server."""
    made = foreign_pki(tmp_path, cached.server.base)
    for label in LISTS:
        cached.server.on(made.url(label).removeprefix(cached.server.base), made.crl(label))
    return made


async def _keep(cached: Bench, foreign: ForeignPki) -> None:
    """Add the lists as an operator who knows who signs them."""
    signers = {
        "roots": "root",
        "directs": "direct",
        "by-key": "direct",
        "by-rest": "direct",
        "indirect": "signer",
    }
    for label, signer in signers.items():
        others = (foreign.pem("other"),) if label == "indirect" else ()
        view = await cached.cache.add(
            CrlRequest(
                issuer_certificate=foreign.pem(signer), url=foreign.url(label), certificate_issuers=others
            )
        )
        view = await cached.settle(view.id)
        assert (view.state, view.last_error) == (Freshness.FRESH, None), label
        assert "distributionPoint" in view.partial


EXPECTED = {
    "good": (Status.GOOD, None),
    "revoked": (Status.REVOKED, Reason.SUPERSEDED),
    "split-good": (Status.GOOD, None),
    "split-revoked": (Status.REVOKED, Reason.KEY_COMPROMISE),
    "half-covered": (Status.UNKNOWN, None),
    "indirect-good": (Status.GOOD, None),
    "indirect-revoked": (Status.REVOKED, Reason.AFFILIATION_CHANGED),
    "direct": (Status.GOOD, None),
    "signer": (Status.GOOD, None),
}
_VERDICTS = {
    Status.GOOD: Result.VALID,
    Status.REVOKED: Result.REVOKED,
    Status.UNKNOWN: Result.INDETERMINATE,
}


async def test_direct_limited_split_and_indirect_lists_give_the_right_status(
    cached: Bench, foreign: ForeignPki
) -> None:
    await _keep(cached, foreign)
    for label, expected in EXPECTED.items():
        found = await cached.cache.status_of(foreign.certificate(label))
        assert (found.status, found.reason) == expected, label


async def test_its_certificates_get_the_right_verdict_by_its_lists(
    cached: Bench, foreign: ForeignPki, tmp_path: Path
) -> None:
    await _keep(cached, foreign)
    validating = validation(tmp_path, cached.cache, now=MOMENT)
    policy = ValidationPolicy(anchors=(foreign.pem("root"),))
    chain = (foreign.pem("direct"), foreign.pem("other"))
    for label, (status, _) in EXPECTED.items():
        request = ValidationRequest(certificate=foreign.pem(label), intermediates=chain, policy=policy)
        view = await validating.validate(request)
        assert view.result is _VERDICTS[status], (label, view.findings)


async def test_its_direct_lists_are_learnt_from_its_certificates_and_the_indirect_one_is_not(
    cached: Bench, foreign: ForeignPki, tmp_path: Path
) -> None:
    held = [foreign.certificate(label) for label in ("root", "direct", "other")]
    learner = Learner(TrustStore(lambda: held, tmp_path), cached.cache)
    found = await learner.learn(foreign.certificate("split-good"))
    assert {url for view in found for url in view.urls} == {
        foreign.url(each) for each in ("by-key", "by-rest", "roots")
    }
    for view in found:
        assert (await cached.settle(view.id)).state is Freshness.FRESH
    answer = await cached.cache.status_of(foreign.certificate("split-revoked"))
    assert answer.status is Status.REVOKED
    assert await learner.learn(foreign.certificate("indirect-good")) == []
