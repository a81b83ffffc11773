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

_log = structlog.get_logger(__name__)


class Duty(NamedTuple):
    """One thing to do again and again."""

    name: str
    every: timedelta
    perform: Callable[[], Awaitable[object]]


class Upkeep:
    """Performs each duty at the start and then at its interval, until cancelled."""

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
        while True:
            await self._perform(duty)
            await self._clock.sleep_until(self._clock.now() + duty.every)

    async def _perform(self, duty: Duty) -> None:
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
