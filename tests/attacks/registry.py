"""The daemon as the one who notices: its registry, its chain and its check of every key."""

import asyncio
import shutil

from cardd_pkcs11.types import TokenSerial
from tests.attacks.harness import Became, Target
from tests.support.custody import Instance, started


class Registry:
    """Lets the copy meet the registry of the daemon that made the key, as two copies do that one daemon serves."""

    def noticed(self, target: Target, became: Became) -> str | None:
        """Start the daemon with what is there; then with the copy, where it is elsewhere, in the original's place."""
        return asyncio.run(_noticed(target, became))


async def _noticed(target: Target, became: Became) -> str | None:
    async with started(target.state, opened=target.opened) as instance:
        told = await _told(instance, target.serial)
    if told is not None or became.copy is None:
        return told
    original = target.files
    shutil.rmtree(original)
    shutil.copytree(became.copy, original)
    async with started(target.state, opened=target.opened) as instance:
        return await _told(instance, target.serial)


async def _told(instance: Instance, serial: TokenSerial) -> str | None:
    for quarantine in await instance.chains.quarantines():
        if quarantine.token_serial == serial:
            assert "key.copy_noticed" in await instance.events()
            return f"quarantine: {quarantine.reason}"
    report = await instance.sweep.perform()
    if report.findings == 0:
        return None
    views = await instance.sweep.keys()
    return "finding: " + ", ".join(sorted({each.finding for view in views for each in view.findings}))
