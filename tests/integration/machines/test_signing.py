"""One machine with the CA keys signs for another: what is due, for whom is enrolled, and nothing else."""

import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import cast

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from cardd.clock import ManualClock
from cardd.custody.registry import KeyBlockedError, SpkiHash, block, spki_hash
from cardd.events import EventBus
from cardd.igc.issuing import IssueRequest
from cardd.igc.pki import Pki
from cardd.igc.profiles import KeyMedium, ProfileName
from cardd.machines.asking import SigningMachines
from cardd.machines.desk import SigningDesk
from cardd.machines.errors import (
    MachineNotEnrolledError,
    SigningMachineUnavailableError,
    SigningRefusedError,
)
from cardd.machines.identity import MachineIdentity, open_machine_identity
from cardd.machines.registry import Machines, Peer
from cardd.orders.errors import OrderEndedError, PossessionUnprovenError
from cardd.orders.types import OrderView
from cardd.store import Store, tables
from cardd_webservice.signing import serving_machines
from tests.support.igc import PREPARED, TestPki, ec_signer, quick_pki, request_for, spki
from tests.support.orders import World, csr_key, new_csr, open_world, order_request
from tests.support.stores import PostgresqlServer, shared_database


@pytest.fixture(scope="module")
def pki() -> Iterator[TestPki]:
    with quick_pki() as made:
        yield made


@dataclass
class Holder:
    """The machine with the CA keys, and another on its database."""

    world: World
    machines: Machines
    desk: SigningDesk
    other: Store
    other_machines: Machines
    other_identity: MachineIdentity

    @property
    def asking(self) -> SigningMachines:
        return SigningMachines(self.other_machines, self.other_identity)

    async def peer(self) -> Peer:
        return await self.desk.caller(self.other_identity.der)

    async def enrol(self) -> None:
        await self.machines.enrol(self.other.machine)
        await self.desk.trust_enrolled()


@pytest.fixture
async def holder(tmp_path: Path, on_postgresql: PostgresqlServer, pki: TestPki) -> AsyncIterator[Holder]:
    clock = ManualClock(PREPARED + timedelta(hours=1))
    world = await open_world(tmp_path, clock, pki)
    await world.authorise()
    (tmp_path / "other").mkdir()
    other = await Store.open(tmp_path / "other", clock, EventBus(), await shared_database(tmp_path))
    identity = open_machine_identity(tmp_path, world.store.machine, clock.now())
    machines = Machines(world.store, clock)
    world.pki.elsewhere = False  # type: ignore[attr-defined]  # what the desk asks of the real one
    desk = SigningDesk(world.store, clock, cast("Pki", world.pki), machines, identity)
    found = Holder(
        world, machines, desk, other, Machines(other, clock),
        open_machine_identity(tmp_path / "other", other.machine, clock.now()),
    )  # fmt: skip
    address = f"127.0.0.1:{_free_port()}"
    await machines.announce(name="holder", address=address, certificate=identity.der, holds_ca=True)
    await found.other_machines.announce(
        name="other", address="", certificate=found.other_identity.der, holds_ca=False
    )
    async with serving_machines(desk, address, await desk.context()):
        yield found
    await other.close()
    await world.store.close()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


async def _order(holder: Holder) -> tuple[OrderView, bytes]:
    """Place an order for a key on a token, and return it with its public key."""
    order = await holder.world.order()
    (row,) = [each for each in await holder.world.rows(tables.orders) if each.id == order.id]
    return order, row.spki


def _asked(public_key: bytes) -> IssueRequest:
    key = ec_signer().public_key
    request = request_for(ProfileName.ORG_AUTH_CLI, key)
    return IssueRequest(
        profile=request.profile, subject=request.subject, public_key=public_key, serial=request.serial
    )


async def test_the_first_machine_is_enrolled_and_a_later_one_is_not(holder: Holder) -> None:
    listed = {each.id: each.enrolled for each in await holder.machines.list()}
    assert listed == {holder.world.store.machine: True, holder.other.machine: False}


async def test_a_machine_that_is_not_enrolled_neither_asks_nor_enrols_itself(holder: Holder) -> None:
    _, key = await _order(holder)
    with pytest.raises(MachineNotEnrolledError):
        await holder.asking.issue(_asked(key))
    with pytest.raises(MachineNotEnrolledError):
        await holder.other_machines.enrol(holder.other.machine)


