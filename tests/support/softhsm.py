"""SoftHSM for tests: a state of its own a test, and tokens with known PINs."""

import asyncio
import fcntl
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from cardd_pkcs11.errors import ModuleMissingError
from cardd_pkcs11.policy import Deadlines
from cardd_pkcs11.pool import TokenHostPool
from cardd_pkcs11.profiles import ModuleProfile, load_profile
from cardd_pkcs11.softhsm import write_softhsm_config
from cardd_pkcs11.types import KeyId, KeyTemplate, Secret, TokenSerial

SO_PIN = Secret("87654321")
USER_PIN = Secret("123456")
KEY_ID = KeyId(bytes(range(16)))
SIGNING = KeyTemplate(sign=True, decrypt=False)
DECRYPTING = KeyTemplate(sign=False, decrypt=True)


def softhsm_profile() -> ModuleProfile:
    """Return SoftHSM's profile, or skip the test with the sentence that says what is missing."""
    profile = load_profile("softhsm2")
    try:
        profile.locate()
    except ModuleMissingError as error:
        pytest.skip(str(error))
    return profile


def softhsm_environment(state_dir: Path) -> dict[str, str]:
    """Lay out a SoftHSM state and return the environment that selects it."""
    return {"SOFTHSM2_CONF": str(write_softhsm_config(state_dir))}


@asynccontextmanager
async def open_pool(
    state_dir: Path, size: int = 1, *, deadlines: Deadlines | None = None
) -> AsyncIterator[TokenHostPool]:
    """Run a pool over a SoftHSM state for the length of a block."""
    pool = TokenHostPool(softhsm_profile(), size, softhsm_environment(state_dir), deadlines=deadlines)
    try:
        yield pool
    finally:
        await pool.close()


async def new_token(pool: TokenHostPool, label: str = "test token") -> TokenSerial:
    """Initialise a token with the PINs above."""
    return (await pool.init_token(label, SO_PIN, USER_PIN)).serial


def require_tool(name: str) -> str:
    """Return a program's path, or skip the test."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


@contextmanager
def store_held(state_dir: Path) -> Iterator[None]:
    """Keep every host from the records of a SoftHSM state's tokens: one that wants to read or write any is held up."""
    descriptor = os.open(state_dir / "softhsm", os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def waits_at_a_lock(pid: int | None) -> bool:
    """Tell whether the kernel holds a process up at a lock."""
    lines = Path("/proc/locks").read_text().splitlines()
    return any("->" in line and str(pid) in line.split() for line in lines)


async def until(condition: Callable[[], bool]) -> None:
    """Give way to the loop until a condition holds, ten seconds at most."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what is waited for is outside the loop
            await asyncio.sleep(0.001)
