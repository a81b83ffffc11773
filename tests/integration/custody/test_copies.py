"""Copies of a token on a real SoftHSM: put back, forked, crashed into, and what their owner decides."""

import asyncio
import shutil
from pathlib import Path

import pytest

from cardd.custody.chain import (
    APPLICATION,
    LABEL,
    NotQuarantinedError,
)
from cardd.custody.errors import TokenQuarantinedFaultError
from cardd.custody.keys import MadeKey
from cardd.custody.policy import KeyUse
from cardd.custody.registry import KeyIntents, spki_hash
from cardd.custody.seal import Sealer, SecretKeeper
from cardd.custody.stock import KeyKind, KeyStock
from cardd.custody.tokens import (
    PinNotExportableError,
    TokenOrphanedError,
    TokenPurpose,
)
from cardd.custody.types import Divergence, Finding
from cardd_pkcs11.errors import TokenError
from cardd_pkcs11.pool import TokenHostPool
from cardd_pkcs11.types import CustodyLevel, KeyId, KeyTemplate, ObjectInfo, ObjectKind, TokenSerial
from tests.support.custody import EC, started
from tests.support.softhsm import SIGNING
from tests.support.stores import SavedStore

#: Each test runs on SQLite and on PostgreSQL.
pytestmark = pytest.mark.usefixtures("each_store")


@pytest.fixture
async def prepared(tmp_path: Path) -> Path:
    """A state with a structure's token, a key on it, and its chain begun."""
    async with started(tmp_path / "state") as instance:
        record = await instance.token()
        await instance.key(record)
        await instance.chains.advance_used((record,))
    return tmp_path / "state"


def _token_directory(state: Path) -> Path:
    (directory,) = (state / "softhsm" / "tokens").iterdir()
    return directory


def _put_back(state: Path, copy: Path) -> None:
    shutil.rmtree(_token_directory(state))
    shutil.copytree(copy, state / "softhsm" / "tokens" / copy.name)


def _copy(state: Path, where: Path) -> Path:
    directory = _token_directory(state)
    return Path(shutil.copytree(directory, where / directory.name))


async def test_starting_again_and_again_is_not_a_copy(prepared: Path) -> None:
    for _ in range(3):
        async with started(prepared) as instance:
            assert await instance.chains.quarantines() == ()
            assert "key.copy_noticed" not in await instance.events()


async def test_checks_side_by_side_are_not_a_copy(prepared: Path) -> None:
    async with started(prepared) as instance:
        (record, *_) = await instance.keeper.list()
        checks = (instance.chains.check(record, advance=number % 2 == 0) for number in range(12))
        assert await asyncio.gather(*checks) == [None] * 12
        assert await instance.chains.quarantines() == ()


async def test_a_token_put_back_from_an_earlier_copy_is_noticed_and_closed_off(
    prepared: Path, tmp_path: Path
) -> None:
    copy = _copy(prepared, tmp_path)
    async with started(prepared):
        pass
    _put_back(prepared, copy)
    async with started(prepared) as instance:
        (quarantine,) = await instance.chains.quarantines()
        assert quarantine.reason is Divergence.ROLLED_BACK
        assert "key.copy_noticed" in await instance.events()
        with pytest.raises(TokenQuarantinedFaultError):
            await instance.key(await instance.token(), 2)
    async with started(prepared) as instance:
        assert await instance.chains.quarantines() == (quarantine,), "it stays in quarantine across starts"


async def test_two_copies_that_use_one_registry_in_turn_are_noticed(prepared: Path, tmp_path: Path) -> None:
    clone = _copy(prepared, tmp_path)
    original = tmp_path / "original"
    async with started(prepared):
        pass
    shutil.copytree(_token_directory(prepared), original / clone.name)
    _put_back(prepared, clone)
    async with started(prepared) as instance:
        assert (await instance.chains.quarantines())[0].reason is Divergence.ROLLED_BACK
        await instance.chains.release(await instance.token())
    _put_back(prepared, original / clone.name)
    async with started(prepared) as instance:
        assert len(await instance.chains.quarantines()) == 1, "the other copy is noticed in its turn"


async def test_a_registry_older_than_its_token_is_noticed(prepared: Path, tmp_path: Path) -> None:
    backup = await SavedStore.of(prepared, tmp_path)
    async with started(prepared):
        pass
    await backup.put_back()
    async with started(prepared) as instance:
        assert (await instance.chains.quarantines())[0].reason is Divergence.REGISTRY_OLDER