async def test_a_stranger_gets_no_further_than_the_handshake(holder: Holder, tmp_path: Path) -> None:
    (tmp_path / "stranger").mkdir()
    stranger = open_machine_identity(tmp_path / "stranger", "stranger", PREPARED)
    (peer,) = await holder.machines.peers()
    context = stranger.client_context(peer.certificate)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
        with pytest.raises((aiohttp.ClientError, OSError)):
            await session.post(f"https://{peer.address}/v1/certificates", data=b"{}")


async def test_a_caller_without_a_certificate_or_with_old_tls_is_turned_away(holder: Holder) -> None:
    (peer,) = await holder.machines.peers()
    for newest in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.maximum_version = newest
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
            with pytest.raises((aiohttp.ClientError, OSError)):
                await session.post(f"https://{peer.address}/v1/certificates", data=b"{}")


async def test_what_the_order_says_is_signed_whatever_was_asked(holder: Holder) -> None:
    await holder.enrol()
    order, key = await _order(holder)
    issued = await holder.asking.issue(_asked(key))
    certificate = x509.load_der_x509_certificate(issued.der)
    names = [each.value for each in certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)]
    assert names == [order.label]
    assert spki(cast("ec.EllipticCurvePublicKey", certificate.public_key())) == key
    lines = await holder.world.store.journal()
    assert lines[0].action == "certificate.signed_for_machine"
    assert lines[0].details["machine"] == holder.other.machine


async def test_an_enrolment_taken_back_counts_at_the_next_request(holder: Holder) -> None:
    await holder.enrol()
    peer = await holder.peer()
    await holder.machines.withdraw(holder.other.machine)
    with pytest.raises(MachineNotEnrolledError):
        await holder.desk.caller(peer.certificate)


async def test_a_machine_that_comes_with_another_certificate_is_a_stranger_again(
    holder: Holder, tmp_path: Path
) -> None:
    await holder.enrol()
    (tmp_path / "again").mkdir()
    renewed = open_machine_identity(tmp_path / "again", holder.other.machine, PREPARED)
    await holder.other_machines.announce(name="other", address="", certificate=renewed.der, holds_ca=False)
    assert not (await holder.machines.get(holder.other.machine)).enrolled


async def test_a_key_that_nothing_is_due_for_is_refused(holder: Holder) -> None:
    await holder.enrol()
    with pytest.raises(SigningRefusedError):
        await holder.asking.issue(_asked(spki(ec_signer().public_key)))


async def test_an_order_that_does_not_wait_or_is_unproven_or_blocked_is_refused(holder: Holder) -> None:
    await holder.enrol()
    peer = await holder.peer()
    _, blocked = await _order(holder)
    async with holder.world.store.transaction() as tx:
        await block(tx, SpkiHash(spki_hash(blocked)), "test")
    with pytest.raises(KeyBlockedError):
        await holder.desk.issue(peer, _asked(blocked))
    order, ended = await _order(holder)
    await holder.world.retrieve(order)
    with pytest.raises(OrderEndedError):
        await holder.desk.issue(peer, _asked(ended))
    unproven = await holder.world.order(order_request(key=csr_key(new_csr())))
    (row,) = [each for each in await holder.world.rows(tables.orders) if each.id == unproven.id]
    with pytest.raises(PossessionUnprovenError):
        await holder.desk.issue(peer, _asked(row.spki))


async def test_a_cards_certificate_is_signed_for_a_structure_with_an_approved_habilitation_only(
    holder: Holder,
) -> None:
    await holder.enrol()
    asked = request_for(ProfileName("CPE-AUTH_CLI"), ec_signer().public_key)
    assert asked.medium is KeyMedium.CARD
    with pytest.raises(SigningRefusedError):
        await holder.asking.issue(asked)


async def test_without_a_machine_that_signs_the_error_names_who_was_asked(holder: Holder) -> None:
    await holder.enrol()
    (row,) = [each for each in await holder.machines.list() if each.holds_ca]
    await holder.machines.announce(
        name="holder", address=f"127.0.0.1:{_free_port()}", certificate=await _certificate(holder, row.id),
        holds_ca=True,
    )  # fmt: skip
    with pytest.raises(SigningMachineUnavailableError) as refused:
        await holder.asking.ocsp(b"")
    assert list(refused.value.data["machines"]) == ["holder"]


async def _certificate(holder: Holder, machine: str) -> bytes:
    return next(peer.certificate for peer in await holder.machines.peers() if peer.id == machine)
