"""Cards that are inserted make the lists known that their certificates name."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from cardd.cards.inserted import InsertedCard, InsertedCards
from cardd.cards.namedlists import NamedLists
from cardd.cards.recognition import CardCredential, CardFindings
from cardd.cards.types import CardRole, CardSerial
from cardd.events import EventType
from cardd.readers import CardGeneration, ReaderName
from cardd.revocation.learning import Learner
from cardd.revocation.trust import TrustStore
from cardd_pkcs11.types import KeyId
from tests.support.revocation import Bench, Ca, bench, ec_key

URL = "http://lists.example.org/x.crl"


@dataclass
class Readers:
    """The cards in readers, as a test says."""

    stays: list[InsertedCard] = field(default_factory=list)

    def cards(self) -> tuple[InsertedCard, ...]:
        return tuple(self.stays)


def card(*certificates: x509.Certificate) -> InsertedCard:
    """A card that shows certificates."""
    found = tuple(
        CardCredential(CardRole.AUTHENTICATION, KeyId(b"\x01"), "x", each, each.public_bytes(Encoding.DER))
        for each in certificates
    )
    stay = InsertedCard(ReaderName("reader"), CardSerial("00000017"), CardGeneration.UNKNOWN)
    stay.findings = CardFindings(credentials=found)
    return stay


def named(ca: Ca, serial: int = 1) -> x509.Certificate:
    """A certificate of a CA that names a list."""
    points = [x509.DistributionPoint([x509.UniformResourceIdentifier(URL)], None, None, None)]
    return ca.issue(serial, x509.CRLDistributionPoints(points))


def following(cached: Bench, readers: Readers) -> NamedLists:
    trust = TrustStore(lambda: [cached.ca.certificate], cached.directory)
    return NamedLists(cached.bus, cast("InsertedCards", readers), Learner(trust, cached.cache))


async def test_the_list_of_a_card_is_kept_as_soon_as_the_card_was_read(tmp_path: Path) -> None:
    async with bench(tmp_path) as cached:
        readers = Readers()
        task = asyncio.create_task(following(cached, readers).follow())
        while not cached.bus.listeners:  # noqa: ASYNC110 (the listener is another task's)
            await asyncio.sleep(0)
        readers.stays.append(card(named(cached.ca)))
        async with cached.store.transaction() as tx:
            tx.publish(EventType.CARD_READ, "card:00000017")
        while not cached.cache.lists():  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        (view,) = cached.cache.lists()
        assert (view.origin, view.urls) == ("certificate", (URL,))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_strangers_card_makes_nothing_known(tmp_path: Path) -> None:
    async with bench(tmp_path) as cached:
        await following(cached, Readers([card(named(Ca("STRANGER", ec_key(4))))])).learn()
        assert cached.cache.lists() == []


async def test_a_list_that_was_removed_does_not_come_back_while_the_card_stays(tmp_path: Path) -> None:
    async with bench(tmp_path) as cached:
        lists = following(cached, Readers([card(named(cached.ca))]))
        await lists.learn()
        (view,) = cached.cache.lists()
        await cached.settle(view.id)
        await cached.cache.remove(view.id)
        await lists.learn()
        assert cached.cache.lists() == []
