"""An order with a CSR is retrieved only once the CSR's key has signed the order's nonce."""

from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from cardd.errors import NotFoundError
from cardd.orders.errors import (
    NotAuthorisedError,
    OrderCancelledError,
    PossessionExpiredError,
    PossessionProvenError,
    PossessionSignatureInvalidError,
    PossessionUnprovenError,
)
from cardd.orders.types import OrderState, OrderView, PossessionProof
from cardd.store.tables import orders
from cardd.vocabulary import PossessionMechanism
from tests.support.orders import Card, World, csr_key, new_csr, order_request, signed

KEY = ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
async def order(world: World) -> OrderView:
    """An order whose CSR is of KEY."""
    return await world.order(order_request(key=csr_key(new_csr(KEY))))


def _proof(order: OrderView, key: ec.EllipticCurvePrivateKey = KEY) -> PossessionProof:
    assert order.possession.to_sign is not None
    return PossessionProof(signature=signed(key, order.possession.to_sign))


async def test_a_key_on_a_token_proves_itself_at_once(world: World) -> None:
    order = await world.order()
    assert (order.possession.state, order.possession.proven_at) == ("proven", order.created_at)
    assert order.possession.nonce is None
    with pytest.raises(PossessionProvenError):
        await world.orders.prove(order.id, PossessionProof(signature=b"x"))
    with pytest.raises(PossessionProvenError):
        await world.orders.renew_nonce(order.id)


async def test_an_order_with_a_csr_is_not_retrieved_before_its_key_has_signed(
    world: World, order: OrderView
) -> None:
    assert order.possession.state == "required"
    assert order.possession.mechanisms == (PossessionMechanism.ECDSA_SHA256,)
    with pytest.raises(PossessionUnprovenError) as caught:
        await world.retrieve(order)
    assert (caught.value.code, caught.value.status) == ("possession_unproven", 409)
    proven = await world.orders.prove(order.id, _proof(order), world.card)
    assert (proven.possession.state, proven.possession.proven_at) == ("proven", world.clock.now())
    assert proven.possession.to_sign is None
    assert [step.action for step in proven.history] == ["order.created", "order.possession_proven"]
    assert (await world.event_types())[-1] == "order.possession_proven"
    assert (await world.retrieve(order)).order == order.id


async def test_a_nonce_is_signed_once(world: World, order: OrderView) -> None:
    proof = _proof(order)
    await world.orders.prove(order.id, proof)
    with pytest.raises(PossessionProvenError):
        await world.orders.prove(order.id, proof)


async def test_another_key_proves_nothing_and_leaves_the_nonce(world: World, order: OrderView) -> None:
    with pytest.raises(PossessionSignatureInvalidError) as caught:
        await world.orders.prove(order.id, _proof(order, ec.generate_private_key(ec.SECP256R1())))
    assert caught.value.status == 422
    assert (await world.orders.get(order.id)).possession == order.possession
    await world.orders.prove(order.id, _proof(order))


async def test_a_signature_made_for_another_order_proves_nothing(world: World, order: OrderView) -> None:
    proof = _proof(order)
    await world.orders.cancel(order.id)
    again = await world.order(order_request(key=csr_key(new_csr(KEY))))
    with pytest.raises(PossessionSignatureInvalidError):
        await world.orders.prove(again.id, proof)
    with pytest.raises(OrderCancelledError):
        await world.orders.prove(order.id, proof)


async def test_a_csr_s_own_signature_is_no_proof(world: World, order: OrderView) -> None:
    assert order.possession.to_sign is not None
    nonce_alone = KEY.sign(order.possession.to_sign[-32:], ec.ECDSA(SHA256()))
    with pytest.raises(PossessionSignatureInvalidError):
        await world.orders.prove(order.id, PossessionProof(signature=nonce_alone))


async def test_a_mechanism_that_is_named_must_be_the_one_used(world: World, order: OrderView) -> None:
    proof = _proof(order)
    with pytest.raises(PossessionSignatureInvalidError, match="sha256_rsa_pss"):
        await world.orders.prove(
            order.id,
            PossessionProof(signature=proof.signature, mechanism=PossessionMechanism.SHA256_RSA_PSS),
        )


async def test_an_expired_nonce_is_shown_no_more_and_replaced_on_request(
    world: World, order: OrderView
) -> None:
    proof = _proof(order)
    world.clock.advance(timedelta(hours=24))
    late = await world.orders.get(order.id)
    assert (late.possession.state, late.possession.nonce, late.possession.to_sign) == ("required", None, None)
    with pytest.raises(PossessionExpiredError):
        await world.orders.prove(order.id, proof)
    fresh = await world.orders.renew_nonce(order.id)
    assert fresh.possession.nonce not in (None, order.possession.nonce)
    with pytest.raises(PossessionSignatureInvalidError):
        await world.orders.prove(order.id, proof)
    await world.orders.prove(order.id, _proof(fresh))


async def test_a_new_nonce_ends_the_one_before(world: World, order: OrderView) -> None:
    proof = _proof(order)
    await world.orders.renew_nonce(order.id)
    with pytest.raises(PossessionSignatureInvalidError):
        await world.orders.prove(order.id, proof)


async def test_only_who_may_manage_the_order_proves_it(world: World, order: OrderView) -> None:
    with pytest.raises(NotAuthorisedError):
        await world.orders.prove(order.id, _proof(order), Card("00000009"))
    with pytest.raises(NotFoundError):
        await world.orders.prove("0000000000000000", _proof(order))


async def test_an_order_that_ended_shows_no_nonce(world: World, order: OrderView) -> None:
    ended = await world.orders.cancel(order.id)
    assert ended.state is OrderState.CANCELLED
    assert (ended.possession.state, ended.possession.nonce) == ("required", None)
    (row,) = await world.rows(orders)
    assert row.proven_at is None
