"""400 days in which nobody revokes and half the downloads fail: no answer is wrong, none is unlabelled."""

from datetime import timedelta
from pathlib import Path
from random import Random

import pytest
from aiohttp import web

from cardd.revocation.types import Decision, Freshness, Status
from tests.support.revocation import START, WEEK, bench, entry

#: Each test runs on SQLite and on PostgreSQL.
pytestmark = pytest.mark.usefixtures("each_store")

DAY, STEP = timedelta(days=1), timedelta(hours=6)
#: The publisher is silent for longer than its list is valid.
SILENCE = range(200, 215)


async def test_no_moment_of_400_days_has_a_wrong_or_unlabelled_answer(tmp_path: Path) -> None:
    random = Random(400)
    async with bench(tmp_path) as found:
        published: dict[int, bytes] = {}

        async def publish(_: web.Request) -> web.Response:
            day = (found.clock.now() - START) // DAY
            if random.random() < 0.5 or day in SILENCE:
                wrong = random.choice([b"<html>", b"", None])
                return web.Response(status=503) if wrong is None else web.Response(body=wrong)
            if day not in published:
                revoked = [entry(5, at=START - DAY), entry(8, at=START - DAY)]
                published[day] = found.ca.crl(number=1 + day, at=START + day * DAY, entries=revoked)
            return web.Response(body=published[day])

        found.server.on("/list.crl", publish)
        view = await found.add("/list.crl")
        seen = dict.fromkeys(Freshness, 0)
        while found.clock.now() < START + 400 * DAY:
            found.clock.advance(STEP)
            await found.due()
            await found.cache.tell_ages()
            now, view = found.clock.now(), found.cache.get(view.id)
            good, revoked = found.ask(6), found.ask(5)
            seen[good.freshness] += 1
            assert revoked.freshness is good.freshness is view.state
            if view.next_update is None:
                assert (good.status, good.freshness) == (Status.UNKNOWN, Freshness.UNAVAILABLE)
                continue
            assert revoked.status is Status.REVOKED
            assert (good.freshness is Freshness.EXPIRED) is (now >= view.next_update)
            assert (good.status is Status.GOOD) is (now < view.next_update)
            if good.freshness is Freshness.FRESH:
                assert good.decision is Decision.ACCEPT
                assert view.fetched_at is not None
                assert now - view.fetched_at <= WEEK
            assert view.next_fetch_at is not None
            assert view.next_fetch_at - now <= timedelta(hours=12)
        assert seen[Freshness.EXPIRED] > 0, "the long silence was long enough"
        assert seen[Freshness.FRESH] > 1200
        assert view.failures == 0 or view.last_error