async def test_a_state_restored_as_a_whole_is_no_copy(prepared: Path, tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    shutil.copytree(prepared, backup)
    store = await SavedStore.of(prepared, tmp_path)
    async with started(prepared) as instance:
        await instance.key(await instance.token(), 2)
    shutil.rmtree(prepared)
    shutil.copytree(backup, prepared)
    await store.put_back()
    async with started(prepared) as instance:
        assert await instance.chains.quarantines() == ()


@pytest.mark.parametrize("written", [False, True])
async def test_a_crash_while_the_chain_advances_is_no_copy(
    prepared: Path, monkeypatch: pytest.MonkeyPatch, written: bool
) -> None:
    """The row is announced; the object is written or not; the confirmation never comes."""
    store_data = TokenHostPool.store_data

    async def crash(self: TokenHostPool, *arguments: object, **options: object) -> None:
        if written:
            await store_data(self, *arguments, **options)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(TokenHostPool, "store_data", crash)
        async with started(prepared):
            pass
    for _ in range(2):
        async with started(prepared) as instance:
            assert await instance.chains.quarantines() == ()


async def test_a_token_without_its_object_is_noticed(prepared: Path) -> None:
    async with started(prepared) as instance:
        record = await instance.token()
        await instance.pool.destroy(record.serial, kinds=frozenset({ObjectKind.DATA}), label=LABEL)
        assert await instance.chains.check(record) is Divergence.OBJECT_MISSING


async def test_the_chain_advances_after_a_number_of_uses(prepared: Path) -> None:
    async with started(prepared, uses=3) as instance:
        record = await instance.token()
        made = await instance.key(record, 2)
        before = await instance.pool.read_data(record.serial, APPLICATION, LABEL)
        for _ in range(2):
            await instance.sign(made)
        await instance.chains.advance_used((record,))
        assert await instance.pool.read_data(record.serial, APPLICATION, LABEL) == before
        await instance.sign(made)
        await instance.chains.advance_used((record,))
        assert await instance.pool.read_data(record.serial, APPLICATION, LABEL) != before


async def test_a_released_token_works_again_and_nothing_else_can_be_released(
    prepared: Path, tmp_path: Path
) -> None:
    copy = _copy(prepared, tmp_path)
    async with started(prepared):
        pass
    _put_back(prepared, copy)
    async with started(prepared) as instance:
        record = await instance.token()
        await instance.chains.release(record)
        await instance.sign(await instance.key(record, 2))
        with pytest.raises(NotQuarantinedError):
            await instance.chains.release(record)
    async with started(prepared) as instance:
        assert await instance.chains.quarantines() == ()


async def test_nothing_is_certified_for_a_key_in_quarantine(prepared: Path, tmp_path: Path) -> None:
    copy = _copy(prepared, tmp_path)
    async with started(prepared) as instance:
        key = await instance.pool.public_key((await instance.token()).serial, KeyId(b"\1" * 16))
        await instance.chains.admit(key)
    _put_back(prepared, copy)
    async with started(prepared) as instance:
        with pytest.raises(TokenQuarantinedFaultError):
            await instance.chains.admit(key)


async def test_while_the_ca_keys_are_in_quarantine_nothing_is_issued_but_lists_are_signed(
    tmp_path: Path,
) -> None:
    state = tmp_path / "state"
    async with started(state) as instance:
        serial = await instance.keeper.ensure("cardd PKI", purpose=TokenPurpose.PKI)
        record = await instance.keeper.get(serial)
        made = await instance.key(record)
        await instance.chains.advance_used((record,))
    copy = _copy(state, tmp_path)
    async with started(state):
        pass
    _put_back(state, copy)
    async with started(state) as instance:
        with pytest.raises(TokenQuarantinedFaultError):
            await instance.chains.admit(b"any key")
        await instance.sign(made)
        await instance.chains.release(await instance.keeper.get(serial))
        await instance.chains.admit(b"any key")


async def test_a_token_directory_in_another_state_opens_nothing_there_even_with_its_pin(
    prepared: Path, tmp_path: Path
) -> None:
    other, elsewhere = tmp_path / "other", Sealer(b"o" * 32, b"machine", SecretKeeper.KEY_FILE)
    async with started(other, sealer=elsewhere):
        pass
    shutil.copytree(
        _token_directory(prepared), other / "softhsm" / "tokens" / _token_directory(prepared).name
    )
    shutil.copytree(next((prepared / "pins").glob("token-*")), other / "pins" / "stolen")
    async with started(other, sealer=elsewhere) as instance:
        with pytest.raises(TokenOrphanedError) as refused:
            await instance.token()
        assert "registry" in refused.value.detail.en
        report = await instance.sweep.perform()
        assert len(report.foreign_tokens) == 1


async def test_an_exported_pin_lowers_the_level_until_it_is_withdrawn_and_replaced(prepared: Path) -> None:
    async with started(prepared) as instance:
        record = await instance.token()
        assert record.level is CustodyLevel.MACHINE_BOUND
        sealed = instance.vault.read(record.serial)
        assert (await instance.keeper.export_pin(record.label)).level is CustodyLevel.SOFTWARE
        (view,) = await instance.sweep.keys()
        assert view.level == "software"
        file = instance.vault.pin_file(record.serial)
        assert file is not None
        assert file.read_text() == sealed.reveal()
        withdrawn = await instance.keeper.withdraw_pin(record.label)
        assert withdrawn.level is CustodyLevel.MACHINE_BOUND
        assert not file.exists()
        assert instance.vault.read(record.serial) != sealed
        await instance.sign(await instance.key(record, 2))
    async with started(prepared) as instance:
        await instance.key(await instance.token(), 3)
        with pytest.raises(TokenError):
            await instance.pool.let_go(record.serial)
            await instance.pool.login(record.serial, sealed)


async def test_a_change_of_pin_cut_short_is_finished_at_the_next_start(prepared: Path) -> None:
    async with started(prepared) as instance:
        record = await instance.token()
        pins = instance.vault.prepare_next(record.serial)
        await instance.pool.init_pin(record.serial, pins.security_officer, pins.user)
    async with started(prepared) as instance:
        assert instance.vault.changing() == ()
        assert instance.vault.read(record.serial) == pins.user
        await instance.key(record, 2)


async def test_the_ca_token_s_pin_is_not_exported(tmp_path: Path) -> None:
    async with started(tmp_path / "state") as instance:
        await instance.keeper.ensure("cardd PKI", purpose=TokenPurpose.PKI)
        with pytest.raises(PinNotExportableError):
            await instance.keeper.export_pin("cardd PKI")


async def test_the_sweep_finds_nothing_wrong_with_sound_keys(prepared: Path) -> None:
    async with started(prepared) as instance:
        report = await instance.sweep.perform()
        assert (report.keys, report.findings, report.foreign_tokens) == (1, 0, ())
        (view,) = await instance.sweep.keys()
        assert view.evidence
        assert view.findings == ()


async def test_a_key_that_is_made_while_all_are_checked_is_nothing_to_report(
    prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with started(prepared) as instance:
        (record, *_) = await instance.keeper.list()
        listed = instance.pool.list_objects
        made: list[MadeKey] = []

        async def list_while_a_key_is_made(serial: TokenSerial) -> tuple[ObjectInfo, ...]:
            if not made:  # after the registry was read, and before the token is
                made.append(await instance.key(record, 2))
            return await listed(serial)

        monkeypatch.setattr(instance.pool, "list_objects", list_while_a_key_is_made)
        report = await instance.sweep.perform()
        assert (report.keys, report.findings) == (2, 0)
        assert made


async def test_the_sweep_shows_ready_keys_as_ready_and_misses_them_when_they_are_gone(prepared: Path) -> None:
    async with started(prepared) as instance:
        record = await instance.token()
        stock = KeyStock(instance.store, instance.maker, KeyIntents(instance.store, instance.pool))
        await stock.make(KeyKind(record.serial, EC, KeyUse.SIGN))
        report = await instance.sweep.perform()
        assert (report.findings, report.keys) == (0, 2)
        (ready,) = [key for key in await instance.sweep.keys() if key.ready]
        assert (ready.registered, ready.evidence, ready.level) == (False, True, record.level)
        await instance.maker.destroy(record.serial, KeyId(bytes.fromhex(ready.key_id or "")))
        await instance.sweep.perform()
        (missed,) = [key for key in await instance.sweep.keys() if key.ready]
        assert [found.finding for found in missed.findings] == [Finding.KEY_MISSING]
        assert await stock.offer(KeyKind(record.serial, EC, KeyUse.SIGN)) is None


async def test_the_sweep_reports_missing_strange_and_changed_keys_and_touches_none(prepared: Path) -> None:
    async with started(prepared) as instance:
        record = await instance.token()
        stranger = await instance.pool.generate_key_pair(record.serial, KeyId(b"?" * 16), "?", EC, SIGNING)
        gone = await instance.key(record, 2)
        await instance.maker.destroy(record.serial, gone.key_id)
        await instance.sweep.perform()
        found = {
            view.spki_sha256: [each.finding for each in view.findings] for view in await instance.sweep.keys()
        }
        assert found[spki_hash(stranger)] == [Finding.UNREGISTERED]
        assert found[spki_hash(gone.spki)] == [Finding.KEY_MISSING]
        assert await instance.pool.public_key(record.serial, KeyId(b"?" * 16)) == stranger
        actions = [line.action for line in await instance.store.journal()]
        assert actions.count("key.finding") == 2
        assert "keys.swept" in actions


async def test_the_sweep_reports_a_key_that_differs_from_its_evidence(prepared: Path) -> None:
    async with started(prepared) as instance:
        record = await instance.token()
        made = await instance.key(record, 2)
        await instance.maker.destroy(record.serial, made.key_id)
        weaker = KeyTemplate(sign=True, decrypt=False, copyable=True)
        await instance.pool.generate_key_pair(record.serial, made.key_id, "other", EC, weaker)
        await instance.sweep.perform()
        views = {view.spki_sha256: view for view in await instance.sweep.keys()}
        found = {each.finding: each.details for each in views[spki_hash(made.spki)].findings}
        assert found == {Finding.ATTRIBUTES_CHANGED: ("copyable",), Finding.PUBLIC_KEY_CHANGED: ()}
