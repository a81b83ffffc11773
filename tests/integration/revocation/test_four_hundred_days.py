"""400 days with the duties of the daemon: its own lists published and taken in, a foreign one fetched from a server
that fails every other time. Nobody revokes. No moment has a wrong or an unlabelled answer, and while the daemon runs
none of its own lists passes nextUpdate; not even a restart, a clock set back or weeks asleep change that.
"""

from datetime import datetime, timedelta
from pathlib import Path
from random import Random

import msgspec
import pytest
from aiohttp import web
from cryptography import x509

from cardd.assembly import OwnLists
from cardd.clock import ManualClock
from cardd.igc.names import CaName
from cardd.igc.pki import Pki
from cardd.igc.publishing import ListKind
from cardd.revocation.names import spki_sha256
from cardd.revocation.types import CrlRequest, Decision, Freshness, Status
from tests.support.revocation import START, Answering, Bench, Ca, bench, entry, serving
from tests.support.softpki import QUICK, opened_pki

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
DAYS, LEG = 400, 100
#: Lists that live longer than by default, so that 400 days do not take an hour; the rules are the same.
POLICY = msgspec.structs.replace(
    QUICK,
    crl_validity=14 * DAY,
    crl_refresh_before=7 * DAY,
    delta_validity=3 * DAY,
    delta_refresh_before=1.5 * DAY,
)
#: Between two looks, while the machine is awake; duties that run every minute are never further behind.
STEPS = (2 * HOUR, 11 * HOUR, 30 * HOUR)
#: The machine asleep, or its clock set right, on a day.
JUMPS = {45: 3 * DAY, 130: 10 * DAY, 160: -DAY, 250: 25 * DAY, 330: -2 * HOUR / 60}
#: The foreign publisher is silent for longer than its list is valid.
SILENCE = range(60, 75)


class Watched:
    """Everything that is looked at after every step, and how often each freshness was seen."""

    def __init__(self, pki: Pki, cached: Bench, foreign: str, seen: dict[Freshness, int]) -> None:
        self._pki = pki
        self._cached = cached
        self._foreign = foreign
        self._seen = seen

    def look(self) -> None:
        """Whatever the moment: every answer is right and says how old its data are."""
        now = self._cached.clock.now()
        for name, authority in self._pki.authorities.items():
            self._look_at(name.value, authority.certificate, now)
        foreign = self._look_at(self._foreign, self._cached.ca.certificate, now)
        self._seen[foreign] += 1
        if foreign is not Freshness.UNAVAILABLE:
            assert self._cached.ask(5).status is Status.REVOKED

    def look_after_duties(self) -> None:
        """Once the duties have run: the daemon's own lists, deltas too, are in force and taken in."""
        now = self._cached.clock.now()
        for name in CaName:
            for kind in ListKind:
                published = self._pki.lists.current(name, kind)
                assert published.this_update - timedelta(minutes=5) <= now < published.next_update
            view = self._cached.cache.get(name.value)
            assert (view.state, view.number) == (
                Freshness.FRESH,
                self._pki.lists.current(name, ListKind.FULL).number,
            )

    def _look_at(self, source: str, ca: x509.Certificate, now: datetime) -> Freshness:
        view, good = self._cached.cache.get(source), self._cached.cache.answer(spki_sha256(ca), 6)
        assert good.freshness is view.state
        if view.next_update is None:
            assert (good.status, good.freshness) == (Status.UNKNOWN, Freshness.UNAVAILABLE)
            return good.freshness
        assert (good.source, good.next_update) == (source, view.next_update)
        assert (good.freshness is Freshness.EXPIRED) is (now >= view.next_update)
        assert (good.status is Status.GOOD) is (now < view.next_update)
        decisions = {Freshness.FRESH: Decision.ACCEPT, Freshness.STALE: Decision.WARN}
        assert good.decision is decisions.get(good.freshness, Decision.REFUSE)
        return good.freshness


@pytest.mark.slow
async def test_through_400_days_nothing_is_wrong_unlabelled_or_lapses(tmp_path: Path) -> None:
    random, clock, foreign = Random(400), ManualClock(START), Ca()
    jumps, numbers, seen = dict(JUMPS), dict.fromkeys(CaName, 0), dict.fromkeys(Freshness, 0)
    (tmp_path / "own").mkdir()
    async with serving() as server:
        url = server.on("/list.crl", _publisher(foreign, clock, random))
        for end in range(LEG, DAYS + LEG, LEG):
            async with (
                opened_pki(tmp_path / "own", clock, POLICY, 3 * DAY) as (pki, _),
                bench(tmp_path / "cache", clock=clock, local=OwnLists(pki)) as cached,
            ):
                watched = Watched(pki, cached, await _kept(cached, foreign, url), seen)
                while clock.now() < START + min(end, DAYS) * DAY:
                    watched.look()
                    await _duties(pki, cached)
                    watched.look()
                    watched.look_after_duties()
                    day = (clock.now() - START) // DAY
                    jump = next((jumps.pop(each) for each in sorted(jumps) if each <= day), None)
                    clock.advance(jump or random.choice(STEPS))
                for name in CaName:
                    number = pki.lists.current(name, ListKind.FULL).number
                    assert number > numbers[name]
                    numbers[name] = number
    assert min(seen[Freshness.FRESH], seen[Freshness.STALE], seen[Freshness.EXPIRED]) > 0


async def _duties(pki: Pki, cached: Bench) -> None:
    """Do once what the daemon does every minute or sooner (see `cardd.duties`)."""
    await pki.lists.refresh()
    await cached.cache.take_local()
    await cached.due()
    await cached.cache.tell_ages()


def _publisher(ca: Ca, clock: ManualClock, random: Random) -> Answering:
    """Return what serves a foreign CA's list, made anew each day and had every other time."""
    published: dict[int, bytes] = {}

    async def publish(_: web.Request) -> web.Response:
        day = (clock.now() - START) // DAY
        if random.random() < 0.5 or day in SILENCE:
            wrong = random.choice([b"<html>", b"", None])
            return web.Response(status=503) if wrong is None else web.Response(body=wrong)
        if day not in published:
            revoked = [entry(5, at=START - DAY)]
            published[day] = ca.crl(number=1 + day, at=START + day * DAY, entries=revoked)
        return web.Response(body=published[day])

    return publish


async def _kept(cached: Bench, ca: Ca, url: str) -> str:
    """Keep the foreign list, the first time; return its identifier."""
    cached.ca = ca
    for view in cached.cache.lists():
        if view.origin == "added":
            return view.id
    return (await cached.cache.add(CrlRequest(issuer_certificate=ca.pem, url=url))).id
