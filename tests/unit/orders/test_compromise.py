"""A compromised key is blocked for ever, and everything certified for it is revoked at once."""

import msgspec
import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from cardd.custody.registry import HolderKind, KeyBlockedError, claim, spki_hash
from cardd.errors import InvalidFieldsError, UnavailableError
from cardd.orders.errors import AuthorityKeyError
from cardd.orders.types import (
    CertificateState,
    CertificateView,
    KeyBlockRequest,
    RevocationReason,
    RevocationRequest,
)
from cardd.store.tables import blocked_keys, certificates, journal, notices
from cardd.text import Text
from tests.support.orders import World, csr_key, new_csr, order_request

COMPROMISED = RevocationRequest(reason=RevocationReason.KEY_COMPROMISE)
LEAKED = KeyBlockRequest(reason="published by mistake")
KEY = ec.generate_private_key(ec.SECP256R1())
SPKI = KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@pytest.fixture
async def certificate(world: World) -> CertificateView:
    """A certificate of KEY, which a CSR brought."""
    order = await world.prove(await world.order(order_request(key=csr_key(new_csr(KEY)))), KEY)
    return await world.retrieve(order)


async def _share_its_key(world: World, certificate: CertificateView, serial: str) -> None:
    """Put a second certificate of the same key into the store, as an older state may hold it."""
    (row,) = [each for each in await world.rows(certificates) if each.serial == certificate.serial]
    copy = {**row._asdict(), "serial": serial, "order_id": None, "kind": "card"}
    async with world.store.transaction() as tx:
        await tx.execute(sa.insert(certificates).values(copy))


async def test_a_revocation_for_compromise_blocks_the_key_for_ever(
    world: World, certificate: CertificateView
) -> None:
    await world.certificates.revoke(certificate.serial, COMPROMISED)
    (row,) = await world.rows(blocked_keys)
    assert (row.spki_sha256, row.blocked_at) == (certificate.public_key_sha256, world.clock.now())
    with pytest.raises(KeyBlockedError) as caught:
        await world.order(order_request(key=csr_key(new_csr(KEY))))
    assert (caught.value.code, caught.value.status) == ("key_blocked", 409)
    assert caught.value.data["public_key_sha256"] == certificate.public_key_sha256
    assert (await world.event_types())[-2:] == ["certificate.revoked", "key.blocked"]


@pytest.mark.parametrize("reason", set(RevocationReason) - {RevocationReason.KEY_COMPROMISE})
async def test_a_revocation_for_another_reason_blocks_nothing(
    world: World, certificate: CertificateView, reason: RevocationReason
) -> None:
    await world.certificates.revoke(certificate.serial, RevocationRequest(reason=reason))
    assert await world.rows(blocked_keys) == []


async def test_every_certificate_that_shares_the_key_is_revoked_in_the_same_transaction(
    world: World, certificate: CertificateView
) -> None:
    await _share_its_key(world, certificate, "0abc")
    await world.certificates.revoke(certificate.serial, COMPROMISED)
    shared = await world.certificates.get("0abc")
    assert shared.state is CertificateState.REVOKED
    assert shared.revocation_reason is RevocationReason.KEY_COMPROMISE
    revoked = [row for row in await world.rows(journal) if row.action == "certificate.revoked"]
    assert [row.subject for row in revoked] == [f"certificate:{certificate.serial}", "certificate:0abc"]
    assert {row.at for row in revoked} == {world.clock.now()}
    assert {row.certificate_serial for row in await world.rows(notices) if row.kind == "revoked"} == {
        certificate.serial, "0abc",
    }  # fmt: skip


async def test_a_failure_on_the_way_leaves_nothing_done(
    world: World, certificate: CertificateView, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise UnavailableError(Text("no", "non"))

    await _share_its_key(world, certificate, "0abc")
    monkeypatch.setattr("cardd.orders.compromise.queue", fail)
    with pytest.raises(UnavailableError):
        await world.certificates.revoke(certificate.serial, COMPROMISED)
    assert await world.rows(blocked_keys) == []
    assert {row.revoked_at for row in await world.rows(certificates)} == {None}


async def test_the_owner_blocks_a_key_and_its_certificates_are_revoked_and_published(
    world: World, certificate: CertificateView
) -> None:
    view = await world.certificates.block_key(certificate.public_key_sha256.upper(), LEAKED)
    assert (view.reason, view.revoked) == ("published by mistake", (certificate.serial,))
    assert (await world.certificates.get(certificate.serial)).state is CertificateState.REVOKED
    assert world.pki.lists.published == 1
    again = await world.certificates.block_key(
        certificate.public_key_sha256, KeyBlockRequest(reason="something else")
    )
    assert again == msgspec.structs.replace(view, revoked=())


async def test_a_key_that_nobody_has_seen_yet_can_be_blocked(world: World) -> None:
    await world.certificates.block_key(spki_hash(SPKI), LEAKED)
    with pytest.raises(KeyBlockedError, match="published by mistake"):
        await world.order(order_request(key=csr_key(new_csr(KEY))))


async def test_an_order_whose_key_is_blocked_meanwhile_is_not_retrieved(world: World) -> None:
    order = await world.prove(await world.order(order_request(key=csr_key(new_csr(KEY)))), KEY)
    await world.certificates.block_key(order.public_key_sha256, LEAKED)
    with pytest.raises(KeyBlockedError):
        await world.retrieve(order)
    await world.orders.cancel(order.id)
    with pytest.raises(KeyBlockedError):
        await world.order(order_request(key=csr_key(new_csr(KEY))))


async def test_the_pki_s_own_keys_are_not_blocked(world: World) -> None:
    async with world.store.transaction() as tx:
        name = await claim(
            tx, spki=SPKI, holder_kind=HolderKind.CA, holder="ACR-EL", token_serial=None, key_id=None, level="x"
        )  # fmt: skip
    with pytest.raises(AuthorityKeyError, match="ACR-EL"):
        await world.certificates.block_key(name, LEAKED)
    assert await world.rows(blocked_keys) == []


@pytest.mark.parametrize("name", ["", "00", "g" * 64, "0" * 65])
async def test_a_name_that_is_no_hash_is_refused(world: World, name: str) -> None:
    with pytest.raises(InvalidFieldsError):
        await world.certificates.block_key(name, LEAKED)
