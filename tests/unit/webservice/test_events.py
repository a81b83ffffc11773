"""The event stream: nothing missed, nothing twice, and a clean end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from cardd.events import EventBus, EventType
from cardd_webservice.streams import StreamPolicy
from tests.support.webservice import Running, running

PATH = "/api/v1/events"


class _Listener:
    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def block(self) -> str:
        """Return the next block of lines; empty at the end."""
        lines = []
        async with asyncio.timeout(5):
            while line := (await self._response.content.readline()).decode():
                if line == "\n":
                    break
                lines.append(line)
        return "".join(lines)

    async def event(self) -> dict[str, Any]:
        while (block := await self.block()).startswith(":"):
            continue
        fields = dict(line.split(": ", 1) for line in block.splitlines())
        data = msgspec.json.decode(fields["data"])
        assert fields["id"] == str(data["id"])
        assert fields["event"] == data["type"]
        return dict(data)


@asynccontextmanager
async def _following(service: Running, after: int | str | None = None) -> AsyncIterator[_Listener]:
    headers = {} if after is None else {"Last-Event-ID": str(after)}
    async with service.call("GET", PATH, headers=headers) as response:
        assert response.status == 200
        assert response.content_type == "text/event-stream"
        listener = _Listener(response)
        assert await listener.block() == ": connected\n"
        yield listener


async def _publish(service: Running, number: int) -> None:
    async with service.services.store.transaction() as tx:
        tx.publish(EventType.ORDER_CREATED, f"order:{number}", number=number)


async def test_events_arrive_as_they_happen(service: Running) -> None:
    await _publish(service, 1)
    async with _following(service) as listener:
        await _publish(service, 2)
        event = await listener.event()
    assert event["type"] == "order.created"
    assert event["data"] == {"number": 2}


async def test_a_stream_resumes_after_the_last_event_received(service: Running) -> None:
    for number in range(1, 6):
        await _publish(service, number)
    async with _following(service, after=2) as listener:
        assert [(await listener.event())["data"]["number"] for _ in range(3)] == [3, 4, 5]
        await _publish(service, 6)
        assert (await listener.event())["data"]["number"] == 6


async def test_nothing_is_missed_or_doubled_between_outbox_and_bus(service: Running) -> None:
    async def publish() -> None:
        for number in range(1, 61):
            await _publish(service, number)

    async with asyncio.TaskGroup() as group:
        group.create_task(publish())
        async with _following(service, after=0) as listener:
            seen = [(await listener.event())["id"] for _ in range(60)]
    assert seen == list(range(1, 61))


async def test_a_listener_that_was_too_slow_reads_the_outbox_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(EventBus, "QUEUE_LIMIT", 2)
    async with running(tmp_path) as service, _following(service, after=0) as listener:
        async with service.services.store.transaction() as tx:
            for number in range(1, 1201):
                tx.publish(EventType.ORDER_CREATED, f"order:{number}")
        assert [(await listener.event())["id"] for _ in range(1200)] == list(range(1, 1201))


async def test_a_silent_stream_sends_heartbeats(tmp_path: Path) -> None:
    policy = StreamPolicy(heartbeat_seconds=0.01)
    async with running(tmp_path, streams=policy) as service, _following(service) as listener:
        assert await listener.block() == ": heartbeat\n"
        await _publish(service, 1)
        assert (await listener.event())["id"] == 1


async def test_only_so_many_streams_are_open_at_once(tmp_path: Path) -> None:
    async with running(tmp_path, streams=StreamPolicy(most=1)) as service, _following(service):
        status, problem = await service.json("GET", PATH)
        assert status == 503
        assert problem["type"] == "urn:cardd:error:too_many_streams"
        assert service.services.metrics.get_sample_value("cardd_event_streams") == 1


async def test_streams_end_cleanly_when_the_daemon_stops(tmp_path: Path) -> None:
    async with aiohttp.ClientSession() as http:
        async with running(tmp_path) as service:
            headers = {"Authorization": f"Bearer {service.token}"}
            response = await http.get(service.address + PATH, headers=headers)
            assert await response.content.readline() == b": connected\n"
        assert await response.content.read() == b"\n"
        assert service.services.bus.listeners == 0


@pytest.mark.parametrize("last", ["x", "-1", "1.5", "9" * 40])
async def test_a_last_event_that_is_no_number_is_refused(service: Running, last: str) -> None:
    status, problem = await service.json("GET", PATH, headers={"Last-Event-ID": last})
    assert status == 422
    assert problem["fields"][0]["field"] == "Last-Event-ID"
