"""Which module holds which keys, and what is said where one does not work."""

from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa

from cardd.clock import ManualClock
from cardd.custody.media import MediumUnusableError, open_media
from cardd.custody.pins import PinVault
from cardd.custody.tokens import TokenKeeper, TokenPurpose
from cardd.events import EventBus
from cardd.settings import load_settings
from cardd.store import Store, tables
from cardd_pkcs11.modules import TokenModules
from cardd_pkcs11.pool import TokenHostPool
from tests.support.igc import PREPARED
from tests.support.softhsm import softhsm_environment, softhsm_profile
from tests.support.stores import open_store

#: Each test runs on SQLite and on PostgreSQL.
pytestmark = pytest.mark.usefixtures("each_store")

STRUCTURE = "399999999800019"


@pytest.fixture
async def store(tmp_path: Path) -> Store:
    """A state's store, with a structure in it."""
    store = await open_store(tmp_path, ManualClock(PREPARED), EventBus())
    async with store.transaction() as tx:
        await tx.execute(
            sa.insert(tables.structures).values(
                id=STRUCTURE, kind="siret", number=STRUCTURE[1:], name="TEST", address="-", postal_code="-", town="-",
                created_at=tx.now,
            )
        )  # fmt: skip
    return store


async def test_softhsm_holds_everything_where_nothing_else_was_chosen(store: Store, tmp_path: Path) -> None:
    media = await open_media(load_settings({}, overrides={"state_dir": str(tmp_path)}), store)
    assert media.structures is None
    assert media.all is media.software
    await store.close()


async def test_a_tpm_that_does_not_answer_is_refused_when_it_is_chosen_and_not_remembered(
    store: Store, tmp_path: Path
) -> None:
    chosen = {
        "state_dir": str(tmp_path),
        "tokens.module": "tpm2",
        "tokens.tpm_tcti": f"device:{tmp_path}/none",
    }
    with pytest.raises(MediumUnusableError) as refused:
        await open_media(load_settings({}, overrides=chosen), store)
    assert "tpm_tcti" in refused.value.advice.en
    media = await open_media(load_settings({}, overrides={"state_dir": str(tmp_path)}), store)
    assert media.structures is None
    await store.close()


async def test_new_keys_go_to_the_module_chosen_last_and_older_tokens_stay(
    store: Store, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    software = TokenHostPool(softhsm_profile(), 1, softhsm_environment(tmp_path))
    other = TokenHostPool(
        msgspec.structs.replace(softhsm_profile(), name="other"), 1, softhsm_environment(tmp_path / "other")
    )
    vault = PinVault(tmp_path / "pins")
    try:
        before = await TokenKeeper(store, software, vault).for_structure(STRUCTURE)
        keeper = TokenKeeper(store, TokenModules((software, other)), vault, structures=other)
        after = await keeper.for_structure(STRUCTURE)
        assert (before.module, after.module) == ("softhsm2", "other")
        assert before.label != after.label
        records = {record.serial: record for record in await keeper.list()}
        assert records[before.serial].structure_id is None
        assert records[before.serial].purpose is TokenPurpose.STRUCTURE
        assert records[before.serial].retired_at is None
        again = await TokenKeeper(store, software, vault).for_structure(STRUCTURE)
        assert again.serial == before.serial
        assert (await keeper.get(after.serial)).structure_id is None
    finally:
        await software.close()
        await other.close()
        await store.close()
