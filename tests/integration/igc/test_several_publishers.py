"""Two machines with the CA keys on one database: one publishes at a time, the other takes over, no list goes back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from cardd.clock import ManualClock
from cardd.custody.keys import KeyMaker
from cardd.custody.pins import PinVault
from cardd.custody.registry import KeyIntents
from cardd.custody.seal import open_shared_sealer
from cardd.custody.tokens import TokenKeeper
from cardd.events import EventBus
from cardd.igc.crl import RevocationReason
from cardd.igc.issuing import serial_hex
from cardd.igc.lint import Linter
from cardd.igc.names import CaName
from cardd.igc.pki import Pki, PkiParts, Recorded
from cardd.igc.policy import CaKeyAlgorithm
from cardd.igc.profiles import ProfileName
from cardd.igc.publishing import ListKind
from cardd.store import SEVERAL_MACHINES, Store
from cardd_pkcs11.types import CustodyLevel
from tests.support.igc import PREPARED, policy_for_tests, request_for, rsa_signer
from tests.support.softhsm import open_pool
from tests.support.stores import PostgresqlServer, shared_database

CA = CaName.ACI_EL_ORG
LEAF_KEY = rsa_signer()


@dataclass
class Machine:
    """One machine's PKI over the shared tokens and the shared database."""

    store: Store
    pki: Pki

    async def issue(self) -> str:
        issued = await self.pki.issue(request_for(ProfileName.ORG_AUTH_CLI, LEAF_KEY.public_key))
        async with self.store.transaction() as tx:
            recorded = Recorded(kind="order", profile=ProfileName.ORG_AUTH_CLI, level="software")
            await self.pki.record(tx, issued, recorded)
        return serial_hex(issued.serial)

    async def revoke(self, serial: str) -> None:
        async with self.store.transaction() as tx:
            assert await self.pki.revoke_in(tx, serial, RevocationReason.KEY_COMPROMISE)

    def lists(self, serial: str) -> bool:
        found = x509.load_der_x509_crl(self.pki.lists.current(CA, ListKind.FULL).der)
        return found.get_revoked_certificate_by_serial_number(int(serial, 16)) is not None

    @property
    def number(self) -> int:
        return self.pki.lists.current(CA, ListKind.FULL).number


class Held:
    """A publication that stops before it signs, until it is let go."""

    def __init__(self, pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.released = asyncio.Event(), asyncio.Event()
        self._sign = pki.lists._sign
        monkeypatch.setattr(pki.lists, "_sign", self.sign)

    async def sign(self, *arguments: Any) -> Any:
        self.begun.set()
        await self.released.wait()
        return await self._sign(*arguments)


@pytest.fixture
async def machines(tmp_path: Path, on_postgresql: PostgresqlServer) -> AsyncIterator[tuple[Machine, Machine]]:
    async with _machine(tmp_path, "one") as one, _machine(tmp_path, "two") as two:
        yield one, two


@asynccontextmanager
async def _machine(root: Path, name: str) -> AsyncIterator[Machine]:
    """Start the PKI of a machine; the first one makes it."""
    directory, shared = root / name, root / "shared"
    directory.mkdir()
    clock = ManualClock(PREPARED)
    store = await Store.open(directory, clock, EventBus(), await shared_database(root))
    linter = Linter()
    async with open_pool(shared, 1) as pool:
        vault = PinVault(shared / "pins", open_shared_sealer(shared))
        keeper = TokenKeeper(store, pool, vault, owner=SEVERAL_MACHINES)
        await keeper.reopen()
        pki = Pki(
            PkiParts(
                store=store,
                clock=clock,
                policy=policy_for_tests(ca_algorithm=CaKeyAlgorithm.EC_P256),
                pool=pool,
                keeper=keeper,
                maker=KeyMaker(pool, CustodyLevel.SOFTWARE),
                intents=KeyIntents(store, pool, owner=SEVERAL_MACHINES),
                linter=linter,
                base_every=timedelta(hours=24),
            )
        )
        try:
            await pki.start(lambda *_: None)
            yield Machine(store, pki)
        finally:
            await linter.close()
            await store.close()


async def test_the_second_machine_finds_the_hierarchy_and_serves_the_same_lists(
    machines: tuple[Machine, Machine],
) -> None:
    one, two = machines
    assert not two.pki.elsewhere
    assert {n: a.certificate for n, a in one.pki.authorities.items()} == {
        n: a.certificate for n, a in two.pki.authorities.items()
    }
    assert one.number == two.number


async def test_a_builder_that_dies_lets_go_and_the_other_takes_over(
    machines: tuple[Machine, Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = machines
    serial, before = await one.issue(), one.number
    held = Held(one.pki, monkeypatch)
    await one.revoke(serial)
    building = asyncio.create_task(one.pki.lists.publish_wanted())
    await held.begun.wait()
    waiting = asyncio.create_task(two.pki.lists.refresh())
    done, _ = await asyncio.wait({waiting}, timeout=0.3)
    assert not done, "one builder at a time"
    building.cancel()
    await asyncio.gather(building, return_exceptions=True)
    await waiting
    assert two.lists(serial)
    assert two.number > before + 1, (
        "the number that was given out for the list that never came is passed over"
    )


async def test_a_builder_that_lost_its_turn_puts_no_older_list_in_place(
    machines: tuple[Machine, Machine], on_postgresql: PostgresqlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = machines
    serials = [await one.issue(), await two.issue()]
    held = Held(one.pki, monkeypatch)
    await one.revoke(serials[0])
    building = asyncio.create_task(one.pki.lists.publish_wanted())
    await held.begun.wait()
    await on_postgresql.administer(
        "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted"
    )
    await two.revoke(serials[1])
    await two.pki.lists.publish_wanted()
    newest = two.number
    held.released.set()
    await asyncio.gather(building, return_exceptions=True)
    for machine in machines:
        await machine.pki.lists.follow()
        assert machine.number == newest
        assert all(machine.lists(serial) for serial in serials)


async def test_lists_asked_for_on_both_at_once_lose_no_revocation(machines: tuple[Machine, Machine]) -> None:
    serials = [await machines[n % 2].issue() for n in range(6)]

    async def revoke(number: int) -> None:
        await machines[number % 2].revoke(serials[number])
        await machines[number % 2].pki.lists.publish_wanted()

    await asyncio.gather(*map(revoke, range(6)))
    for machine in machines:
        await machine.pki.lists.follow()
        assert all(machine.lists(serial) for serial in serials)
    assert machines[0].number == machines[1].number
