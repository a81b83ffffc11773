"""What other machines that share the database have done, and what this one does about it, as they tell of it.

Everything here is found again by the duties of the upkeep; the events only make it quick.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from cardd.cards.errors import SessionEnd
from cardd.cards.records import load_card
from cardd.errors import CarddError
from cardd.events import Event, EventType, Subscription
from cardd.parts import Parts

_log = structlog.get_logger(__name__)

#: What changes lists and OCSP answers.
_OF_LISTS = frozenset({EventType.CERTIFICATE_REVOKED, EventType.CARD_OPPOSED, EventType.CRL_PUBLISHED})


@asynccontextmanager
async def following(parts: Parts) -> AsyncIterator[None]:
    """Follow the other machines for the length of the context; nothing where there is none."""
    if not parts.store.shared:
        yield
        return
    with parts.bus.subscribe() as events:
        task = asyncio.create_task(_follow(parts, events), name="following other machines")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def _follow(parts: Parts, events: Subscription) -> None:
    while True:
        batch: list[Event | None] = [await events.next(), *events.waiting()]
        if events.overflowed:
            events.overflowed = False
            batch.append(None)
        try:
            await _act(parts, batch)
        except CarddError as error:
            _log.warning("following.failed", code=error.code, detail=error.detail.en)
        except Exception:  # noqa: BLE001 (one event may not end the following; the log has the traceback)
            _log.exception("following.failed")


async def _act(parts: Parts, batch: list[Event | None]) -> None:
    """Act on a batch of events, None standing for those that were missed."""
    types = {event.type for event in batch if event is not None}
    missed = None in batch
    if missed or types & _OF_LISTS:
        await parts.pki.follow()
    if missed or EventType.KEY_COPY_NOTICED in types:
        for holding in parts.holdings:
            await holding.compare()
    if parts.desk is not None and (missed or EventType.MACHINE_ENROLLED in types):
        await parts.desk.trust_enrolled()
    for event in batch:
        if event is not None and event.type is EventType.CARD_OPPOSED:
            card = await load_card(parts.store, event.subject.removeprefix("card:"))
            if not card.elsewhere:
                await parts.sessions.card_gone(card, SessionEnd.OPPOSED)
