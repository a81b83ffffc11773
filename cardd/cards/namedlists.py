"""The revocation lists that the certificates of inserted cards name become sources of the cache."""

import structlog

from cardd.cards.inserted import InsertedCards
from cardd.errors import CarddError
from cardd.events import EventBus, EventType
from cardd.revocation.learning import Learner

_log = structlog.get_logger(__name__)


class NamedLists:
    """Learns from each card as it is read; certificates that it has seen are not looked at again."""

    def __init__(self, bus: EventBus, inserted: InsertedCards, learner: Learner) -> None:
        self._bus = bus
        self._inserted = inserted
        self._learner = learner
        self._seen: set[bytes] = set()

    async def follow(self) -> None:
        """Learn from the cards that are there and from every one that comes, until cancelled."""
        with self._bus.subscribe() as events:
            await self.learn()
            while True:
                event = await events.next()
                if event.type is EventType.CARD_READ or events.overflowed:
                    events.overflowed = False
                    await self.learn()

    async def learn(self) -> None:
        """Learn from the cards that are in readers now."""
        for card in self._inserted.cards():
            for credential in card.findings.credentials:
                if credential.der in self._seen:
                    continue
                self._seen.add(credential.der)
                try:
                    new = await self._learner.learn(credential.certificate)
                except CarddError as error:
                    _log.info("crl not learnt", card=card.serial, code=error.code)
                    continue
                if new:
                    _log.info("crl learnt", card=card.serial, crls=[each.id for each in new])
