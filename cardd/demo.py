"""What a newcomer finds: one structure, one approved habilitation, one authorised test card, inserted.

Made once for a state. Each step first looks for what an earlier, interrupted start has left.
"""

import sqlalchemy as sa

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
    table = tables.instance
    async with store.read() as connection:
        if (
            await connection.execute(sa.select(table.c.value).where(table.c.name == _FACT))
        ).first() is not None:
            return
    habilitation = await _approved_habilitation(habilitations)
    serial = habilitation.cards[0] if habilitation.cards else await _new_card(cards, habilitation.id)
    await cards.insert(serial)
    async with store.transaction() as tx:
        value = {"habilitation": habilitation.id, "card": serial}
        await tx.execute(sa.insert(table).values(name=_FACT, value=value))


async def _approved_habilitation(habilitations: Habilitations) -> HabilitationView:
    known = (await habilitations.list()).items
    habilitation = known[0] if known else await habilitations.submit(_FORM)
    if habilitation.state is HabilitationState.SUBMITTED:
        return await habilitations.approve(habilitation.id)
    return habilitation


async def _new_card(cards: TestCards, habilitation: HabilitationId) -> str:
    request = TestCardRequest(habilitation=habilitation, type=CardType.CPS, pin=DEMO_PIN)
    return (await cards.create(request)).serial
