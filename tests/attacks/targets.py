"""Tokens to attack: SoftHSM's, and a TPM's, each with keys that a daemon's custody made and claimed."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, TypedDict

from cardd.custody.policy import KeyUse
from cardd_pkcs11.pool import TokenHostPool
from cardd_pkcs11.tpmstore import open_tpm_store
from cardd_pkcs11.types import KeyAlgorithm, KeyId, Spki, TokenSerial
from tests.attacks.harness import Place, Target
from tests.support.custody import PoolOpener, started
from tests.support.softhsm import open_pool, softhsm_environment, softhsm_profile
from tests.support.tpm import Tpm, tpm_profile


class Held(TypedDict):
    """What is known of a token that was prepared."""

    label: str
    serial: TokenSerial
    pin: str
    rsa_id: KeyId
    rsa_spki: Spki
    ec_id: KeyId
    ec_spki: Spki


async def prepare(state: Path, opened: PoolOpener) -> Held:
    """Make a state whose token has keys, an exported PIN, and a chain that has begun."""
    async with started(state, opened=opened) as instance:
        record = await instance.token()
        rsa = await instance.key(record, 1, KeyAlgorithm.RSA_2048, KeyUse.SIGN_AND_DECRYPT)
        ec = await instance.key(record, 2)
        await instance.keeper.export_pin(record.label)
        await instance.chains.advance_used((record,))
        return {
            "label": record.label,
            "serial": record.serial,
            "pin": instance.vault.read(record.serial).reveal(),
            "rsa_id": rsa.key_id,
            "rsa_spki": rsa.spki,
            "ec_id": ec.key_id,
            "ec_spki": ec.spki,
        }


@dataclass(frozen=True, kw_only=True)
class SoftHsmTarget(Target):
    """A SoftHSM token: its files are a directory of its own."""

    copies_sign: ClassVar[bool] = True

    @property
    def module(self) -> str:
        """The module's path."""
        return str(softhsm_profile().locate())

    @property
    def environment(self) -> dict[str, str]:
        """The environment in which tools see the victim's token."""
        return {**os.environ, **softhsm_environment(self.state)}

    @property
    def files(self) -> Path:
        """The directory of the victim's token."""
        (found,) = [each for each in (self.state / "softhsm" / "tokens").iterdir() if each.is_dir()]
        return found

    def elsewhere(self, name: str) -> Place:
        """Return another SoftHSM."""
        state = self.workshop / name
        state.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, **softhsm_environment(state)}
        return Place(state / "softhsm" / "tokens", environment)

    def opened(self, state: Path) -> AbstractAsyncContextManager[TokenHostPool]:
        """Open SoftHSM."""
        return open_pool(state)


@dataclass(frozen=True, kw_only=True)
class TpmTarget(Target):
    """A token in a TPM: its files are the whole store. Another machine has another TPM."""

    copies_sign: ClassVar[bool] = False

    tpm: Tpm
    other: Tpm

    @property
    def module(self) -> str:
        """The module's path."""
        return str(tpm_profile().locate())

    @property
    def environment(self) -> dict[str, str]:
        """The environment in which tools see the victim's token."""
        return {**os.environ, **self.tpm.environment, "TPM2_PKCS11_STORE": str(self.files)}

    @property
    def files(self) -> Path:
        """The victim's store."""
        return self.state / "tpm2"

    def elsewhere(self, name: str) -> Place:
        """Return another place for stores, with another TPM."""
        place = self.workshop / name
        place.mkdir(parents=True, exist_ok=True)
        environment = {
            **os.environ,
            **self.other.environment,
            "TPM2_PKCS11_STORE": str(place / self.files.name),
        }
        return Place(place, environment)

    def opened(self, state: Path) -> AbstractAsyncContextManager[TokenHostPool]:
        """Open the victim's TPM."""
        return opened_tpm(self.tpm)(state)


def opened_tpm(tpm: Tpm) -> PoolOpener:
    """Return what opens the store of a state with a TPM."""

    @asynccontextmanager
    async def opened(state: Path) -> AsyncIterator[TokenHostPool]:
        pool = tpm.pool(open_tpm_store(state))
        try:
            yield pool
        finally:
            await pool.close()

    return opened


def copied_state(prepared: Path, directory: Path) -> tuple[Path, Path]:
    """Copy a prepared state for one attempt; return it, and an empty workshop beside it."""
    state, workshop = directory / "victim", directory / "attacker"
    shutil.copytree(prepared, state)
    workshop.mkdir()
    return state, workshop
