"""A wall clock of real programs that tests set while they run; time goes on from there as it does."""

import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

_SOURCE = Path(__file__).with_suffix(".c")


class SettableClock:
    """The wall clock of the programs that are started with `environment`; their monotonic clocks are the machine's."""

    def __init__(self, folder: Path) -> None:
        """Raises `pytest.skip.Exception` where there is no compiler for what programs preload."""
        compiler = shutil.which("gcc")
        if compiler is None:
            pytest.skip("gcc, which makes what sets a program's clock, is not installed")
        library = folder / "settable_clock.so"
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-Wall", "-o", library, _SOURCE], check=True)
        self._file = (folder / "clock").open("w+b", buffering=0)
        self.ahead = timedelta(0)
        self.set(self.ahead)
        self.environment = {"LD_PRELOAD": str(library), "SETTABLE_CLOCK": self._file.name}

    def set(self, ahead: timedelta) -> None:
        """Set the clock so far ahead of the machine's, or behind it; whole seconds."""
        self._file.seek(0)
        self._file.write(int(ahead.total_seconds()).to_bytes(8, sys.byteorder, signed=True))
        self.ahead = ahead

    def now(self) -> datetime:
        """Return what the programs take for the present."""
        return datetime.now(UTC) + self.ahead

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()
