"""Applications that were let in: their tokens, their scopes, and their end."""

import itertools
from datetime import timedelta

import pytest

from cardd.applications.errors import ApplicationEndedError
from cardd.applications.registry import Applications
from cardd.applications.types import ApplicationState, Scope
from cardd.errors import NotFoundError
from tests.unit.applications.conftest import ORIGIN, Rooms


async def test_only_a_token_that_was_handed_out_is_somebodys(rooms: Rooms) -> None:
    token = await rooms.paired()
    assert await rooms.applications.holder_of(token) is not None
    for wrong in ("", "x", token[:-1], token + "x", "\udcff"):
        assert await rooms.applications.holder_of(wrong) is None


async def test_a_revoked_application_is_out_at_once_and_for_good(rooms: Rooms) -> None:
    token = await rooms.paired()
    holder = await rooms.applications.holder_of(token)
    assert holder is not None
    assert await rooms.applications.origins() == {ORIGIN}
    await rooms.applications.revoke(holder.id)
    assert await rooms.applications.holder_of(token) is None
    assert await rooms.applications.origins() == frozenset()
    assert await Applications(rooms.store, rooms.clock).holder_of(token) is None
    with pytest.raises(ApplicationEndedError):
        await rooms.applications.revoke(holder.id)
    with pytest.raises(ApplicationEndedError):
        await rooms.applications.rename(holder.id, "again")
    assert (await rooms.applications.get(holder.id)).state is ApplicationState.REVOKED


async def test_an_application_whose_time_is_over_is_out_before_anybody_tidies(rooms: Rooms) -> None:
    token = await rooms.paired(days=1)
    holder = await rooms.applications.holder_of(token)
    assert holder is not None
    rooms.clock.advance(timedelta(days=1))
    assert await rooms.applications.holder_of(token) is None
    assert await rooms.applications.origins() == frozenset()
    assert (await rooms.applications.get(holder.id)).state is ApplicationState.EXPIRED
    await rooms.applications.expire_due()
    assert ("application.expired", "application") in await rooms.lines()


async def test_without_an_end_an_application_stays(rooms: Rooms) -> None:
    token = await rooms.paired(days=None)
    rooms.clock.advance(timedelta(days=4000))
    assert await rooms.applications.holder_of(token) is not None


async def test_a_change_by_another_daemon_is_seen_within_a_second(rooms: Rooms) -> None:
    token = await rooms.paired()
    other = Applications(rooms.store, rooms.clock)
    holder = await other.holder_of(token)
    assert holder is not None
    await rooms.applications.revoke(holder.id)
    rooms.clock.advance(timedelta(seconds=1))
    assert await other.holder_of(token) is None


async def test_a_holder_that_was_looked_up_is_still_let_in_until_anything_changes(rooms: Rooms) -> None:
    token = await rooms.paired(days=1)
    await rooms.applications.holder_of(token)
    holder = await rooms.applications.holder_of(token)
    assert holder is not None
    assert rooms.applications.still_lets_in(holder)
    rooms.applications.changed()
    assert not rooms.applications.still_lets_in(holder), (
        "nothing is known before the applications are read again"
    )
    again = await rooms.applications.holder_of(token)
    assert again is not None
    assert not rooms.applications.still_lets_in(holder), "the view is of an earlier reading"
    assert rooms.applications.still_lets_in(again)
    rooms.clock.advance(timedelta(seconds=1))
    assert not rooms.applications.still_lets_in(again), "another daemon may have changed something"


async def test_an_application_is_renamed(rooms: Rooms) -> None:
    token = await rooms.paired()
    holder = await rooms.applications.holder_of(token)
    assert holder is not None
    assert (await rooms.applications.rename(holder.id, "  Nouveau  ")).name == "Nouveau"
    renamed = await rooms.applications.holder_of(token)
    assert renamed is not None
    assert renamed.name == "Nouveau"
    with pytest.raises(NotFoundError):
        await rooms.applications.rename("nobody", "x")


async def test_the_last_use_is_kept(rooms: Rooms) -> None:
    token = await rooms.paired()
    rooms.clock.advance(timedelta(hours=1))
    holder = await rooms.applications.holder_of(token)
    assert holder is not None
    rooms.clock.advance(timedelta(hours=1))
    await rooms.applications.holder_of(token)
    await rooms.applications.expire_due()
    (listed,) = await Applications(rooms.store, rooms.clock).list()
    assert listed.last_used_at == rooms.clock.now()


async def test_a_scope_lets_through_what_names_it_and_owner_everything(rooms: Rooms) -> None:
    for granted, wanted in itertools.product(Scope, Scope):
        token = await rooms.paired(granted)
        holder = await rooms.applications.holder_of(token)
        assert holder is not None
        assert holder.may(frozenset({wanted})) is (granted in (wanted, Scope.OWNER))
        await rooms.applications.revoke(holder.id)
