"""The administrative phase."""

import pytest

from cardd.errors import InvalidFieldsError, NotFoundError
from cardd.orders.errors import HabilitationDecidedError, HabilitationNotApprovedError
from cardd.orders.habilitations import scope_of
from cardd.orders.types import (
    HabilitationForm,
    HabilitationState,
    Offer,
    Recipient,
    WantedOffer,
)
from cardd.vocabulary import Usage
from tests.support.orders import CARD, FINESS, SIRET, STRUCTURE, Card, World, form_f414


def faults(error: InvalidFieldsError) -> set[str]:
    return {problem.field for problem in error.fields}


async def test_a_submitted_form_is_kept_with_its_values_normalised(bare_world: World) -> None:
    form = form_f414(finess=None, siret="187 512 751 00020", town="  PARIS   13 ")
    view = await bare_world.habilitations.submit(form)
    assert view.state is HabilitationState.SUBMITTED
    assert (view.form.siret, view.form.town) == (SIRET, "PARIS 13")
    assert [structure.id for structure in view.structures] == [f"3{SIRET}"]
    assert [step.action for step in view.history] == ["habilitation.submitted"]
    assert await bare_world.event_types() == ["habilitation.submitted"]


async def test_every_fault_of_a_form_is_named_at_once(bare_world: World) -> None:
    form = form_f414(
        finess="750712185",
        postal_code="00000",
        structure_name=" ",
        recipient=Recipient(last_name="A", first_name="B\n", function="C", phone="x", email="y"),
        offers=(WantedOffer(offer=Offer.ORG, usages=(Usage.SIGN, Usage.SSL_SERV)),),
    )
    with pytest.raises(InvalidFieldsError) as caught:
        await bare_world.habilitations.submit(form)
    assert faults(caught.value) == {
        "finess", "postal_code", "structure_name", "recipient.phone", "recipient.email", "offers.0.usages.1",
    }  # fmt: skip


@pytest.mark.parametrize("form", [form_f414(finess=None), form_f414(siret=SIRET)])
async def test_exactly_one_identifier_is_needed(bare_world: World, form: HabilitationForm) -> None:
    with pytest.raises(InvalidFieldsError) as caught:
        await bare_world.habilitations.submit(form)
    assert faults(caught.value) == {"siret"}


async def test_an_offer_without_usages_covers_all_of_its_usages(bare_world: World) -> None:
    offers = (
        WantedOffer(offer=Offer.SERV, usages=(Usage.CONF,)),
        WantedOffer(offer=Offer.SERV, usages=(Usage.SMIME,)),
        WantedOffer(offer=Offer.ORG),
    )
    view = await bare_world.habilitations.submit(form_f414(offers=offers))
    assert [(covered.offer, covered.usages) for covered in view.offers] == [
        (Offer.SERV, (Usage.SMIME, Usage.CONF)),
        (Offer.ORG, (Usage.AUTH_CLI, Usage.SIGN, Usage.CONF)),
    ]


async def test_an_approved_habilitation_authorises_its_cards_and_names_them(world: World) -> None:
    (view,) = await world.habilitations.of_card(CARD)
    assert (view.state, view.cards) == (HabilitationState.APPROVED, (CARD,))
    assert await world.habilitations.of_card("00000000") == ()
    async with world.store.read() as connection:
        scope = await scope_of(connection, CARD)
    assert scope.habilitation_for(STRUCTURE, "ORG", "SIGN") == view.id
    assert scope.habilitation_for(STRUCTURE, "ORG", "SSL_SERV") is None
    assert scope.habilitation_for("11B0000000", "ORG", "SIGN") is None


async def test_a_withdrawn_habilitation_authorises_nothing_any_more(world: World) -> None:
    (view,) = await world.habilitations.of_card(CARD)
    withdrawn = await world.habilitations.withdraw(view.id)
    assert withdrawn.withdrawn_at == world.clock.now()
    assert await world.habilitations.of_card(CARD) == ()


async def test_a_refused_habilitation_says_why_and_stays_refused(bare_world: World) -> None:
    view = await bare_world.habilitations.submit(form_f414())
    refused = await bare_world.habilitations.refuse(view.id, "incomplete")
    assert (refused.state, refused.reason) == (HabilitationState.REFUSED, "incomplete")
    with pytest.raises(HabilitationDecidedError):
        await bare_world.habilitations.approve(view.id)
    assert [step.action for step in refused.history][-1] == "habilitation.refused"


async def test_a_card_is_only_added_to_an_approved_habilitation(bare_world: World) -> None:
    view = await bare_world.habilitations.submit(form_f414())
    with pytest.raises(HabilitationNotApprovedError):
        async with bare_world.store.transaction() as tx:
            await bare_world.habilitations.add_card(tx, view.id, CARD)
    with pytest.raises(NotFoundError):
        async with bare_world.store.transaction() as tx:
            await bare_world.habilitations.add_card(tx, "unknown", CARD)


async def test_structures_are_those_with_an_approved_habilitation(bare_world: World) -> None:
    view = await bare_world.habilitations.submit(form_f414())
    assert await bare_world.habilitations.structures() == ()
    await bare_world.habilitations.approve(view.id)
    (structure,) = await bare_world.habilitations.structures()
    assert (structure.id, structure.name) == (f"1{FINESS}", "HOPITAL DES 3. DAMES")


async def test_a_structure_is_known_by_the_form_approved_last(world: World) -> None:
    await world.habilitations.submit(form_f414(structure_name="NEVER APPROVED"))
    await world.authorise(form_f414(structure_name="HOPITAL RENOMME", postal_code="20200"), Card("00000001"))
    (structure,) = await world.habilitations.structures()
    assert structure.name == "HOPITAL RENOMME"


async def test_pages_of_habilitations_hold_each_once_newest_first(bare_world: World) -> None:
    made = [(await bare_world.habilitations.submit(form_f414())).id for _ in range(5)]
    seen, cursor = [], None
    while True:
        page = await bare_world.habilitations.list(limit=2, cursor=cursor)
        seen += [view.id for view in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert sorted(seen) == sorted(made)


async def test_an_unknown_habilitation_is_not_found(bare_world: World) -> None:
    for call in (
        bare_world.habilitations.get,
        bare_world.habilitations.approve,
        bare_world.habilitations.withdraw,
    ):
        with pytest.raises(NotFoundError):
            await call("nothing")
