"""Certificates: tracked, revoked for ever, renewed while active."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric import ec

from cardd.audit import current_actor
from cardd.errors import InvalidFieldsError, NotFoundError, UnavailableError
from cardd.orders.errors import (
    AlreadyRevokedError,
    CertificateExpiredError,
    NotActiveError,
    NotAuthorisedError,
    RevocationCodeIncorrectError,
    RevocationCodeRequiredError,
)
from cardd.orders.filters import CertificateFilters
from cardd.orders.paging import PageRequest
from cardd.orders.sorting import CertificateSort
from cardd.orders.types import (
    CertificateState,
    CertificateView,
    KeyRequest,
    OrderState,
    RenewalRequest,
    RevocationReason,
    RevocationRequest,
)
from cardd.store.tables import certificates, key_registry, notices
from cardd.text import Text
from cardd.vocabulary import Usage
from tests.support.orders import CODE, SIRET, Card, World, csr_key, form_f414, new_csr, order_request

BY_OWNER = RevocationRequest(reason=RevocationReason.SUPERSEDED)
YEARS = timedelta(days=3 * 365)


@contextmanager
def acting_as(actor: str) -> Iterator[None]:
    token = current_actor.set(actor)
    try:
        yield
    finally:
        current_actor.reset(token)


def by_code(code: str, reason: RevocationReason = RevocationReason.KEY_COMPROMISE) -> RevocationRequest:
    return RevocationRequest(reason=reason, revocation_code=code)


async def serials(world: World, filters: CertificateFilters, card: Card | None = None) -> list[str]:
    return [item.serial for item in (await world.certificates.list(filters, PageRequest(), card)).items]


async def test_a_revocation_is_committed_with_its_list_entry_and_published(world: World) -> None:
    view = await world.retrieve()
    with acting_as("owner"):
        revoked = await world.certificates.revoke(view.serial, BY_OWNER)
    assert revoked.state is CertificateState.REVOKED
    assert (revoked.revoked_at, revoked.revocation_reason) == (
        world.clock.now().replace(microsecond=0), RevocationReason.SUPERSEDED,
    )  # fmt: skip
    (row,) = await world.rows(certificates)
    assert row.crl_entry
    assert world.pki.lists.published == 1
    assert [step.action for step in revoked.history] == ["certificate.issued", "certificate.revoked"]
    assert revoked.history[-1].actor == "owner"
    assert (await world.event_types())[-1] == "certificate.revoked"
    assert [row.recipient for row in await world.rows(notices) if row.kind == "revoked"] == [
        "a@example.fr", "b@example.fr",
    ]  # fmt: skip


async def test_a_revocation_is_definitive(world: World) -> None:
    view = await world.retrieve()
    await world.certificates.revoke(view.serial, BY_OWNER)
    world.clock.advance(timedelta(hours=1))
    with pytest.raises(AlreadyRevokedError) as caught:
        await world.certificates.revoke(view.serial, by_code(CODE))
    assert caught.value.data["revocation_reason"] == "superseded"
    assert (await world.certificates.get(view.serial)).revocation_reason is RevocationReason.SUPERSEDED


async def test_of_two_revocations_at_once_one_is_told_that_it_was_done(world: World) -> None:
    view = await world.retrieve()
    outcomes = await asyncio.gather(
        *(world.certificates.revoke(view.serial, BY_OWNER) for _ in range(3)), return_exceptions=True
    )
    assert sum(isinstance(outcome, CertificateView) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, AlreadyRevokedError) for outcome in outcomes) == 2


async def test_the_code_alone_revokes_for_whoever_holds_it(world: World) -> None:
    view = await world.retrieve()
    with acting_as("application:1"):
        with pytest.raises(RevocationCodeRequiredError):
            await world.certificates.revoke(view.serial, BY_OWNER)
        revoked = await world.certificates.revoke(view.serial, by_code(CODE))
    assert revoked.state is CertificateState.REVOKED


async def test_a_wrong_code_revokes_for_nobody_and_says_how_many_are_left(world: World) -> None:
    view = await world.retrieve()
    with acting_as("owner"), pytest.raises(RevocationCodeIncorrectError) as caught:
        await world.certificates.revoke(view.serial, by_code("wrong code"))
    assert caught.value.data == {"tries_left": 4}
    assert (await world.certificates.get(view.serial)).state is CertificateState.ACTIVE
    await world.certificates.revoke(view.serial, by_code(CODE))
    (row,) = await world.rows(certificates)
    assert (row.code_failures, row.code_locked_until) == (0, None)


async def test_an_authorised_card_revokes_without_a_code_and_another_does_not(world: World) -> None:
    view = await world.retrieve()
    stranger = Card("00000003")
    await world.authorise(form_f414(finess=None, siret=SIRET), stranger)
    with acting_as(f"card:{stranger.card_serial}"), pytest.raises(NotAuthorisedError):
        await world.certificates.revoke(view.serial, BY_OWNER, stranger)
    with acting_as(f"card:{world.card.card_serial}"):
        revoked = await world.certificates.revoke(view.serial, BY_OWNER, world.card)
    assert revoked.state is CertificateState.REVOKED


async def test_a_revocation_stands_though_its_list_cannot_be_published_now(world: World) -> None:
    async def refuse() -> None:
        raise UnavailableError(Text("down", "arrêté"))

    view = await world.retrieve()
    world.pki.lists.publish_wanted = refuse  # type: ignore[method-assign]
    assert (await world.certificates.revoke(view.serial, BY_OWNER)).state is CertificateState.REVOKED


async def test_a_revoked_key_stays_claimed(world: World) -> None:
    view = await world.retrieve()
    await world.certificates.revoke(view.serial, by_code(CODE))
    (claim,) = await world.rows(key_registry)
    assert claim.spki_sha256 == view.public_key_sha256


async def test_an_expired_certificate_is_neither_revoked_nor_renewed(world: World) -> None:
    view = await world.retrieve()
    world.clock.advance(YEARS + timedelta(days=2))
    with pytest.raises(CertificateExpiredError):
        await world.certificates.revoke(view.serial, BY_OWNER)
    with pytest.raises(NotActiveError) as caught:
        await world.certificates.renew(view.serial, RenewalRequest(), world.card)
    assert caught.value.data["state"] == "expired"


async def test_a_renewal_orders_the_same_with_a_new_key(world: World) -> None:
    view = await world.retrieve()
    order = await world.certificates.renew(view.serial, RenewalRequest(), world.card)
    assert (order.state, order.renewal_of, order.label) == (OrderState.TO_RETRIEVE, view.serial, "EMA")
    assert order.algorithm == "ec_p256"
    assert order.public_key_sha256 != view.public_key_sha256
    renewed = await world.retrieve(order)
    assert renewed.subject == view.subject
    assert (await world.certificates.get(view.serial)).state is CertificateState.ACTIVE


async def test_a_renewal_may_name_other_contacts_and_checks_them(world: World) -> None:
    view = await world.retrieve()
    order = await world.certificates.renew(
        view.serial, RenewalRequest(contacts=("c@example.fr",)), world.card
    )
    assert order.contacts == ("c@example.fr",)
    with pytest.raises(InvalidFieldsError) as caught:
        await world.certificates.renew(view.serial, RenewalRequest(contacts=("nobody",)), world.card)
    assert [problem.field for problem in caught.value.fields] == ["contacts.0"]


async def test_renewing_a_csr_s_certificate_needs_a_new_csr(world: World) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    order = await world.prove(await world.order(order_request(key=csr_key(new_csr(key)))), key)
    view = await world.retrieve(order)
    with pytest.raises(InvalidFieldsError) as caught:
        await world.certificates.renew(view.serial, RenewalRequest(), world.card)
    assert [problem.field for problem in caught.value.fields] == ["key.csr"]
    renewed = await world.certificates.renew(view.serial, RenewalRequest(key=csr_key(new_csr())), world.card)
    assert (renewed.key_source, renewed.possession.state) == ("csr", "required")


async def test_a_renewal_may_move_to_another_kind_of_key(world: World) -> None:
    view = await world.retrieve()
    order = await world.certificates.renew(
        view.serial, RenewalRequest(key=KeyRequest(algorithm="ec_p384")), world.card
    )
    assert order.key_source == "token"


async def test_a_revoked_certificate_is_not_renewed(world: World) -> None:
    view = await world.retrieve()
    await world.certificates.revoke(view.serial, BY_OWNER)
    with pytest.raises(NotActiveError):
        await world.certificates.renew(view.serial, RenewalRequest(), world.card)


async def test_a_renewal_needs_a_card_authorised_for_it(world: World) -> None:
    view = await world.retrieve()
    with pytest.raises(NotAuthorisedError):
        await world.certificates.renew(view.serial, RenewalRequest(), Card("00000004"))


async def test_a_card_s_certificates_are_seen_by_that_card_and_the_owner_and_not_renewed(
    world: World,
) -> None:
    view = await world.retrieve()
    await world.keep_card(world.card.card_serial)
    async with world.store.transaction() as tx:
        await tx.execute(
            sa.update(certificates).values(
                kind="card", card_serial=world.card.card_serial, order_id=None, offer=None, usage=None,
                structure_id=None, revocation_code_hash=None,
            )
        )  # fmt: skip
    seen = await world.certificates.get(view.serial, world.card)
    assert (seen.card, seen.offer, seen.structure) == (world.card.card_serial, None, None)
    assert await serials(world, CertificateFilters(card=world.card.card_serial)) == [view.serial]
    with pytest.raises(NotFoundError):
        await world.certificates.get(view.serial, Card("00000005"))
    assert await serials(world, CertificateFilters(), Card("00000005")) == []
    with pytest.raises(NotActiveError):
        await world.certificates.renew(view.serial, RenewalRequest(), world.card)
    with pytest.raises(RevocationCodeIncorrectError):
        await world.certificates.revoke(view.serial, by_code(CODE))


async def test_certificates_of_authorities_are_not_managed(world: World) -> None:
    view = await world.retrieve()
    async with world.store.transaction() as tx:
        await tx.execute(sa.update(certificates).values(kind="ca"))
    assert await serials(world, CertificateFilters()) == []
    with pytest.raises(NotFoundError):
        await world.certificates.get(view.serial)
    with pytest.raises(NotFoundError):
        await world.certificates.revoke(view.serial, BY_OWNER)


async def test_certificates_are_listed_by_their_computed_state(world: World) -> None:
    first = await world.retrieve()
    world.clock.advance(timedelta(days=30))
    second = await world.retrieve(await world.order(order_request(usage=Usage.SIGN)))
    assert await serials(world, CertificateFilters()) == [second.serial, first.serial]
    assert await serials(world, CertificateFilters(usage=Usage.SIGN)) == [second.serial]
    assert await serials(world, CertificateFilters(q="ema dames")) == [second.serial, first.serial]
    assert await serials(world, CertificateFilters(expires_before=second.not_after)) == [first.serial]
    world.clock.advance(first.not_after - world.clock.now() - timedelta(days=60))
    assert await _by_state(world) == {"active": [second.serial], "renewable": [first.serial]}
    summary = (await world.certificates.list(CertificateFilters(), PageRequest())).items[-1]
    assert (summary.state, summary.days_left) == (CertificateState.RENEWABLE, 60)
    world.clock.advance(timedelta(days=60, seconds=1))
    assert await _by_state(world) == {"renewable": [second.serial], "expired": [first.serial]}
    await world.certificates.revoke(second.serial, BY_OWNER)
    assert await _by_state(world) == {"revoked": [second.serial], "expired": [first.serial]}


async def test_certificates_are_sorted_and_found_by_serial(world: World) -> None:
    first = await world.retrieve(await world.order(order_request(service="B")))
    world.clock.advance(timedelta(days=1))
    second = await world.retrieve(await world.order(order_request(service="A")))
    rising = {CertificateSort.OLDEST, CertificateSort.EXPIRY, CertificateSort.NAME_DESCENDING}
    for sort in CertificateSort:
        expected = [first.serial, second.serial] if sort in rising else [second.serial, first.serial]
        assert await serials(world, CertificateFilters(sort=sort)) == expected, sort
    assert await serials(world, CertificateFilters(q=first.serial[4:20].upper())) == [first.serial]


async def test_a_serial_is_found_in_either_case(world: World) -> None:
    view = await world.retrieve()
    assert (await world.certificates.get(view.serial.upper())).serial == view.serial


async def test_an_unknown_certificate_is_not_found(world: World) -> None:
    with pytest.raises(NotFoundError):
        await world.certificates.get("00")
    with pytest.raises(NotFoundError):
        await world.certificates.revoke("00", by_code(CODE))
    with pytest.raises(NotFoundError):
        await world.certificates.renew("00", RenewalRequest(), world.card)


async def test_the_journal_s_chain_holds_after_all_of_it(world: World) -> None:
    view = await world.retrieve()
    await world.certificates.revoke(view.serial, by_code(CODE))
    await world.orders.cancel((await world.order()).id)
    assert (await world.store.verify_journal()).valid


async def _by_state(world: World) -> dict[str, list[str]]:
    found = {state.value: await serials(world, CertificateFilters(state=state)) for state in CertificateState}
    return {state: listed for state, listed in found.items() if listed}
