"""What a newcomer finds: one structure, one approved habilitation, one authorised test card, inserted.

Made once for a state, and a card on each machine that shares it. Each step first looks for what an
earlier, interrupted start has left.
"""

import sqlalchemy as sa

from cardd.cards.records import load_cards
from cardd.cards.testcards import TestCards
from cardd.cards.types import CardType, TestCardRequest
from cardd.orders.habilitations import Habilitations
from cardd.orders.types import (
    HabilitationForm,
    HabilitationId,
    HabilitationState,
    HabilitationView,
    Offer,
    Recipient,
    WantedCards,
    WantedOffer,
)
from cardd.store import Store, tables

#: The PIN of the demonstration's card, as of every new test card for which none is chosen.
DEMO_PIN = "1234"

_FORM = HabilitationForm(
    structure_name="CABINET DE TEST CARDD",
    delivery_address="1 rue de l’Exemple",
    postal_code="75001",
    town="Paris",
    siret="99999999800019",
    recipient=Recipient(
        last_name="DEMO",
        first_name="Camille",
        function="Responsable des essais",
        phone="+33100000000",
        email="demo@example.org",
    ),
    cards=(WantedCards(type="cps", quantity=1, use="Démonstration"),),
    offers=tuple(WantedOffer(offer=offer, use="Démonstration") for offer in Offer),
)
_FACT = "demonstration"


async def ensure_demonstration(store: Store, habilitations: Habilitations, cards: TestCards) -> None:
    """Make the demonstration where this state has none yet; what its owner changes later stays changed."""
    table, fact = tables.instance, store.own_name(_FACT)
    async with store.read() as connection:
        if (
            await connection.execute(sa.select(table.c.value).where(table.c.name == fact))
        ).first() is not None:
            return
    habilitation = await _approved_habilitation(habilitations)
    here = [card.serial for card in await load_cards(store) if not card.elsewhere]
    found = [serial for serial in habilitation.cards if serial in here]
    serial = found[0] if found else await _new_card(cards, habilitation.id)
    await cards.insert(serial)
    async with store.transaction() as tx:
        value = {"habilitation": habilitation.id, "card": serial}
        await tx.execute(sa.insert(table).values(name=fact, value=value))


async def _approved_habilitation(habilitations: Habilitations) -> HabilitationView:
    known = (await habilitations.list()).items
    habilitation = known[0] if known else await habilitations.submit(_FORM)
    if habilitation.state is HabilitationState.SUBMITTED:
        return await habilitations.approve(habilitation.id)
    return habilitation


async def _new_card(cards: TestCards, habilitation: HabilitationId) -> str:
    request = TestCardRequest(habilitation=habilitation, type=CardType.CPS, pin=DEMO_PIN)
    return (await cards.create(request)).serial
