"""Whatever a server does, the list held stays, answers go on, and the reason is told."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest
from aiohttp import web

from cardd.events import EventType
from cardd.revocation.errors import FetchFailedError, ListRefusedError
from cardd.revocation.fetching import Fetcher, FetchPolicy, Validators, is_private
from cardd.revocation.types import Freshness, Status
from tests.support.revocation import START, WEEK, Bench, bench, serving

#: Each test runs on SQLite and on PostgreSQL.
pytestmark = pytest.mark.usefixtures("each_store")

QUICK = FetchPolicy(connect_seconds=2, idle_seconds=0.3, total_seconds=1.0, size_limit=200_000, redirects=3)
REVOKED, GOOD = 5, 6


@pytest.fixture
async def held(tmp_path: Path) -> AsyncIterator[Bench]:
    """A cache that holds a good list from `/list.crl`."""
    async with bench(tmp_path, fetching=QUICK) as found:
        found.server.on("/list.crl", found.ca.crl(REVOKED, number=10))
        assert (await found.add("/list.crl")).state is Freshness.FRESH
        yield found


async def _refused(held: Bench, rule: str) -> None:
    """Fetch again: it is refused by `rule`, and nothing else has changed."""
    (source,) = held.cache.lists()
    with pytest.raises((FetchFailedError, ListRefusedError)) as caught:
        await held.cache.refresh(source.id)
    assert caught.value.data["rule"] == rule
    now = held.cache.get(source.id)
    assert (now.state, now.number, now.last_error_code, now.failures) == (Freshness.FRESH, 10, rule, 1)
    assert now.last_error
    assert now.next_fetch_at is not None
    assert now.next_fetch_at > held.clock.now()
    assert held.ask(REVOKED).status is Status.REVOKED
    assert held.ask(GOOD).status is Status.GOOD
    assert not list((held.directory / "revocation" / "incoming").glob("*"))


@pytest.mark.parametrize(
    "body",
    [
        b"<!DOCTYPE html><html><body>Please log in to Hotel Wifi</body></html>",
        b"",
        b"\x30",
        b"\x00" * 100,
        b"-----BEGIN X509 CRL-----\nnot base64\n-----END X509 CRL-----\n",
    ],
    ids=["captive-portal", "empty", "one-byte", "zeros", "bad-pem"],
)
async def test_what_is_no_list_with_status_200_does_not_replace_the_good_one(
    held: Bench, body: bytes
) -> None:
    held.server.on("/list.crl", body)
    await _refused(held, "malformed")


@pytest.mark.parametrize("cut", [1, 10, 100])
async def test_a_truncated_list_does_not_replace_the_good_one(held: Bench, cut: int) -> None:
    held.server.on("/list.crl", held.ca.crl(REVOKED, number=11)[:-cut])
    await _refused(held, "malformed")


async def test_a_list_with_something_after_it_is_refused(held: Bench) -> None:
    held.server.on("/list.crl", held.ca.crl(REVOKED, number=11) + b"\x00")
    await _refused(held, "malformed")


async def test_a_body_shorter_than_announced_is_refused(held: Bench) -> None:
    async def cut(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "5000"})
        await response.prepare(request)
        await response.write(b"\x30" * 100)
        assert request.transport is not None
        request.transport.abort()
        return response

    held.server.on("/list.crl", cut)
    await _refused(held, "connection")


@pytest.mark.parametrize("status", [204, 404, 500, 503])
async def test_an_error_of_the_server_breaks_nothing_and_is_repeated(held: Bench, status: int) -> None:
    async def fail(_: web.Request) -> web.Response:
        return web.Response(status=status)

    held.server.on("/list.crl", fail)
    await _refused(held, "http_status")
    (source,) = held.cache.lists()
    held.server.on("/list.crl", held.ca.crl(REVOKED, GOOD, number=11))
    assert source.next_fetch_at is not None
    held.clock.advance(held.cache.get(source.id).next_fetch_at - held.clock.now())  # type: ignore[operator]
    await held.due()
    assert held.cache.get(source.id).failures == 0
    assert held.cache.get(source.id).last_error is None
    assert held.ask(GOOD).status is Status.REVOKED


async def test_a_server_that_is_gone_breaks_nothing(tmp_path: Path) -> None:
    async with bench(tmp_path, fetching=QUICK) as found:
        async with serving() as other:
            other.on("/list.crl", found.ca.crl(REVOKED, number=10))
            found.server.base, base = other.base, found.server.base
            await found.add("/list.crl")
            found.server.base = base
        await _refused(found, "connection")


async def test_the_second_address_serves_where_the_first_fails(held: Bench) -> None:
    held.server.on("/broken.crl", b"<html>")
    held.server.on("/other.crl", held.ca.crl(GOOD, number=3))
    view = await held.add("/nothing.crl", "/broken.crl", "/other.crl")
    assert (view.state, view.number, view.last_error) == (Freshness.FRESH, 3, None)
    assert held.server.count("/nothing.crl") == 1


async def test_an_endless_body_is_cut_off_at_the_size_limit(held: Bench) -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"\x30" * 65536)

    held.server.on("/list.crl", endless)
    await _refused(held, "too_large")


async def test_a_body_announced_too_large_is_not_even_read(held: Bench) -> None:
    held.server.on("/list.crl", b"\x30" * 300_000)
    await _refused(held, "too_large")


async def test_a_slow_body_is_given_up(held: Bench) -> None:
    async def slow(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"\x30")
            await asyncio.sleep(0.05)

    held.server.on("/list.crl", slow)
    await _refused(held, "timeout")


async def test_a_server_that_says_nothing_is_given_up(held: Bench) -> None:
    async def silent(_: web.Request) -> web.Response:
        await asyncio.sleep(30)
        return web.Response()

    held.server.on("/list.crl", silent)
    await _refused(held, "timeout")


async def test_a_gzip_bomb_is_cut_off_at_the_size_limit(held: Bench) -> None:
    bomb = gzip.compress(b"\x30" * 20_000_000)
    assert len(bomb) < QUICK.size_limit

    async def explode(_: web.Request) -> web.Response:
        return web.Response(body=bomb, headers={"Content-Encoding": "gzip"})

    held.server.on("/list.crl", explode)
    await _refused(held, "too_large")


async def test_a_list_compressed_without_being_asked_is_taken(held: Bench) -> None:
    async def compress(_: web.Request) -> web.Response:
        body = gzip.compress(held.ca.crl(GOOD, number=11))
        return web.Response(body=body, headers={"Content-Encoding": "gzip"})

    held.server.on("/list.crl", compress)
    (source,) = held.cache.lists()
    assert (await held.cache.refresh(source.id)).number == 11


async def test_a_broken_or_unknown_compression_is_refused(held: Bench) -> None:
    for encoding in ("gzip", "br"):

        async def compress(_: web.Request, encoding: str = encoding) -> web.Response:
            return web.Response(body=b"not compressed", headers={"Content-Encoding": encoding})

        held.server.on("/list.crl", compress)
        (source,) = held.cache.lists()
        with pytest.raises(FetchFailedError) as caught:
            await held.cache.refresh(source.id)
        assert caught.value.rule == "encoding"


async def test_a_redirect_loop_is_left(held: Bench) -> None:
    async def loop(_: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": "/list.crl"})

    held.server.on("/list.crl", loop)
    await _refused(held, "redirects")
    assert held.server.count("/list.crl") == 1 + QUICK.redirects + 1


@pytest.mark.parametrize(
    ("location", "rule"),
    [
        ("file:///etc/passwd", "scheme"),
        ("ftp://127.0.0.1/x", "scheme"),
        ("ldap://127.0.0.1/x", "ldap"),
        ("gopher://127.0.0.1/", "scheme"),
    ],
)
async def test_a_redirect_to_another_scheme_is_not_followed(held: Bench, location: str, rule: str) -> None:
    async def lead(_: web.Request) -> web.Response:
        return web.Response(status=301, headers={"Location": location})

    held.server.on("/list.crl", lead)
    await _refused(held, rule)


async def test_a_redirect_on_the_same_server_is_followed(held: Bench) -> None:
    async def lead(_: web.Request) -> web.Response:
        return web.Response(status=307, headers={"Location": "/moved.crl"})

    held.server.on("/list.crl", lead)
    held.server.on("/moved.crl", held.ca.crl(number=12))
    (source,) = held.cache.lists()
    assert (await held.cache.refresh(source.id)).number == 12


async def test_a_public_address_does_not_redirect_to_a_private_one(tmp_path: Path) -> None:
    """127.0.0.1 counts as public here, 127.0.0.2 as private."""
    async with serving("127.0.0.1") as public, serving("127.0.0.2") as private:
        secret = private.on("/secret", b"secret")

        async def lead(_: web.Request) -> web.Response:
            return web.Response(status=302, headers={"Location": secret})

        url = public.on("/list.crl", lead)
        fetcher = Fetcher(QUICK, tmp_path, private=lambda address: address != "127.0.0.1")
        with pytest.raises(FetchFailedError) as caught:
            await fetcher.fetch(url, Validators())
        assert caught.value.rule == "private_address"
        assert private.asked == []
        by_name = secret.replace("127.0.0.2", "localhost")

        async def lead_by_name(_: web.Request) -> web.Response:
            return web.Response(status=302, headers={"Location": by_name})

        addresses = iter([False])
        fetcher = Fetcher(QUICK, tmp_path, private=lambda _: next(addresses, True))
        public.on("/list.crl", lead_by_name)
        with pytest.raises(FetchFailedError) as caught:
            await fetcher.fetch(url, Validators())
        assert caught.value.rule == "private_address"


async def test_an_address_from_a_certificate_must_be_public(tmp_path: Path) -> None:
    async with serving() as server:
        with pytest.raises(FetchFailedError) as caught:
            await Fetcher(QUICK, tmp_path).fetch(server.on("/x", b""), Validators(), may_be_private=False)
    assert caught.value.rule == "private_address"
    assert server.asked == []


@pytest.mark.parametrize(
    ("address", "private"),
    [
        ("127.0.0.1", True), ("10.1.2.3", True), ("192.168.0.1", True), ("169.254.169.254", True), ("::1", True),
        ("fe80::1%eth0", True), ("fd00::1", True), ("::ffff:10.0.0.1", True), ("100.64.0.1", True),
        ("8.8.8.8", False), ("2001:4860:4860::8888", False),
    ],
)  # fmt: skip
def test_private_addresses_are_known(address: str, private: bool) -> None:
    assert is_private(address) is private


async def test_concurrent_requests_share_one_flight(held: Bench) -> None:
    begun, go = asyncio.Event(), asyncio.Event()

    async def wait(_: web.Request) -> web.Response:
        begun.set()
        await go.wait()
        return web.Response(body=held.ca.crl(number=11))

    held.server.on("/list.crl", wait)
    (source,) = held.cache.lists()
    waiting = [asyncio.create_task(held.cache.refresh(source.id)) for _ in range(50)]
    await begun.wait()
    waiting[0].cancel()
    go.set()
    done = await asyncio.gather(*waiting[1:])
    assert {view.number for view in done} == {11}
    assert held.server.count("/list.crl") == 2


async def test_an_unchanged_list_costs_a_304(held: Bench) -> None:
    content = held.ca.crl(REVOKED, number=11)

    async def conditional(request: web.Request) -> web.Response:
        if request.headers.get("If-None-Match") == '"v1"':
            assert request.headers["If-Modified-Since"] == "Mon, 02 Mar 2026 09:30:00 GMT"
            return web.Response(status=304)
        headers = {"ETag": '"v1"', "Last-Modified": "Mon, 02 Mar 2026 09:30:00 GMT"}
        return web.Response(body=content, headers=headers)

    held.server.on("/list.crl", conditional)
    (source,) = held.cache.lists()
    await held.cache.refresh(source.id)
    held.clock.advance(WEEK / 7)
    again = await held.cache.refresh(source.id)
    assert again.number == 11
    assert again.fetched_at == held.clock.now()
    assert held.server.asked[-1].headers["If-None-Match"] == '"v1"'


async def test_two_daemons_that_hold_the_same_list_come_back_for_it_at_different_moments(
    tmp_path: Path,
) -> None:
    moments = set()
    for client in range(3):
        async with bench(tmp_path / str(client), random=Random(client)) as found:
            found.server.on("/list.crl", found.ca.crl(REVOKED))
            view = await found.add("/list.crl")
            assert view.next_fetch_at is not None
            assert view.next_fetch_at < START + WEEK * 0.75
            moments.add(view.next_fetch_at)
    assert len(moments) == 3


@pytest.mark.parametrize("rule", ["too_large", "timeout"])
async def test_a_cap_that_was_reached_is_told_in_words_with_its_measure(held: Bench, rule: str) -> None:
    async def unending(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"\x30" * (65536 if rule == "too_large" else 1))
            await asyncio.sleep(0.01)

    held.server.on("/list.crl", unending)
    await _refused(held, rule)
    (english,), (french,) = held.cache.lists("en"), held.cache.lists("fr")
    words = {
        "too_large": ("200000 bytes (setting revocation.size_limit_mib)", "200000 octets"),
        "timeout": ("not there after 1 s", "pas là après 1 s"),
    }[rule]
    assert words[0] in (english.last_error or "")
    assert words[1] in (french.last_error or "")


async def test_a_large_list_tells_how_far_it_is(held: Bench) -> None:
    begun, go = asyncio.Event(), asyncio.Event()
    content = held.ca.crl(*range(1, 3000), number=11)

    async def halting(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(len(content))})
        await response.prepare(request)
        await response.write(content[:1000])
        begun.set()
        await go.wait()
        await response.write(content[1000:])
        return response

    held.server.on("/list.crl", halting)
    (source,) = held.cache.lists()
    waiting = asyncio.create_task(held.cache.refresh(source.id))
    await begun.wait()
    while held.cache.get(source.id).progress is None:  # noqa: ASYNC110 (the flight is of another task)
        await asyncio.sleep(0.005)
    view = held.cache.get(source.id)
    assert (view.fetching, view.progress, view.progress_total) == (True, 1000, len(content))
    go.set()
    view = await waiting
    assert (view.entries, held.cache.get(source.id).progress) == (2999, None)


async def test_the_servers_wish_to_be_left_alone_is_honoured(held: Bench) -> None:
    async def busy(_: web.Request) -> web.Response:
        return web.Response(status=503, headers={"Retry-After": "7200"})

    held.server.on("/list.crl", busy)
    await _refused(held, "http_status")
    (source,) = held.cache.lists()
    assert source.next_fetch_at is not None
    assert 7200 <= (source.next_fetch_at - START).total_seconds() <= 7200 * 1.1


async def test_a_failure_is_an_event_and_is_not_told_as_a_change_of_the_list(held: Bench) -> None:
    held.server.on("/list.crl", b"<html>")
    await _refused(held, "malformed")
    types = [event.type for event in await held.store.events_after(0)]
    assert types == [EventType.CRL_ADDED, EventType.CRL_UPDATED, EventType.CRL_FETCH_FAILED]
