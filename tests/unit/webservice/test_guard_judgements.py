"""A judgement that stands for the next request on a connection stands for nothing else."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa

from cardd.applications.types import Scope
from cardd.clock import ManualClock
from cardd.store.tables import applications
from cardd_webservice.guard.origins import check_host
from cardd_webservice.guard.policy import GuardPolicy
from tests.support.pairing import ORIGIN, paired
from tests.support.webservice import CARD, Running

CARDS = "GET /api/v1/cards"
STATUS = "GET /api/v1/status?issuer=" + "ab" * 32 + "&serial=01"


class Conversation(NamedTuple):
    """Requests in a row on one connection."""

    service: Running
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @property
    def host(self) -> str:
        """The line that addresses a request to the service."""
        return f"Host: 127.0.0.1:{urlsplit(self.service.address).port}"

    async def ask(self, request: str, token: str | None, *lines: str, host: str | None = None) -> int:
        """Return the status of a request; lines are further headers."""
        return (await self.answer(request, token, *lines, host=host))[0]

    async def answer(
        self, request: str, token: str | None, *lines: str, host: str | None = None
    ) -> tuple[int, bytes]:
        """Return status and head of the answer to a request."""
        bearer = [] if token is None else [f"Authorization: Bearer {token}"]
        head = [f"{request} HTTP/1.1", host or self.host, *bearer, *lines]
        self.writer.write(("\r\n".join(head) + "\r\n\r\n").encode())
        async with asyncio.timeout(20):
            answered = (await self.reader.readuntil(b"\r\n\r\n")).lower()
            length = answered.partition(b"content-length: ")[2].partition(b"\r\n")[0]
            await self.reader.readexactly(int(length or 0))
        return int(answered.split(b" ", 2)[1]), answered


@asynccontextmanager
async def conversation(service: Running) -> AsyncIterator[Conversation]:
    """Open a connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(service.address).port)
    try:
        yield Conversation(service, reader, writer)
    finally:
        writer.close()


@pytest.fixture
async def talk(service: Running) -> AsyncIterator[Conversation]:
    async with conversation(service) as opened:
        yield opened


def _pass(service: Running, seconds: float) -> None:
    assert isinstance(service.services.clock, ManualClock)
    service.services.clock.advance(timedelta(seconds=seconds))


async def _only_application(service: Running) -> str:
    _, listed = await service.json("GET", "/api/v1/applications")
    (application,) = listed["items"]
    return str(application["id"])


async def _change(service: Running, **values: object) -> None:
    """Change the applications in the database, as another daemon does that shares it."""
    async with service.services.store.transaction() as tx:
        await tx.execute(sa.update(applications).values(values))


async def test_what_says_the_same_on_a_connection_is_judged_once(
    talk: Conversation, service: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged: list[str] = []

    def counted(policy: GuardPolicy, hosts: Sequence[str], target: str, port: int | None) -> str:
        judged.append(target)
        return check_host(policy, hosts, target, port)

    monkeypatch.setattr("cardd_webservice.guard.middleware.check_host", counted)
    token = await paired(service, Scope.READ, Scope.VALIDATE)
    assert await talk.ask(CARDS, token) == 200, "the first use of a token closes its pairing"
    for each in (token, service.token):
        judged.clear()
        for _ in range(3):
            assert await talk.ask(CARDS, each) == 200
        assert len(judged) == 1


async def test_an_application_that_is_revoked_is_refused_at_once(
    talk: Conversation, service: Running
) -> None:
    token = await paired(service, Scope.READ)
    assert [await talk.ask(CARDS, token) for _ in range(3)] == [200] * 3
    async with service.call("DELETE", f"/api/v1/applications/{await _only_application(service)}") as response:
        assert response.status == 204
    assert [await talk.ask(CARDS, token) for _ in range(2)] == [401] * 2
    assert await talk.ask(CARDS, service.token) == 200


async def test_an_application_that_lost_a_scope_on_another_machine_is_refused_within_a_second(
    talk: Conversation, service: Running
) -> None:
    token = await paired(service, Scope.READ)
    assert [await talk.ask(CARDS, token) for _ in range(3)] == [200] * 3
    await _change(service, scopes=[Scope.VALIDATE])
    _pass(service, 1)
    assert await talk.ask(CARDS, token) == 403
    assert await talk.ask(STATUS, token) == 200


async def test_a_change_of_scopes_that_this_daemon_is_told_of_counts_at_once(
    talk: Conversation, service: Running
) -> None:
    token = await paired(service, Scope.READ)
    assert [await talk.ask(CARDS, token) for _ in range(3)] == [200] * 3
    await _change(service, scopes=[Scope.VALIDATE])
    service.services.applications.changed()
    assert await talk.ask(CARDS, token) == 403


async def test_an_application_whose_time_is_over_is_refused(talk: Conversation, service: Running) -> None:
    token = await paired(service, Scope.READ)
    await _change(service, expires_at=service.services.clock.now() + timedelta(seconds=0.5))
    service.services.applications.changed()
    assert [await talk.ask(CARDS, token) for _ in range(3)] == [200] * 3
    _pass(service, 0.5)
    assert await talk.ask(CARDS, token) == 401


async def test_the_owners_token_that_was_replaced_is_refused_at_once(
    talk: Conversation, service: Running
) -> None:
    assert [await talk.ask(CARDS, service.token) for _ in range(3)] == [200] * 3
    async with service.call("POST", "/api/v1/owner/token-rotation", json={}) as response:
        assert response.status == 204
    assert [await talk.ask(CARDS, service.token) for _ in range(2)] == [401] * 2
    new = (service.services.settings.state / "token").read_text().strip()
    assert [await talk.ask(CARDS, new) for _ in range(2)] == [200] * 2
    assert await talk.ask(CARDS, service.token) == 401


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        (lambda talk: talk.ask(CARDS, talk.service.token, host="Host: evil.example"), 421),
        (lambda talk: talk.ask(CARDS, talk.service.token, talk.host), 400),
        (lambda talk: talk.ask("GET http://evil.example/api/v1/cards", talk.service.token), 421),
        (lambda talk: talk.ask("GET http://127.0.0.1/api/v1/cards", talk.service.token), 421),
        (lambda talk: talk.ask(CARDS, talk.service.token, "Origin: https://evil.example"), 403),
        (lambda talk: talk.ask(CARDS, talk.service.token, "Origin: null"), 403),
        (lambda talk: talk.ask(CARDS, talk.service.token, "Sec-Fetch-Site: cross-site"), 403),
        (lambda talk: talk.ask(CARDS, None), 401),
        (lambda talk: talk.ask(CARDS, talk.service.token + "x"), 401),
        (lambda talk: talk.ask(CARDS, talk.service.token, "Authorization: Bearer x"), 401),
        (lambda talk: talk.ask("GET /cartes", talk.service.token), 403),
        (lambda talk: talk.ask("POST /api/v1/pairings/x/approval", "x"), 401),
    ],
)
async def test_another_host_target_origin_or_token_on_the_connection_is_judged_anew(
    talk: Conversation, changed: Callable[[Conversation], Awaitable[int]], status: int
) -> None:
    assert [await talk.ask(CARDS, talk.service.token) for _ in range(2)] == [200] * 2
    assert await changed(talk) == status
    if status != 400:
        assert await talk.ask(CARDS, talk.service.token) == 200, "a refusal takes nothing from the next"


