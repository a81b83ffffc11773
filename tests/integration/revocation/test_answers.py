"""Answers: never wrong, never unlabelled, and unknown wherever the lists held do not cover the question."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from cardd.events import EventType
from cardd.revocation.errors import IndexerLostError
from cardd.revocation.names import spki_sha256
from cardd.revocation.types import CrlId, Decision, Freshness, Question, Reason, Status
from tests.support.revocation import START, WEEK, Bench, Ca, bench, ec_key, entry, idp, name, own_list

#: Each test runs on SQLite and on PostgreSQL.
pytestmark = pytest.mark.usefixtures("each_store")

HOUR = timedelta(hours=1)


@pytest.fixture
async def empty(tmp_path: Path) -> AsyncIterator[Bench]:
    async with bench(tmp_path) as found:
        yield found


async def _hold(found: Bench, content: bytes, path: str = "/list.crl", **more: Any) -> CrlId:
    found.server.on(path, content)
    view = await found.add(path, **more)
    assert view.state is Freshness.FRESH, view.last_error
    return view.id


def _point(url: str) -> x509.CRLDistributionPoints:
    names = [x509.UniformResourceIdentifier(url)]
    return x509.CRLDistributionPoints([x509.DistributionPoint(names, None, None, None)])


async def test_an_unknown_issuer_is_unknown_and_unavailable(empty: Bench) -> None:
    found = empty.ask(5)
    assert (found.status, found.freshness, found.decision) == ("unknown", "unavailable", "refuse")
    assert found.source is None


async def test_a_revoked_serial_comes_with_reason_and_time(empty: Bench) -> None:
    revoked = entry(5, x509.CRLReason(x509.ReasonFlags.key_compromise), at=START - 3 * HOUR)
    source = await _hold(empty, empty.ca.crl(entries=[revoked]))
    found = empty.ask(5)
    assert found.status is Status.REVOKED
    assert (found.reason, found.revoked_at) == (Reason.KEY_COMPROMISE, START - 3 * HOUR)
    assert (found.source, found.this_update, found.next_update) == (source, START, START + WEEK)


async def test_fresh_stale_and_expired_are_told_apart_and_told_as_events(empty: Bench) -> None:
    await _hold(empty, empty.ca.crl(5))
    empty.server.on("/list.crl", b"<html>")
    seen: list[Freshness] = []
    for _ in range(9 * 24):
        empty.clock.advance(HOUR)
        await empty.due()
        await empty.cache.tell_ages()
        revoked, good = empty.ask(5), empty.ask(6)
        assert revoked.status is Status.REVOKED
        assert revoked.freshness is good.freshness
        past = empty.clock.now() >= START + WEEK
        assert (good.freshness is Freshness.EXPIRED) is past
        assert good.status is (Status.UNKNOWN if past else Status.GOOD)
        if not seen or seen[-1] is not good.freshness:
            seen.append(good.freshness)
    assert seen == [Freshness.FRESH, Freshness.STALE, Freshness.EXPIRED]
    told = [e.data["state"] for e in await empty.store.events_after(0) if e.type is EventType.CRL_AGED]
    assert told == ["stale", "expired"]


async def test_what_is_noted_of_a_list_at_once_is_all_kept_and_an_age_is_told_once(empty: Bench) -> None:
    source = await _hold(empty, empty.ca.crl(5))
    empty.server.on("/list.crl", b"<html>")
    empty.clock.advance(WEEK)
    await asyncio.gather(*(empty.cache.tell_ages() for _ in range(3)), empty.due())
    await empty.cache.tell_ages()
    told = [e.data["state"] for e in await empty.store.events_after(0) if e.type is EventType.CRL_AGED]
    assert told == ["expired"]
    view = empty.cache.get(source)
    assert (view.failures, view.last_error_code) == (1, "malformed")


@pytest.mark.parametrize(
    ("policy", "hours", "status", "decision"),
    [
        ("standard", 1, Status.UNKNOWN, Decision.REFUSE),
        ("strict", 1, Status.UNKNOWN, Decision.REFUSE),
        ("warn", 1, Status.GOOD, Decision.WARN),
        ("warn", 1000, Status.GOOD, Decision.WARN),
        ("grace", 1, Status.GOOD, Decision.ACCEPT),
        ("grace", 25, Status.UNKNOWN, Decision.REFUSE),
    ],
)
async def test_an_application_chooses_what_to_do_with_an_expired_list(
    empty: Bench, policy: str, hours: int, status: Status, decision: Decision
) -> None:
    await _hold(empty, empty.ca.crl(5))
    empty.clock.advance(WEEK + hours * HOUR)
    found = empty.ask(6, policy=policy)
    assert (found.status, found.decision, found.freshness) == (status, decision, Freshness.EXPIRED)
    assert empty.ask(5, policy=policy).status is Status.REVOKED


@pytest.mark.parametrize(
    "limits",
    [
        {"only_contains_user_certs": True},
        {"only_contains_ca_certs": True},
        {"only_contains_attribute_certs": True},
        {"only_some_reasons": frozenset({x509.ReasonFlags.key_compromise})},
        {"full_name": [x509.UniformResourceIdentifier("http://example.org/shard1.crl")]},
    ],
    ids=["users", "authorities", "attributes", "reasons", "point"],
)
async def test_a_limited_list_is_not_taken_as_complete(empty: Bench, limits: dict[str, object]) -> None:
    await _hold(empty, empty.ca.crl(5, extensions=[idp(**limits)]))
    assert empty.ask(6).status is Status.UNKNOWN


async def test_limited_lists_that_cover_everything_together_are_complete(empty: Bench) -> None:
    await _hold(empty, empty.ca.crl(5, extensions=[idp(only_contains_user_certs=True)]), "/users.crl")
    assert empty.ask(7).status is Status.UNKNOWN
    await _hold(empty, empty.ca.crl(6, extensions=[idp(only_contains_ca_certs=True)]), "/authorities.crl")
    assert [empty.ask(serial).status for serial in (5, 6, 7)] == ["revoked", "revoked", "good"]


async def test_a_certificate_is_judged_by_the_lists_of_its_kind(empty: Bench) -> None:
    await _hold(empty, empty.ca.crl(5, extensions=[idp(only_contains_user_certs=True)]))
    ca = empty.ca
    assert (await empty.cache.status_of(ca.issue(6))).status is Status.GOOD
    assert (await empty.cache.status_of(ca.issue(5))).status is Status.REVOKED
    assert (await empty.cache.status_of(ca.issue(6, ca=True))).status is Status.UNKNOWN


async def test_reasons_of_several_lists_add_up(empty: Bench) -> None:
    some = frozenset({x509.ReasonFlags.key_compromise, x509.ReasonFlags.ca_compromise})
    rest = (
        frozenset(x509.ReasonFlags) - some - {x509.ReasonFlags.unspecified, x509.ReasonFlags.remove_from_crl}
    )
    await _hold(empty, empty.ca.crl(extensions=[idp(only_some_reasons=some)]), "/some.crl")
    leaf = empty.ca.issue(6)
    assert (await empty.cache.status_of(leaf)).status is Status.UNKNOWN
    await _hold(empty, empty.ca.crl(extensions=[idp(only_some_reasons=rest)]), "/rest.crl")
    assert (await empty.cache.status_of(leaf)).status is Status.GOOD


async def test_the_distribution_point_has_to_be_that_of_the_certificate(empty: Bench) -> None:
    url = "http://example.org/shard1.crl"
    limits = idp(full_name=[x509.UniformResourceIdentifier(url)])
    await _hold(empty, empty.ca.crl(5, extensions=[limits]))
    assert (await empty.cache.status_of(empty.ca.issue(6, _point(url)))).status is Status.GOOD
    assert (await empty.cache.status_of(empty.ca.issue(5, _point(url)))).status is Status.REVOKED
    other = empty.ca.issue(5, _point("http://example.org/shard2.crl"))
    assert (await empty.cache.status_of(other)).status is Status.UNKNOWN


async def test_an_indirect_list_tells_the_issuers_of_one_serial_apart(empty: Bench) -> None:
    signer, first, second = Ca("LIST SIGNER"), Ca("FIRST", ec_key(1)), Ca("SECOND", ec_key(2))
    named = x509.CertificateIssuer([x509.DirectoryName(name("FIRST"))])
    content = signer.crl(entries=[entry(1), entry(5, named), entry(6)], extensions=[idp(indirect_crl=True)])
    await _hold(empty, content, ca=signer, certificate_issuers=(first.pem, second.pem))
    assert [empty.ask(serial, first).status for serial in (1, 5, 6, 7)] == [
        "good",
        "revoked",
        "revoked",
        "good",
    ]
    assert [empty.ask(serial, second).status for serial in (1, 5, 6)] == ["good", "good", "good"]
    assert [empty.ask(serial, signer).status for serial in (1, 5)] == ["revoked", "good"]
    point = x509.DistributionPoint(None, None, None, [x509.DirectoryName(name("LIST SIGNER"))])
    leaf = first.issue(5, x509.CRLDistributionPoints([point]))
    assert (await empty.cache.status_of(leaf)).status is Status.REVOKED
    plain = first.issue(7, _point("http://example.org/own.crl"))
    assert (await empty.cache.status_of(plain)).status is Status.UNKNOWN


async def test_a_direct_list_says_nothing_of_another_issuer(empty: Bench) -> None:
    other = Ca("OTHER", ec_key(1))
    await _hold(empty, empty.ca.crl(5), certificate_issuers=(other.pem,))
    assert empty.ask(5, other).status is Status.UNKNOWN
    assert empty.ask(6, other).freshness is Freshness.UNAVAILABLE


async def test_another_ca_of_the_same_name_is_not_answered_for(empty: Bench) -> None:
    await _hold(empty, empty.ca.crl(5))
    impostor = Ca(key=ec_key(1))
    assert empty.ask(5, impostor).status is Status.UNKNOWN
    assert (await empty.cache.status_of(impostor.issue(6))).status is Status.UNKNOWN


async def test_a_batch_is_answered_in_its_order(empty: Bench) -> None:
    await _hold(empty, empty.ca.crl(*range(1, 1000, 2)))
    issuer = spki_sha256(empty.ca.certificate)
    answers = await empty.cache.batch([Question(issuer, serial) for serial in range(1, 1000)])
    assert [each.status for each in answers] == ["revoked", "good"] * 499 + ["revoked"]


@pytest.mark.parametrize("serial", [5, 2**159 - 1])
async def test_a_past_moment_is_answered_from_the_list_of_then(empty: Bench, serial: int) -> None:
    source = await _hold(empty, empty.ca.crl(number=1))
    for week in (1, 2, 3):
        empty.clock.advance(WEEK - HOUR)
        moment = empty.clock.now()
        empty.server.on(
            "/list.crl", empty.ca.crl(number=1 + week, at=moment, entries=[entry(serial, at=moment)])
        )
        await empty.cache.refresh(source)
    revoked_at = empty.ask(serial).revoked_at
    assert revoked_at is not None
    leaf = empty.ca.issue(serial)
    then = await empty.cache.status_of(leaf, at=START + HOUR)
    assert (then.status, then.freshness) == (Status.GOOD, Freshness.FRESH)
    assert (await empty.cache.status_of(leaf, at=revoked_at)).status is Status.REVOKED
    before = await empty.cache.status_of(leaf, at=START - HOUR)
    assert (before.status, before.freshness) == (Status.UNKNOWN, Freshness.UNAVAILABLE)
    kept = await empty.cache.archived(spki_sha256(empty.ca.certificate), START + HOUR)
    assert [each.number for each in kept] == [1]
    empty.clock.advance(timedelta(days=95))
    await empty.cache.tidy()
    assert await empty.cache.archived(spki_sha256(empty.ca.certificate), START + HOUR) == []
    assert empty.cache.get(source).number == 4


async def test_a_restart_serves_what_was_held_at_once(tmp_path: Path) -> None:
    async with bench(tmp_path) as found:
        source = await _hold(found, found.ca.crl(5))
        clock = found.clock
    async with bench(tmp_path, clock=clock) as found:
        assert found.ask(5).status is Status.REVOKED
        assert found.ask(6).freshness is Freshness.FRESH
        assert found.server.asked == []
        assert found.cache.get(source).entries == 1
        clock.advance(WEEK)
    async with bench(tmp_path, clock=clock) as found:
        assert found.ask(6).freshness is Freshness.EXPIRED


async def test_a_killed_indexer_leaves_the_old_list_and_the_next_fetch_works(empty: Bench) -> None:
    source = await _hold(empty, empty.ca.crl(5, number=1))
    pid = empty.cache.indexer_pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    empty.server.on("/list.crl", empty.ca.crl(6, number=2))
    waiting = asyncio.create_task(empty.cache.refresh(source))
    while not empty.cache.get(source).progress:  # noqa: ASYNC110 (the flight is of another task)
        await asyncio.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(IndexerLostError):
        await waiting
    assert (empty.ask(5).status, empty.cache.get(source).last_error_code) == (Status.REVOKED, "indexer_lost")
    assert (await empty.cache.refresh(source)).number == 2
    assert empty.ask(5).status is Status.GOOD


async def test_the_local_pkis_lists_are_taken_in_as_published(empty: Bench) -> None:
    own = CrlId("ACI-EL-ORG-TEST")
    empty.local.lists = [own_list(own, empty.ca, empty.ca.crl(5, number=1))]
    await empty.cache.take_local()
    assert empty.ask(6).source == own
    empty.local.lists = [own_list(own, empty.ca, empty.ca.crl(5, 6, number=2))]
    await empty.cache.refresh(own)
    assert empty.ask(6).status is Status.REVOKED
    view = empty.cache.get(own)
    assert (view.origin, view.urls, view.number, view.state) == ("local", (), 2, Freshness.FRESH)
    with pytest.raises(Exception, match="origin local"):
        await empty.cache.remove(own)


async def test_a_removed_list_is_forgotten_with_its_entries(empty: Bench) -> None:
    source = await _hold(empty, empty.ca.crl(5))
    await empty.cache.remove(source)
    assert empty.cache.lists() == []
    assert empty.ask(5).freshness is Freshness.UNAVAILABLE
    assert (await empty.add("/list.crl")).id == source
