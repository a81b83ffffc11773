"""A wall clock of one program that tests set while it runs, by libfaketime; time goes on from there as it does."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest


class SettableClock:
    """The wall clock of the programs that are started with `environment`; their monotonic clocks are left alone."""

    def __init__(self, folder: Path) -> None:
        """Raises `pytest.skip.Exception` where libfaketime is not installed."""
        found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
        if not found:
            pytest.skip("libfaketime, which sets a program's clock, is not installed")
        self._file = folder / "clock"
        self.ahead = timedelta(0)
        self.set(self.ahead)
        self.environment = {
            "LD_PRELOAD": str(found[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DISABLE_SHM": "1",
        }

    def set(self, ahead: timedelta) -> None:
        """Set the clock so far ahead of the machine's, or behind it."""
        written = self._file.with_suffix(".new")
        written.write_text(f"{ahead.total_seconds():+.0f}\n")
        written.replace(self._file)
        self.ahead = ahead

    def now(self) -> datetime:
        """Return what the programs take for the present."""
        return datetime.now(UTC) + self.ahead
