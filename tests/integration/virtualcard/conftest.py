"""A private pcscd with virtual readers for these tests, and the OpenSC tools beside it."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest

from cardd.virtualcard import ConfinedPcscd
from cardd.virtualcard.errors import ConfinementUnavailableError

MODULES = (
    Path("/usr/lib/x86_64-linux-gnu/opensc-pkcs11.so"),
    Path("/usr/lib/aarch64-linux-gnu/opensc-pkcs11.so"),
    Path("/usr/lib64/opensc-pkcs11.so"),
)


class Outcome(NamedTuple):
    """How a tool ended and what it printed."""

    status: int
    output: str


class Tools:
    """Runs OpenSC's tools against one pcscd, with nothing of the user's own."""

    def __init__(self, pcscd: ConfinedPcscd, home: Path, module: Path) -> None:
        self.pcscd = pcscd
        self.home = home
        self._module = str(module)
        self.configuration: Path | None = None

    async def run(self, *command: str) -> Outcome:
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.home), **self.pcscd.environment}
        if self.configuration is not None:
            environment["OPENSC_CONF"] = str(self.configuration)
        process = await asyncio.create_subprocess_exec(
            *command,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(60):
                output, _ = await process.communicate()
        except BaseException:
            process.kill()
            await process.communicate()
            raise
        assert process.returncode is not None
        return Outcome(process.returncode, output.decode(errors="replace"))

    async def pkcs11(self, *arguments: str) -> Outcome:
        return await self.run("pkcs11-tool", "--module", self._module, *arguments)

    async def until(self, expected: str, *command: str) -> None:
        """Run `command` again and again until its output contains `expected`; pcscd polls the reader."""
        output = ""
        try:
            async with asyncio.timeout(20):
                while expected not in output:
                    output = (await self.run(*command)).output
        except TimeoutError:
            pytest.fail(f"{expected!r} did not appear in {output!r}")

    async def wait_for_card(self) -> None:
        await self.until("IAS-ECC", "opensc-tool", "-n")


@pytest.fixture
async def tools(tmp_path: Path) -> AsyncIterator[Tools]:
    """Start pcscd; the test is skipped with a sentence where a part is missing."""
    missing = ConfinedPcscd.missing_part()
    if missing is not None:
        pytest.skip(f"no virtual reader here: {missing.en}")
    module = next((path for path in MODULES if path.exists()), None)
    if module is None or shutil.which("pkcs15-tool") is None:
        pytest.skip("OpenSC is not installed (packages opensc and opensc-pkcs11)")
    with tempfile.TemporaryDirectory(prefix="cardd-pcscd-") as directory:
        pcscd = ConfinedPcscd(Path(directory))
        try:
            await pcscd.start()
        except ConfinementUnavailableError as error:
            pytest.skip(error.detail.en)
        try:
            yield Tools(pcscd, tmp_path, module)
        finally:
            await pcscd.stop()
