"""The PKI in operation on a real SoftHSM: made once, resumed, numbered, and never behind its revocations."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from cryptography import x509

from cardd.clock import ManualClock
from cardd.igc import publishing
from cardd.igc.answerers import Status
from cardd.igc.crl import RevocationReason
from cardd.igc.errors import PolicyError
from cardd.igc.issuing import serial_hex
from cardd.igc.names import CaName
from cardd.igc.pki import Pki, Recorded
from cardd.igc.policy import CaKeyAlgorithm
from cardd.igc.profiles import ProfileName
from cardd.igc.publishing import ListKind
from cardd.igc.signer import verifies
from cardd.store import Store, tables
from cardd_pkcs11.protocol import MAXIMUM_FRAME
from tests.support.igc import policy_for_tests, request_for, rsa_signer
from tests.support.softhsm import until
from tests.support.softpki import opened_pki as _pki

#: Each test runs on SQLite and on PostgreSQL.
pytestmark = pytest.mark.usefixtures("each_store")

START = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
LEAF_KEY = rsa_signer()


async def _issue(pki: Pki, store: Store) -> str:
    issued = await pki.issue(request_for(ProfileName.ORG_AUTH_CLI, LEAF_KEY.public_key))
    async with store.transaction() as tx:
        await pki.record(
            tx, issued, Recorded(kind="order", profile=ProfileName.ORG_AUTH_CLI, level="software")
        )
    return serial_hex(issued.serial)


async def _revoke(pki: Pki, store: Store, serial: str) -> bool:
    async with store.transaction() as tx:
        done = await pki.revoke_in(tx, serial, RevocationReason.KEY_COMPROMISE)
    await pki.lists.publish_wanted()
    return done


def _list(pki: Pki, kind: ListKind) -> x509.CertificateRevocationList:
    return x509.load_der_x509_crl(pki.lists.current(CaName.ACI_EL_ORG, kind).der)


def _number(crl: x509.CertificateRevocationList) -> int:
    return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number


def _serials(crl: x509.CertificateRevocationList) -> set[str]:
    return {serial_hex(entry.serial_number) for entry in crl}


async def test_a_second_start_finds_the_same_hierarchy(tmp_path: Path) -> None:
    clock = ManualClock(START)
    async with _pki(tmp_path, clock) as (pki, _):
        first = {name: ca.certificate for name, ca in pki.authorities.items()}
        number = _number(_list(pki, ListKind.FULL))
    async with _pki(tmp_path, clock) as (pki, _):
        assert {name: ca.certificate for name, ca in pki.authorities.items()} == first
        assert _number(_list(pki, ListKind.FULL)) == number
    assert set(first) == set(CaName)


async def test_a_revocation_is_in_the_list_its_delta_and_ocsp_at_once_and_is_definitive(
    tmp_path: Path,
) -> None:
    async with _pki(tmp_path, ManualClock(START)) as (pki, store):
        serial, other = await _issue(pki, store), await _issue(pki, store)
        before = _number(_list(pki, ListKind.FULL))
        assert await _revoke(pki, store, serial)
        assert not await _revoke(pki, store, serial)
        full, delta = _list(pki, ListKind.FULL), _list(pki, ListKind.DELTA)
        assert _serials(full) == _serials(delta) == {serial}
        assert _number(full) == _number(delta) > before
        base = delta.extensions.get_extension_for_class(x509.DeltaCRLIndicator).value.crl_number
        assert base == before
        assert (await pki.status(CaName.ACI_EL_ORG, int(serial, 16))).status is Status.REVOKED
        assert (await pki.status(CaName.ACI_EL_ORG, int(other, 16))).status is Status.GOOD
        assert (await pki.status(CaName.ACI_ST_ORG, int(other, 16))).status is Status.UNKNOWN


async def test_concurrent_revocations_share_publications_and_lose_none(tmp_path: Path) -> None:
    async with _pki(tmp_path, ManualClock(START)) as (pki, store):
        serials = [await _issue(pki, store) for _ in range(8)]
        assert all(await asyncio.gather(*(_revoke(pki, store, serial) for serial in serials)))
        assert _serials(_list(pki, ListKind.FULL)) == set(serials)


async def test_nobody_waits_for_a_large_list_and_it_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with _pki(tmp_path, ManualClock(START)) as (pki, store):
        first, second = [await _issue(pki, store) for _ in range(2)]
        await _revoke(pki, store, first)
        monkeypatch.setattr(publishing, "LARGE_ENTRIES", 1)
        assert await _revoke(pki, store, second)
        assert _serials(_list(pki, ListKind.FULL)) == {first}
        assert (await pki.status(CaName.ACI_EL_ORG, int(second, 16))).status is Status.REVOKED
        following = asyncio.create_task(pki.lists.publish_large())
        await until(lambda: _serials(_list(pki, ListKind.FULL)) == {first, second})
        third = await _issue(pki, store)
        await _revoke(pki, store, third)
        await until(lambda: _serials(_list(pki, ListKind.FULL)) == {first, second, third})
        following.cancel()


async def test_lists_never_pass_their_next_update_in_a_month_without_revocations(tmp_path: Path) -> None:
    clock = ManualClock(START)
    async with _pki(tmp_path, clock) as (pki, _):
        numbers = []
        for _ in range(33):
            clock.advance(timedelta(hours=22))
            for kind in ListKind:
                assert clock.now() < pki.lists.current(CaName.ACI_EL_ORG, kind).next_update
            await pki.lists.refresh()
            numbers.append(_number(_list(pki, ListKind.FULL)))
    assert numbers == sorted(numbers)


async def test_a_delta_shrinks_to_nothing_when_a_new_base_is_published(tmp_path: Path) -> None:
    clock = ManualClock(START)
    async with _pki(tmp_path, clock) as (pki, store):
        serial = await _issue(pki, store)
        await _revoke(pki, store, serial)
        clock.advance(timedelta(hours=25))
        await pki.lists.refresh()
        assert _serials(_list(pki, ListKind.FULL)) == {serial}
        assert _serials(_list(pki, ListKind.DELTA)) == set()


async def test_a_revocation_committed_before_a_crash_is_published_at_the_next_start(tmp_path: Path) -> None:
    clock = ManualClock(START)
    async with _pki(tmp_path, clock) as (pki, store):
        serial = await _issue(pki, store)
        async with store.transaction() as tx:
            await pki.revoke_in(tx, serial, RevocationReason.SUPERSEDED)
    async with _pki(tmp_path, clock) as (pki, _):
        assert _serials(_list(pki, ListKind.FULL)) == {serial}


async def test_a_number_committed_without_its_list_is_passed_over_and_never_used_again(
    tmp_path: Path,
) -> None:
    clock = ManualClock(START)
    async with _pki(tmp_path, clock) as (pki, store):
        before = _number(_list(pki, ListKind.FULL))
        async with store.transaction() as tx:
            values = {"crl_number": before + 5, "crl_wanted": False}
            await tx.execute(
                sa.update(tables.authorities)
                .where(tables.authorities.c.name == CaName.ACI_EL_ORG)
                .values(**values)
            )
    async with _pki(tmp_path, clock) as (pki, _):
        assert _number(_list(pki, ListKind.FULL)) == before + 6


async def test_numbers_go_on_upwards_when_an_older_state_is_restored(tmp_path: Path) -> None:
    clock = ManualClock(START)
    async with _pki(tmp_path, clock) as (pki, store):
        backup = (await _issue(pki, store), _number(_list(pki, ListKind.FULL)))
        clock.advance(timedelta(minutes=1))
        await _revoke(pki, store, backup[0])
        reached = _number(_list(pki, ListKind.FULL))
        async with store.transaction() as tx:
            await tx.execute(sa.update(tables.authorities).values(crl_number=backup[1]))
            await tx.execute(sa.delete(tables.crls))
    clock.advance(timedelta(minutes=1))
    async with _pki(tmp_path, clock) as (pki, _):
        assert _number(_list(pki, ListKind.FULL)) > reached


async def test_a_new_address_gives_the_cas_new_certificates_under_the_same_keys(tmp_path: Path) -> None:
    clock = ManualClock(START)
    moved = policy_for_tests(
        ca_algorithm=CaKeyAlgorithm.EC_P256, base_urls=("http://127.0.0.1:9", "http://localhost:9")
    )
    async with _pki(tmp_path, clock) as (pki, _):
        before = pki.authorities[CaName.ACI_EL_ORG].certificate
        issued = await pki.issue(request_for(ProfileName.ORG_AUTH_CLI, LEAF_KEY.public_key))
    async with _pki(tmp_path, clock, moved) as (pki, _):
        after = pki.authorities[CaName.ACI_EL_ORG].certificate
        assert after.serial_number != before.serial_number
        assert after.public_key() == before.public_key()
        x509.load_der_x509_certificate(issued.der).verify_directly_issued_by(after)
        points = after.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
        assert str(points[0].full_name[0].value).startswith("http://127.0.0.1:9/")


async def test_other_names_for_existing_cas_are_refused(tmp_path: Path) -> None:
    clock = ManualClock(START)
    async with _pki(tmp_path, clock):
        pass
    renamed = policy_for_tests(ca_algorithm=CaKeyAlgorithm.EC_P256, organisation="ANOTHER")
    with pytest.raises(PolicyError, match="organisation"):
        async with _pki(tmp_path, clock, renamed):
            pass


async def test_a_serial_is_never_recorded_twice(tmp_path: Path) -> None:
    async with _pki(tmp_path, ManualClock(START)) as (pki, store):
        issued = await pki.issue(request_for(ProfileName.ORG_AUTH_CLI, LEAF_KEY.public_key))
        recorded = Recorded(kind="order", profile=ProfileName.ORG_AUTH_CLI, level="software")
        async with store.transaction() as tx:
            await pki.record(tx, issued, recorded)
        with pytest.raises(sa.exc.IntegrityError):
            async with store.transaction() as tx:
                await pki.record(tx, issued, recorded)


async def test_responders_get_new_certificates_before_theirs_end(tmp_path: Path) -> None:
    clock = ManualClock(START)
    async with _pki(tmp_path, clock) as (pki, _):
        policy = pki.policy
    clock.advance(policy.ocsp_responder_validity)
    async with _pki(tmp_path, clock) as (pki, store):
        statement = sa.select(tables.certificates.c.not_after).where(
            tables.certificates.c.kind == "responder"
        )
        async with store.read() as connection:
            ends = (await connection.execute(statement)).scalars().all()
        assert sum(end > clock.now() + policy.ocsp_responder_validity / 2 for end in ends) == len(CaName)


@pytest.mark.parametrize("algorithm", [CaKeyAlgorithm.EC_P256, CaKeyAlgorithm.RSA_2048])
async def test_what_is_larger_than_a_message_to_a_token_host_is_signed(
    tmp_path: Path, algorithm: CaKeyAlgorithm
) -> None:
    async with _pki(tmp_path, ManualClock(START), policy_for_tests(ca_algorithm=algorithm)) as (pki, _):
        signer, large = pki.authorities[CaName.ACI_EL_ORG].signer, bytes(MAXIMUM_FRAME + 1)
        assert verifies(signer.public_key, await signer.sign(large), large)
