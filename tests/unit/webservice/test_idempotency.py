"""A POST sent twice has one effect, whatever happens in between."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from cardd.clock import ManualClock
from cardd.orders.types import OrderRequest, OrderView
from cardd.store.tables import idempotency
from tests.support.webservice import CARD, PIN, START, Orders, Running, order_request, running

PATH = "/api/v1/orders"


async def _order(
    running_service: Running, key: str, session: str, **changes: Any
) -> tuple[int, Any, str | None]:
    headers = {"Idempotency-Key": key, "Card-Session": session}
    async with running_service.call("POST", PATH, json=order_request(**changes), headers=headers) as response:
        return (
            response.status,
            await response.json(content_type=None),
            response.headers.get("Idempotent-Replayed"),
        )


async def _rows(service: Running) -> list[Any]:
    async with service.services.store.read() as connection:
        return list((await connection.execute(sa.select(idempotency))).all())


async def test_a_repetition_gets_the_first_answer(service: Running) -> None:
    session = await service.session()
    first = await _order(service, "k1", session)
    assert first[0] == 201
    assert first[2] is None
    again = await _order(service, "k1", session)
    assert again == (201, first[1], "true")
    assert len(service.orders.made) == 1


async def test_a_repetition_is_answered_when_the_card_session_is_gone(service: Running) -> None:
    session = await service.session()
    first = await _order(service, "k1", session)
    await service.json("DELETE", f"/api/v1/cards/{CARD}/session")
    assert (await _order(service, "k1", session))[1] == first[1]
    assert (await _order(service, "k2", session))[0] == 403


async def test_a_key_that_comes_with_another_request_is_refused(service: Running) -> None:
    session = await service.session()
    await _order(service, "k1", session)
    status, problem, _ = await _order(service, "k1", session, service="OTHER")
    assert status == 422
    assert problem["type"] == "urn:cardd:error:idempotency_key_reused"
    headers = {"Idempotency-Key": "k1"}
    status, problem = await service.json("POST", "/api/v1/habilitations/h1/approval", headers=headers)
    assert problem["type"] == "urn:cardd:error:idempotency_key_reused"


async def test_twenty_at_once_have_one_effect_and_one_answer(service: Running) -> None:
    session = await service.session()
    answers = await asyncio.gather(*(_order(service, "k1", session) for _ in range(20)))
    assert len(service.orders.made) == 1
    assert {answer[1]["id"] for answer in answers} == set(service.orders.made)
    assert sorted(answer[2] or "" for answer in answers) == [""] + ["true"] * 19


async def test_a_refused_request_may_be_corrected_under_its_key(service: Running) -> None:
    session = await service.session()
    assert (await _order(service, "k1", "unknown"))[0] == 403
    assert (await _order(service, "k1", session))[0] == 201


async def test_an_answer_outlives_the_daemon(tmp_path: Path) -> None:
    async with running(tmp_path) as service:
        first = await _order(service, "k1", await service.session())
    async with running(tmp_path) as service:
        assert await _order(service, "k1", "gone") == (201, first[1], "true")


class _FailsAfterCommit(Orders):
    """Commits its effect and fails before it answers."""

    async def create(self, request: OrderRequest, session: Any) -> OrderView:
        await super().create(request, session)
        raise RuntimeError


async def test_a_request_cut_short_between_effect_and_answer_is_answered_anew(tmp_path: Path) -> None:
    async with running(tmp_path) as service:
        session = await service.session()
        failing = _FailsAfterCommit(service.services.store)
        object.__setattr__(service.services, "orders", failing)
        with capture_logs():
            assert (await _order(service, "k1", session))[0] == 500
        (made,) = failing.made
        (row,) = await _rows(service)
        assert (row.kind, row.subject, row.status) == ("order", made, None)
        status, order, replayed = await _order(service, "k1", session)
        assert (status, order["id"], replayed) == (201, made, "true")
        assert len(failing.made) == 1


async def test_nothing_secret_is_stored(service: Running) -> None:
    headers = {"Idempotency-Key": "pin"}
    body = {"pin": PIN}
    path = f"/api/v1/cards/{CARD}/session"
    status, opened = await service.json("POST", path, json=body, headers=headers)
    assert status == 201
    assert await service.json("POST", path, json=body, headers=headers) == (201, opened)
    assert await _rows(service) == []


async def test_a_stored_request_hash_is_not_a_plain_hash_of_its_body(tmp_path: Path) -> None:
    hashes = set()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        async with running(tmp_path / name) as service:
            await _order(service, "k1", await service.session())
            hashes.add((await _rows(service))[0].request_sha256)
    assert len(hashes) == 2


@pytest.mark.parametrize("key", ["", "x" * 256, "two words", "é"])
async def test_a_malformed_key_is_refused(service: Running, key: str) -> None:
    status, problem, _ = await _order(service, key, await service.session())
    assert status == 422
    assert problem["fields"][0]["field"] == "Idempotency-Key"


async def test_a_decision_repeated_is_a_repetition(service: Running) -> None:
    headers = {"Idempotency-Key": "approve"}
    for replayed in (None, "true"):
        async with service.call("POST", "/api/v1/habilitations/h1/approval", headers=headers) as response:
            assert response.status == 200
            assert response.headers.get("Idempotent-Replayed") == replayed


async def test_old_answers_are_dropped_at_a_start(tmp_path: Path) -> None:
    async with running(tmp_path) as service:
        await _order(service, "k1", await service.session())
    async with running(tmp_path, clock=ManualClock(START)) as service:
        assert len(await _rows(service)) == 1
    async with running(tmp_path, clock=ManualClock(START + timedelta(days=8))) as service:
        async with service.services.store.transaction():
            pass
        assert await _rows(service) == []
