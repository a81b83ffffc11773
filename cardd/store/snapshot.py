"""One committed state of a SQLite database, kept while others write, and copied when there is time."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

#: The database's file in a state directory.
DATABASE = "cardd.sqlite3"

_PAGES_A_STEP = 512


class DatabaseSnapshot:
    """A read transaction on the database in a state directory (WAL); made and closed in a thread, since that blocks."""

    def __init__(self, state: Path) -> None:
        self._source = sqlite3.connect(
            f"file:{state / DATABASE}?mode=ro", uri=True, isolation_level=None, check_same_thread=False
        )
        self._source.execute("BEGIN")
        self._source.execute("SELECT count(*) FROM sqlite_master").fetchone()

    def close(self) -> None:
        """Let go of it."""
        self._source.close()

    async def copy_to(self, path: Path) -> None:
        """Copy the state that was committed when the snapshot was made into a new file (0600)."""
        await asyncio.to_thread(self._copy_to, path)

    def _copy_to(self, path: Path) -> None:
        path.touch(mode=0o600, exist_ok=False)
        with closing(sqlite3.connect(path)) as target:
            self._source.backup(target, pages=_PAGES_A_STEP)
            target.execute("PRAGMA journal_mode=DELETE")
