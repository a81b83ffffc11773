"""Pairing: who asks, who decides, who gets a token, and what ends it."""

from datetime import timedelta
from pathlib import Path

import pytest

from cardd.applications.errors import (
    PairingCodeIncorrectError,
    PairingDeniedError,
    PairingEndedError,
    PairingPendingError,
    TooManyPairingsError,
)
from cardd.applications.types import (
    ApplicationState,
    ApprovalRequest,
    PairingRequest,
    PairingState,
    PairingTicket,
    Scope,
)
from cardd.errors import InvalidFieldsError, NotFoundError
from tests.unit.applications.conftest import ORIGIN, Rooms


def _yes(ticket: PairingTicket, **choices: object) -> ApprovalRequest:
    return ApprovalRequest(code=ticket.code, **choices)  # type: ignore[arg-type]


def _other(code: str) -> str:
    return f"{(int(code) + 1) % 1_000_000:06d}"


async def test_an_application_is_let_in_with_what_the_owner_chose(rooms: Rooms) -> None:
    ticket = await rooms.ask(scopes=(Scope.SIGN, Scope.READ, Scope.ORDER))
    assert len(ticket.code) == 6
    (shown,) = await rooms.pairings.pending()
    assert (shown.code, shown.origin, shown.name) == (ticket.code, ORIGIN, "Logiciel")
    assert (await rooms.pairings.fetch(ticket.id, ticket.secret)).state is PairingState.PENDING
    view = await rooms.pairings.allow(ticket.id, _yes(ticket, scopes=(Scope.READ,), days=7))
    assert (view.state, view.scopes) == (ApplicationState.WAITING, (Scope.READ,))
    assert view.expires_at == rooms.clock.now() + timedelta(days=7)
    outcome = await rooms.pairings.fetch(ticket.id, ticket.secret)
    assert outcome.token is not None
    holder = await rooms.applications.holder_of(outcome.token)
    assert holder is not None
    assert (holder.id, holder.origin, holder.scopes) == (view.id, ORIGIN, (Scope.READ,))
    assert await rooms.lines() == [
        ("pairing.requested", "pairing"),
        ("pairing.allowed", "pairing"),
        ("application.token_fetched", "application"),
    ]


async def test_no_token_secret_is_in_the_database(rooms: Rooms, tmp_path: Path) -> None:
    ticket = await rooms.ask()
    await rooms.pairings.allow(ticket.id, _yes(ticket))
    outcome = await rooms.pairings.fetch(ticket.id, ticket.secret)
    assert outcome.token is not None
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir() if path.is_file())
    assert outcome.token.encode() not in stored
    assert ticket.secret.encode() not in stored


async def test_an_answer_that_got_lost_is_fetched_again_until_a_token_is_used(rooms: Rooms) -> None:
    ticket = await rooms.ask()
    await rooms.pairings.allow(ticket.id, _yes(ticket))
    first = (await rooms.pairings.fetch(ticket.id, ticket.secret)).token
    second = (await rooms.pairings.fetch(ticket.id, ticket.secret)).token
    assert first is not None
    assert second is not None
    assert await rooms.applications.holder_of(first) is None
    assert await rooms.applications.holder_of(second) is not None
    with pytest.raises(PairingEndedError) as caught:
        await rooms.pairings.fetch(ticket.id, ticket.secret)
    assert caught.value.data["state"] == "completed"


async def test_one_origin_asks_once_at_a_time(rooms: Rooms) -> None:
    ticket = await rooms.ask()
    with pytest.raises(PairingPendingError):
        await rooms.ask(name="Autre nom")
    await rooms.ask(origin="https://other.example")
    await rooms.ask(origin=None)
    with pytest.raises(PairingPendingError):
        await rooms.ask(origin=None)
    await rooms.pairings.deny(ticket.id)
    await rooms.ask()


async def test_pages_cannot_keep_programs_from_asking(rooms: Rooms) -> None:
    for number in range(rooms.pairings.policy.most_pages):
        await rooms.ask(origin=f"https://{number}.example")
    with pytest.raises(TooManyPairingsError):
        await rooms.ask(origin="https://late.example")
    for number in range(rooms.pairings.policy.most_programs):
        await rooms.ask(name=f"P{number}", origin=None)
    with pytest.raises(TooManyPairingsError):
        await rooms.ask(name="late", origin=None)


async def test_a_denied_application_is_told_so(rooms: Rooms) -> None:
    ticket = await rooms.ask()
    await rooms.pairings.deny(ticket.id)
    with pytest.raises(PairingDeniedError):
        await rooms.pairings.fetch(ticket.id, ticket.secret)
    with pytest.raises(PairingEndedError):
        await rooms.pairings.allow(ticket.id, _yes(ticket))


