"""What has to be done in time: lists renewed, cards opposed, orders expired, notices sent.

Each duty is idempotent and finds by itself what is due, so that a duty that failed, or a daemon that was
stopped for a month, only has to run again.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import NamedTuple

import structlog

from cardd.clock import Clock
from cardd.errors import CarddError

#: A duty that failed is tried again after this, then after twice as long each time, up to its interval.
_RETRY = timedelta(seconds=5)

_log = structlog.get_logger(__name__)


class Duty(NamedTuple):
    """One thing to do again and again."""

    name: str
    every: timedelta
    perform: Callable[[], Awaitable[object]]
    follows: bool = False
    """Whether it goes on until it fails, following what happens, and is well again once it has gone on for a while."""


class Upkeep:
    """Performs each duty at the start, then at its interval and when the clock is set, until cancelled."""

    def __init__(self, clock: Clock, duties: tuple[Duty, ...]) -> None:
        self._clock = clock
        self._duties = duties
        self.failing: dict[str, str] = {}

    async def run(self) -> None:
        """Perform the duties side by side; a failure of one is logged, shown, and tried again."""
        async with asyncio.TaskGroup() as group:
            for duty in self._duties:
                group.create_task(self._keep(duty), name=f"upkeep {duty.name}")

    async def _keep(self, duty: Duty) -> None:
        failures = 0
        while True:
            failures = 0 if await self._perform(duty) else failures + 1
            retry = _RETRY * 2 ** min(failures - 1, 20) if failures else duty.every
            await self._clock.pause(min(duty.every, retry))

    async def _perform(self, duty: Duty) -> bool:
        """Perform a duty; tell whether it succeeded."""
        well = asyncio.create_task(self._becomes_well(duty)) if duty.follows else None
        try:
            await duty.perform()
        except CarddError as error:
            self.failing[duty.name] = error.code
            _log.warning("upkeep failed", duty=duty.name, code=error.code, detail=error.detail.en)
        except Exception:  # noqa: BLE001 (no duty may end the others; the log has the traceback)
            self.failing[duty.name] = "internal_error"
            _log.exception("upkeep failed", duty=duty.name)
        else:
            self.failing.pop(duty.name, None)
        finally:
            if well is not None:
                well.cancel()
        return duty.name not in self.failing

    async def _becomes_well(self, duty: Duty) -> None:
        await self._clock.pause(_RETRY)
        self.failing.pop(duty.name, None)
