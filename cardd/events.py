"""Typed events and their bus.

An event is first a row of the outbox, written in the transaction of the change it tells of; the bus
carries it to those who listen now. Who was away reads what it missed from the outbox, by number.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import datetime
from enum import StrEnum, unique
from typing import Any

import msgspec


@unique
class EventType(StrEnum):
    """What can happen, as named in the event stream."""

    READER_ADDED = "reader.added"
    READER_REMOVED = "reader.removed"
    READER_CHANGED = "reader.changed"
    READER_SERVICE_DOWN = "reader.service_down"
    READER_SERVICE_UP = "reader.service_up"
    CARD_CREATED = "card.created"
    CARD_INSERTED = "card.inserted"
    CARD_READ = "card.read"
    CARD_REMOVED = "card.removed"
    CARD_OPPOSED = "card.opposed"
    CARD_PIN_CHANGED = "card.pin_changed"
    CARD_PIN_BLOCKED = "card.pin_blocked"
    CARD_PIN_UNBLOCKED = "card.pin_unblocked"
    CARD_SESSION_OPENED = "card.session_opened"
    CARD_SESSION_CLOSED = "card.session_closed"
    HABILITATION_SUBMITTED = "habilitation.submitted"
    HABILITATION_APPROVED = "habilitation.approved"
    HABILITATION_REFUSED = "habilitation.refused"
    HABILITATION_WITHDRAWN = "habilitation.withdrawn"
    ORDER_CREATED = "order.created"
    ORDER_POSSESSION_PROVEN = "order.possession_proven"
    ORDER_RETRIEVED = "order.retrieved"
    ORDER_CANCELLED = "order.cancelled"
    ORDER_EXPIRED = "order.expired"
    CERTIFICATE_ISSUED = "certificate.issued"
    CERTIFICATE_REVOKED = "certificate.revoked"
    CERTIFICATE_EXPIRING = "certificate.expiring"
    CERTIFICATE_NOTICE_FAILED = "certificate.notice_failed"
    CRL_PUBLISHED = "crl.published"
    CRL_ADDED = "crl.added"
    CRL_REMOVED = "crl.removed"
    CRL_UPDATED = "crl.updated"
    CRL_FETCH_FAILED = "crl.fetch_failed"
    CRL_AGED = "crl.aged"
    KEY_CREATED = "key.created"
    KEY_DESTROYED = "key.destroyed"
    KEY_COPY_NOTICED = "key.copy_noticed"
    KEY_BLOCKED = "key.blocked"
    PAIRING_REQUESTED = "pairing.requested"
    PAIRING_ALLOWED = "pairing.allowed"
    PAIRING_DENIED = "pairing.denied"
    PAIRING_ENDED = "pairing.ended"
    APPLICATION_ACTIVATED = "application.activated"
    APPLICATION_RENAMED = "application.renamed"
    APPLICATION_REVOKED = "application.revoked"
    APPLICATION_EXPIRED = "application.expired"
    CONSENT_ASKED = "consent.asked"
    CONSENT_GRANTED = "consent.granted"
    CONSENT_DENIED = "consent.denied"
    CONSENT_ENDED = "consent.ended"
    OWNER_TOKEN_ROTATED = "owner.token_rotated"  # noqa: S105 (an event's name)


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened; `id` is its number in the outbox and grows without end."""

    id: int
    at: datetime
    type: EventType
    subject: str
    data: dict[str, Any]


class Subscription:
    """One listener's queue; `overflowed` tells that it was too slow and must re-read the outbox."""

    def __init__(self, limit: int) -> None:
        self._queue: asyncio.Queue[Event] = asyncio.Queue(limit)
        self.overflowed = False

    def offer(self, event: Event) -> None:
        """Queue the event, or mark the listener as too slow."""
        try:
            self._queue.put_nowait(event)
        except asyncio.QueueFull:
            self.overflowed = True

    async def next(self) -> Event:
        """Wait for the next event."""
        return await self._queue.get()

    async def __aiter__(self) -> AsyncIterator[Event]:
        while True:
            yield await self.next()


class EventBus:
    """Carries committed events to the listeners of this process; never blocks the publisher."""

    #: Events a listener may lag behind before it has to read the outbox again.
    QUEUE_LIMIT = 1000

    def __init__(self) -> None:
        self._subscriptions: set[Subscription] = set()

    @contextmanager
    def subscribe(self) -> Iterator[Subscription]:
        """Listen for as long as the context is open."""
        subscription = Subscription(self.QUEUE_LIMIT)
        self._subscriptions.add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)

    def publish(self, event: Event) -> None:
        """Hand a committed event to every listener."""
        for subscription in self._subscriptions:
            subscription.offer(event)

    @property
    def listeners(self) -> int:
        """Return how many listen now."""
        return len(self._subscriptions)
