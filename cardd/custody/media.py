"""Where the daemon's keys are: SoftHSM for CAs and test cards, and the module chosen for the structures' keys.

A TPM makes no RSA 4096 keys and few of any kind at once, so that CA keys stay on SoftHSM, of which no more is said than
it holds. A module that was chosen once stays open after another is chosen: its tokens' keys are used as before.
"""

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from cardd.errors import CarddError
from cardd.settings import Settings, TokenSettings
from cardd.store import Store
from cardd.store.tables import instance, tokens
from cardd.text import Text
from cardd_pkcs11.errors import TokenError
from cardd_pkcs11.modules import TokenModules
from cardd_pkcs11.operations import TokenPool
from cardd_pkcs11.pool import TokenHostPool
from cardd_pkcs11.profiles import load_profile
from cardd_pkcs11.softhsm import write_softhsm_config
from cardd_pkcs11.tpmstore import open_tpm_store

SOFTHSM = "softhsm2"
TPM = "tpm2"

#: The module chosen for the structures' keys, kept from one start to the next.
_CHOSEN = "token_module"
_MOST_HOSTS_BY_DEFAULT = 4


class MediumUnusableError(CarddError):
    """The module chosen for the structures' keys does not work here."""

    code = "token_module_unusable"
    status = 503
    title = Text(
        "The module chosen for the keys does not work", "Le module choisi pour les clés ne fonctionne pas"
    )
    default_advice = Text(
        "Install libtpm2-pkcs11-1; see that a TPM 2.0 answers this user (`tpm2_getcap properties-fixed`, group tss) "
        "and that `tokens.tpm_tcti` names it; or choose softhsm2.",
        "Installez libtpm2-pkcs11-1 ; vérifiez qu’un TPM 2.0 répond à ce compte (« tpm2_getcap properties-fixed », "
        "groupe tss) et que « tokens.tpm_tcti » le désigne ; ou choisissez softhsm2.",
    )


@dataclass(frozen=True)
class Media:
    """The modules that are open."""

    #: Holds the CA keys and the test cards.
    software: TokenHostPool
    #: Makes the structures' tokens where another module was chosen for them.
    structures: TokenHostPool | None
    #: All of them, each token in its own.
    all: TokenPool


async def open_media(settings: Settings, store: Store) -> Media:
    """Open SoftHSM, the module chosen, and those that hold tokens since an earlier choice.

    Raises:
        MediumUnusableError: a module chosen for the first time does not work.
    """
    before, used = await _chosen_before(store), await _modules_in_use(store)
    chosen = settings.tokens.module or before
    pools = {
        name: await asyncio.to_thread(_pool, name, settings.tokens, settings.state)
        for name in {SOFTHSM, chosen, *used}
    }
    software, structures = pools.pop(SOFTHSM), pools.get(chosen)
    if chosen != before:
        if structures is not None:
            await _try_out(structures)
        await _choose(store, chosen)
    every = TokenModules([software, *pools.values()]) if pools else software
    return Media(software, structures, every)


async def open_software(settings: TokenSettings, directory: Path) -> Media:
    """Open SoftHSM alone, on the tokens of a directory."""
    pool = await asyncio.to_thread(_pool, SOFTHSM, settings, directory)
    return Media(pool, None, pool)


def _pool(name: str, settings: TokenSettings, directory: Path) -> TokenHostPool:
    if name == TPM:
        store = open_tpm_store(directory)
        environment = store.environment(settings.tpm_tcti)
        return TokenHostPool(load_profile(TPM), 1, environment, serial_seed=store.serial_seed)
    hosts = settings.processes or min(os.cpu_count() or 1, _MOST_HOSTS_BY_DEFAULT)
    environment = {"SOFTHSM2_CONF": str(write_softhsm_config(directory))}
    return TokenHostPool(load_profile(name), hosts, environment)


async def _try_out(pool: TokenHostPool) -> None:
    """Use a module before it is relied on."""
    try:
        await pool.list_tokens()
    except TokenError as error:
        await pool.close()
        name = pool.profile.name
        raise MediumUnusableError(
            Text(f"The module {name}: {error}.", f"Le module {name} : {error}."), module=name
        ) from error


async def _chosen_before(store: Store) -> str:
    async with store.read() as connection:
        statement = sa.select(instance.c.value).where(instance.c.name == store.own_name(_CHOSEN))
        return (await connection.execute(statement)).scalar() or SOFTHSM


async def _choose(store: Store, module: str) -> None:
    async with store.transaction() as tx:
        await tx.execute(sa.delete(instance).where(instance.c.name == store.own_name(_CHOSEN)))
        await tx.execute(sa.insert(instance).values(name=store.own_name(_CHOSEN), value=module))
        tx.journal("token_module.chosen", f"module:{module}")


async def _modules_in_use(store: Store) -> Sequence[str]:
    statement = sa.select(tokens.c.module).where(tokens.c.machine == store.machine).distinct()
    async with store.read() as connection:
        return (await connection.execute(statement)).scalars().all()