@pytest.mark.parametrize("side", ["owner", "application"])
async def test_guesses_are_counted_and_lock_the_pairing(rooms: Rooms, side: str) -> None:
    ticket = await rooms.ask()
    for left in (4, 3, 2, 1, 0):
        with pytest.raises(PairingCodeIncorrectError) as caught:
            if side == "owner":
                await rooms.pairings.allow(ticket.id, ApprovalRequest(code=_other(ticket.code)))
            else:
                await rooms.pairings.fetch(ticket.id, "guess")
        assert caught.value.data["tries_left"] == left
    with pytest.raises(PairingEndedError) as ended:
        await rooms.pairings.allow(ticket.id, _yes(ticket))
    assert ended.value.data["state"] == "locked"
    with pytest.raises(PairingEndedError):
        await rooms.pairings.fetch(ticket.id, ticket.secret)


async def test_more_than_was_asked_for_cannot_be_granted(rooms: Rooms) -> None:
    ticket = await rooms.ask(scopes=(Scope.READ,))
    with pytest.raises(InvalidFieldsError):
        await rooms.pairings.allow(ticket.id, _yes(ticket, scopes=(Scope.READ, Scope.SIGN)))
    assert (await rooms.pairings.get(ticket.id)).state is PairingState.PENDING


async def test_what_nobody_decides_expires(rooms: Rooms) -> None:
    ticket = await rooms.ask()
    rooms.clock.advance(rooms.pairings.policy.decide_within)
    assert await rooms.pairings.pending() == ()
    with pytest.raises(PairingEndedError):
        await rooms.pairings.allow(ticket.id, _yes(ticket))
    with pytest.raises(PairingEndedError):
        await rooms.pairings.fetch(ticket.id, ticket.secret)
    await rooms.ask()
    assert (await rooms.pairings.get(ticket.id)).state is PairingState.EXPIRED


async def test_what_nobody_fetches_expires_with_its_application(rooms: Rooms) -> None:
    ticket = await rooms.ask()
    view = await rooms.pairings.allow(ticket.id, _yes(ticket))
    rooms.clock.advance(rooms.pairings.policy.fetch_within)
    await rooms.pairings.expire_due()
    assert (await rooms.applications.get(view.id)).state is ApplicationState.REVOKED
    with pytest.raises(PairingEndedError):
        await rooms.pairings.fetch(ticket.id, ticket.secret)


async def test_old_pairings_are_forgotten(rooms: Rooms) -> None:
    ticket = await rooms.ask()
    await rooms.pairings.deny(ticket.id)
    rooms.clock.advance(rooms.pairings.policy.kept_for + timedelta(seconds=1))
    await rooms.pairings.expire_due()
    with pytest.raises(NotFoundError):
        await rooms.pairings.get(ticket.id)


@pytest.mark.parametrize(
    "origin",
    [
        "null", "", "http://app.example", "https://app.example/", "https://app.example:443", "HTTPS://app.example",
        "https://user@app.example", "https://app.example:0", "https://app.example:65536", "ftp://app.example", "*",
        "https://*.example", "https://app.example\n", "https://..", "file://", "http://127.0.0.1.evil.example",
    ],
)  # fmt: skip
async def test_what_is_no_protected_origin_is_refused(rooms: Rooms, origin: str) -> None:
    with pytest.raises(InvalidFieldsError) as caught:
        await rooms.ask(origin=origin)
    assert caught.value.fields[0].field == "origin"


@pytest.mark.parametrize(
    "origin",
    ["https://app.example", "https://app.example:8443", "http://localhost:3000", "http://127.0.0.1:5173",
     "http://[::1]:5173", "http://app.localhost"],
)  # fmt: skip
async def test_protected_origins_may_ask(rooms: Rooms, origin: str) -> None:
    await rooms.ask(origin=origin)


async def test_a_page_speaks_for_its_own_origin_only(rooms: Rooms) -> None:
    request = PairingRequest(name="x", scopes=(Scope.READ,), origin=ORIGIN)
    with pytest.raises(InvalidFieldsError):
        await rooms.pairings.ask(request, "https://evil.example")
    ticket = await rooms.pairings.ask(PairingRequest(name="x", scopes=(Scope.READ,)), ORIGIN)
    assert (await rooms.pairings.get(ticket.id)).origin == ORIGIN


@pytest.mark.parametrize("name", [" ", "a\nb", "\u202eevil", "a\u200bb", "\x00"])
async def test_names_that_deceive_are_refused(rooms: Rooms, name: str) -> None:
    with pytest.raises(InvalidFieldsError) as caught:
        await rooms.ask(name=name)
    assert caught.value.fields[0].field == "name"
