"""Targets: tokens with keys that KeyMaker made, whose files and PIN the attacker has."""

import asyncio
import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from cardd.custody.keys import KeyMaker
from cardd.custody.policy import KeyUse
from cardd_pkcs11.types import CustodyLevel, KeyAlgorithm, KeyId
from tests.attacks.harness import Target
from tests.support.softhsm import USER_PIN, new_token, open_pool

LABEL = "attacked"
RSA_ID, EC_ID = KeyId(b"r" * 16), KeyId(b"e" * 16)


@pytest.fixture
def fresh(tmp_path: Path) -> Callable[[], Target]:
    """Make a new target at every call."""
    numbers = itertools.count()

    def make() -> Target:
        return asyncio.run(_make(tmp_path / f"{next(numbers)}"))

    return make


async def _make(directory: Path) -> Target:
    state, workshop = directory / "victim", directory / "attacker"
    state.mkdir(parents=True)
    workshop.mkdir()
    async with open_pool(state) as pool:
        serial = await new_token(pool, LABEL)
        pool.keep_open(serial, lambda: USER_PIN)
        maker = KeyMaker(pool, CustodyLevel.SOFTWARE)
        rsa_key = await maker.make(serial, RSA_ID, "rsa", KeyAlgorithm.RSA_2048, KeyUse.SIGN_AND_DECRYPT)
        ec_key = await maker.make(serial, EC_ID, "ec", KeyAlgorithm.EC_P256, KeyUse.SIGN)
    return Target(
        state=state,
        workshop=workshop,
        label=LABEL,
        serial=serial,
        pin=USER_PIN.reveal(),
        rsa_id=RSA_ID,
        rsa_spki=rsa_key.spki,
        ec_id=EC_ID,
        ec_spki=ec_key.spki,
    )
