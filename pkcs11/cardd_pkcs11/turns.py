"""Turns that the processes of one store take at its tokens' own records.

SoftHSM 2.6 gives its lock on a file back before what it wrote has left its buffer. Whoever reads the record of a token
in that moment finds it empty: C_GetTokenInfo fails with CKR_GENERAL_ERROR, and after C_Initialize the token is missing.
A login writes that record, too. Hosts therefore hold a lock of ours around what reads and what writes it. It stands on
the store's directory, needs no file, and goes with the process that holds it.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

if sys.platform != "win32":
    import fcntl


class StoreTurns:
    """The turns of one process, on its only thread; without a directory, or where none can be locked, all is open."""

    def __init__(self, directory: Path | None) -> None:
        self._held = False
        self._descriptor: int | None = None
        if directory is not None and sys.platform != "win32":
            try:
                self._descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
            except OSError:
                return  # the module will say itself that its store is not there

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Read records while nobody writes one."""
        with self._turn(writes=False):
            yield

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Write records, and read them, while nobody else does either."""
        with self._turn(writes=True):
            yield

    @contextmanager
    def _turn(self, *, writes: bool) -> Iterator[None]:
        if self._descriptor is None or self._held or sys.platform == "win32":
            yield
            return
        fcntl.flock(self._descriptor, fcntl.LOCK_EX if writes else fcntl.LOCK_SH)
        self._held = True
        try:
            yield
        finally:
            self._held = False
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
