"""The index outlives the process that made it, a change of its form, and a list of a million entries."""

import asyncio
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import lmdb
import msgspec
import pytest

from bench.caching import Watched
from bench.largelists import large_list, rsa_ca
from cardd.clock import SystemClock
from cardd.revocation.types import CrlId, Freshness, Status
from tests.support.revocation import Bench, Ca, bench, serving


async def _hold(found: Bench, ca: Ca, *serials: int, delta: tuple[int, ...] = ()) -> CrlId:
    found.server.on("/list.crl", ca.crl(*serials, number=1))
    found.server.on("/delta.crl", ca.crl(*delta, number=2, base=1))
    urls = (f"{found.server.base}/delta.crl",) if delta else ()
    return (await found.add("/list.crl", ca=ca, delta_urls=urls)).id


async def test_a_new_start_answers_from_what_is_held_at_once_and_without_the_network(tmp_path: Path) -> None:
    ca = Ca()
    async with bench(tmp_path) as first:
        await _hold(first, ca, 5, delta=(6,))
    async with bench(tmp_path) as second:
        assert [second.ask(serial, ca).status for serial in (5, 6, 7)] == [
            Status.REVOKED,
            Status.REVOKED,
            Status.GOOD,
        ]
        assert second.server.asked == []


async def test_tables_of_another_version_are_made_anew_from_the_lists_kept(tmp_path: Path) -> None:
    ca = Ca()
    async with bench(tmp_path) as first:
        await _hold(first, ca, 5, delta=(6,))
    with lmdb.open(str(tmp_path / "revocation" / "index"), max_dbs=8) as environment:
        tables = environment.open_db(b"tables")
        former = environment.open_db(b"full:former")
        with environment.begin(write=True) as transaction:
            transaction.drop(tables, delete=False)
            transaction.put(b"key", b"value", db=former)
    async with bench(tmp_path) as second:
        answers = [second.ask(serial, ca) for serial in (5, 6, 7)]
        assert [answer.status for answer in answers] == [Status.REVOKED, Status.REVOKED, Status.GOOD]
        assert {answer.freshness for answer in answers} == {Freshness.FRESH}
        assert second.server.asked == []
    with (
        lmdb.open(str(tmp_path / "revocation" / "index"), max_dbs=8) as environment,
        environment.begin() as view,
    ):
        assert b"full:former" not in [bytes(name) for name, _ in view.cursor()]


async def test_where_the_kept_lists_are_gone_nothing_is_answered_from_them(tmp_path: Path) -> None:
    ca = Ca()
    async with bench(tmp_path) as first:
        await _hold(first, ca, 5)
    with lmdb.open(str(tmp_path / "revocation" / "index"), max_dbs=8) as environment:
        tables = environment.open_db(b"tables")
        with environment.begin(write=True) as transaction:
            transaction.drop(tables, delete=False)
    for path in (tmp_path / "revocation" / "lists").iterdir():
        path.unlink()
    async with bench(tmp_path) as second:
        answer = second.ask(5, ca)
        assert (answer.status, answer.freshness) == (Status.UNKNOWN, Freshness.UNAVAILABLE)


async def test_an_answer_follows_the_clock_as_the_list_itself_does(tmp_path: Path) -> None:
    ca = Ca()
    async with bench(tmp_path) as found:
        source = await _hold(found, ca, 5)
        seen = []
        for _ in range(24 * 8):
            seen.append((found.ask(7, ca).freshness, found.cache.get(source).state))
            found.clock.advance(timedelta(hours=1))
        assert all(answered is shown for answered, shown in seen)
        assert list(dict.fromkeys(answered for answered, _ in seen)) == [
            Freshness.FRESH,
            Freshness.STALE,
            Freshness.EXPIRED,
        ]


def test_the_daemon_does_not_load_what_only_its_indexer_needs() -> None:
    program = "import cardd.daemon, sys; print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.slow
async def test_a_million_entries_are_taken_in_and_cost_the_daemons_own_memory_little(tmp_path: Path) -> None:
    ca, entries = rsa_ca(), 1_000_000
    content, serials = large_list(ca, entries, datetime.now(UTC).replace(microsecond=0))
    (tmp_path / "ca.pem").write_text(ca.pem)
    async with serving() as server:
        url = server.on("/large.crl", content)
        program = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.caching", str(tmp_path), url, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await program.communicate()
        watched = msgspec.json.decode(output, type=Watched)
    assert watched.entries == entries
    assert watched.more_mib <= 64
    async with bench(tmp_path, clock=SystemClock()) as again:
        assert again.server.asked == []
        assert {again.ask(serial, ca).status for serial in serials[::1000]} == {Status.REVOKED}
        assert again.ask(2**127, ca).status is Status.GOOD
