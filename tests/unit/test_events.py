"""The bus: what is published reaches those who listen, and no slow listener holds it up."""

from datetime import UTC, datetime

from cardd.events import Event, EventBus, EventType


def _event(number: int) -> Event:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    return Event(id=number, at=at, type=EventType.CARD_INSERTED, subject="card:1", data={})


async def test_a_listener_gets_what_is_published_while_it_listens() -> None:
    bus = EventBus()
    bus.publish(_event(1))
    with bus.subscribe() as subscription:
        bus.publish(_event(2))
        assert (await subscription.next()).id == 2
        assert bus.listeners == 1
    assert bus.listeners == 0


async def test_a_listener_too_slow_is_told_to_read_the_outbox_again() -> None:
    bus = EventBus()
    with bus.subscribe() as slow, bus.subscribe() as quick:
        for number in range(EventBus.QUEUE_LIMIT + 1):
            bus.publish(_event(number))
            await quick.next()
        assert slow.overflowed
        assert not quick.overflowed