async def test_a_route_that_asks_another_scope_is_judged_anew(talk: Conversation, service: Running) -> None:
    token = await paired(service, Scope.READ)
    for _ in range(2):
        assert await talk.ask(CARDS, token) == 200
        assert await talk.ask(STATUS, token) == 403
        assert await talk.ask("GET /api/v1/audit", token) == 403
        assert await talk.ask("GET /api/v1/nothing", token) == 404


async def test_refusals_after_a_judgement_that_stands_are_counted(
    talk: Conversation, service: Running
) -> None:
    assert await talk.ask(CARDS, service.token) == 200
    for host in ("Host: evil.example", "Host: localhost.evil"):
        assert await talk.ask(CARDS, service.token, host=host) == 421
    refused = service.services.metrics.get_sample_value("cardd_guard_refusals_total", {"reason": "host"})
    assert refused == 2


async def test_a_judgement_is_not_another_connections(talk: Conversation, service: Running) -> None:
    assert await talk.ask(CARDS, service.token) == 200
    async with conversation(service) as other:
        assert await other.ask(CARDS, None) == 401
        assert await other.ask(CARDS, service.token) == 200


async def test_a_card_session_that_was_closed_authorises_no_further_request(
    talk: Conversation, service: Running
) -> None:
    line = f"Card-Session: {await service.session()}"
    assert [await talk.ask("GET /api/v1/orders", service.token, line) for _ in range(2)] == [200] * 2
    async with service.call("DELETE", f"/api/v1/cards/{CARD}/session") as response:
        assert response.status == 204
    assert await talk.ask("GET /api/v1/orders", service.token, line) not in (200, 401)


async def test_a_paired_page_is_told_each_time_that_it_may_read_and_a_revoked_one_never(
    talk: Conversation, service: Running
) -> None:
    token = await paired(service, Scope.VALIDATE, origin=ORIGIN)
    page = (f"Origin: {ORIGIN}", "Sec-Fetch-Site: cross-site")
    for _ in range(4):
        status, head = await talk.answer(STATUS, token, *page)
        assert status == 200
        assert f"access-control-allow-origin: {ORIGIN}".encode() in head
    async with service.call("DELETE", f"/api/v1/applications/{await _only_application(service)}") as response:
        assert response.status == 204
    status, head = await talk.answer(STATUS, token, *page)
    assert status == 403
    assert b"access-control" not in head


async def test_what_an_application_did_last_is_noted_where_it_is_not_judged_anew(
    talk: Conversation, service: Running
) -> None:
    token = await paired(service, Scope.READ)
    for _ in range(3):
        assert await talk.ask(CARDS, token) == 200
    _pass(service, 0.5)
    assert await talk.ask(CARDS, token) == 200
    used = await service.services.applications.get(await _only_application(service))
    assert used.last_used_at == service.services.clock.now()
