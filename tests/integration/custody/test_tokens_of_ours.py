"""Tokens that the daemon holds: made with recorded PINs, and finished after a crash at any point."""

import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cardd.custody.pins import PinVault, make_token, recover_tokens
from cardd_pkcs11.pool import TokenHostPool
from cardd_pkcs11.types import KeyAlgorithm, TokenSerial
from tests.support.softhsm import KEY_ID, SIGNING, open_pool, softhsm_environment, softhsm_profile

LABEL = "cardd CA keys"


@pytest.fixture
async def pool(tmp_path: Path) -> AsyncIterator[TokenHostPool]:
    async with open_pool(tmp_path) as pool:
        yield pool


@pytest.fixture
def vault(tmp_path: Path) -> PinVault:
    return PinVault(tmp_path / "pins")


async def _assert_usable(pool: TokenHostPool, serial: TokenSerial) -> None:
    await pool.generate_key_pair(serial, KEY_ID, "k", KeyAlgorithm.EC_P256, SIGNING)


async def test_a_token_of_ours_is_usable_at_once_and_after_a_restart(
    pool: TokenHostPool, vault: PinVault, tmp_path: Path
) -> None:
    serial = await make_token(pool, vault, LABEL)
    await _assert_usable(pool, serial)
    async with open_pool(tmp_path) as restarted:
        assert await recover_tokens(restarted, PinVault(tmp_path / "pins")) == ()
        assert await restarted.key_attributes(serial, KEY_ID)


async def test_a_crash_before_initialisation_costs_nothing(pool: TokenHostPool, vault: PinVault) -> None:
    vault.create(LABEL)
    assert await recover_tokens(pool, vault) == ()
    await _assert_usable(pool, await make_token(pool, vault, LABEL))
    assert vault.pending() == ()
    assert len(await pool.list_tokens()) == 1


async def test_a_crash_after_initialisation_leaves_a_token_whose_pins_are_known(
    pool: TokenHostPool, vault: PinVault
) -> None:
    pins = vault.create(LABEL)
    token = await pool.init_token(LABEL, pins.security_officer, pins.user)
    assert await recover_tokens(pool, vault) == (token.serial,)
    await _assert_usable(pool, token.serial)


async def test_making_the_token_again_after_such_a_crash_finds_the_same_one(
    pool: TokenHostPool, vault: PinVault
) -> None:
    pins = vault.create(LABEL)
    token = await pool.init_token(LABEL, pins.security_officer, pins.user)
    assert await make_token(pool, vault, LABEL) == token.serial
    await _assert_usable(pool, token.serial)


async def test_a_crash_between_initialisation_and_user_pin_is_finished(
    pool: TokenHostPool, vault: PinVault, tmp_path: Path
) -> None:
    pins = vault.create(LABEL)
    serial = _initialise_without_user_pin(tmp_path, LABEL, pins.security_officer.reveal())
    [half_made] = await pool.list_tokens(refresh=True)
    assert not half_made.user_pin.initialised
    assert await recover_tokens(pool, vault) == (serial,)
    await _assert_usable(pool, serial)


async def test_a_second_token_of_the_same_label_is_another_one(pool: TokenHostPool, vault: PinVault) -> None:
    first = await make_token(pool, vault, LABEL)
    assert await make_token(pool, vault, LABEL) != first
    assert len(vault.serials()) == 2


def _initialise_without_user_pin(state_dir: Path, label: str, so_pin: str) -> TokenSerial:
    """Do what a host does up to C_InitToken, in a process that then ends."""
    script = (
        "import sys\n"
        "import pkcs11\n"
        "from cardd_pkcs11.cryptoki import Functions\n"
        "from cardd_pkcs11.types import Secret\n"
        "module, label, pin = sys.argv[1:]\n"
        "library = pkcs11.lib(module)\n"
        "slot = library.get_slots()[0]\n"
        "Functions(module).init_token(slot.slot_id, Secret(pin), label)\n"
        "print(slot.get_token().serial.decode())\n"
        "library.finalize()\n"
    )
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-c", script, str(softhsm_profile().locate()), label, so_pin],
        env={**softhsm_environment(state_dir), "PYTHONPATH": str(root / "pkcs11")},
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return TokenSerial(done.stdout.strip())
