"""Events as they happen, as server-sent events (HTML Living Standard §9.2), without gap or double."""

import asyncio
from collections.abc import Callable
from http import HTTPMethod
from typing import Any

import msgspec
from aiohttp import web

from cardd.errors import FieldProblem, InvalidFieldsError
from cardd.events import Event, EventType, Subscription
from cardd.store import Store
from cardd.text import Text
from cardd_webservice.errors import TooManyStreamsError
from cardd_webservice.guard.callers import Caller
from cardd_webservice.guard.policy import CallerKind
from cardd_webservice.operations import READ, Answer, Call, Nothing, Operation, Parameter
from cardd_webservice.streams import STREAMS

_LAST_EVENT_ID = "Last-Event-ID"
_BATCH = 500
_MOST_DIGITS = 18
_NOT_A_NUMBER = Text("must be the number of an event", "doit être le numéro d’un événement")

MEDIA_TYPE = "text/event-stream"


async def follow(call: Call[Nothing], shown: int | None = None) -> Answer:
    """Send the events after `Last-Event-ID`, else after the one of number `shown`, else from now on.

    It ends when the listener or the daemon goes.
    """
    received = event_number(_LAST_EVENT_ID, call.request.headers.get(_LAST_EVENT_ID, "").strip())
    after = shown if received is None else received
    streams = call.request.app[STREAMS]
    with streams.place(call.caller), call.services.bus.subscribe() as subscription:
        position = after if after is not None else await call.services.store.last_event_number()
        response = web.StreamResponse(headers={"Content-Type": MEDIA_TYPE, "Cache-Control": "no-store"})
        await response.prepare(call.request)
        source = _Source(call.services.store, subscription, position)
        try:
            pump = _pump(source, response, _last_of(call.caller), streams.policy.heartbeat_seconds)
            await streams.run(pump)
            await response.write_eof()
        except ConnectionError:
            return response
    return response


def event_number(field: str, given: str) -> int | None:
    """Return the number of an event, None where none is given; raises `InvalidFieldsError` naming `field`."""
    if not given:
        return None
    if not (given.isascii() and given.isdecimal() and len(given) <= _MOST_DIGITS):
        raise InvalidFieldsError([FieldProblem(field, _NOT_A_NUMBER)])
    return int(given)


class _Source:
    """The outbox first, then the bus; each event once, in the order of their numbers."""

    def __init__(self, store: Store, subscription: Subscription, position: int) -> None:
        self._store = store
        self._subscription = subscription
        self._position = position
        self._behind = True

    async def next(self) -> list[Event]:
        """Wait for the next events."""
        while True:
            if self._behind or self._subscription.overflowed:
                events = await self._missed()
            else:
                events = [await self._subscription.next()]
            fresh = [event for event in events if event.id > self._position]
            if fresh:
                self._position = fresh[-1].id
                return fresh

    async def _missed(self) -> list[Event]:
        """Read from the outbox; whatever the bus dropped before this read is in it."""
        self._subscription.overflowed = False
        events = await self._store.events_after(self._position, limit=_BATCH)
        self._behind = len(events) == _BATCH
        return events


def _last_of(caller: Caller) -> Callable[[Event], bool]:
    """Tell which event is the last that a caller gets: who is no longer let in hears no more."""
    if caller.application is not None:
        over = (EventType.APPLICATION_REVOKED, EventType.APPLICATION_EXPIRED)
        return lambda event: event.type in over and event.subject == caller.name
    if caller.kind is CallerKind.OWNER:
        return lambda event: event.type is EventType.OWNER_TOKEN_ROTATED
    return lambda _event: False


async def _pump(
    source: _Source,
    response: web.StreamResponse,
    is_last: Callable[[Event], bool],
    heartbeat_seconds: float,
) -> None:
    await response.write(b": connected\n\n")
    waiting: asyncio.Task[list[Event]] | None = None
    try:
        while True:
            waiting = waiting or asyncio.create_task(source.next())
            done, _ = await asyncio.wait({waiting}, timeout=heartbeat_seconds)
            if not done:
                await response.write(b": heartbeat\n\n")
                continue
            events, waiting = waiting.result(), None
            last = next((number for number, event in enumerate(events) if is_last(event)), None)
            await response.write(b"".join(map(_encoded, events[: None if last is None else last + 1])))
            if last is not None:
                return
    finally:
        if waiting is not None:
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)


def _encoded(event: Event) -> bytes:
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (event.id, event.type.encode(), msgspec.json.encode(event))


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method=HTTPMethod.GET,
        path="/events",
        handler=follow,
        scopes=READ,
        takes=Nothing,
        answers=Event,
        summary="Follow events",
        tag="Service",
        headers=(Parameter(_LAST_EVENT_ID, "Number of the last event received.", pattern="^[0-9]{1,18}$"),),
        errors=(TooManyStreamsError,),
        media_types=(MEDIA_TYPE,),
    ),
)
