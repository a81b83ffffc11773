"""What the store asks of a database, whichever it is."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Final, Protocol

from sqlalchemy.ext.asyncio import AsyncEngine

#: The machine of a state that no other machine shares.
ONLY_MACHINE: Final = "local"

#: Whose tokens in a directory are that several machines share.
SEVERAL_MACHINES: Final = "shared"


class Snapshot(Protocol):
    """One committed state, whatever is written meanwhile."""

    async def copy_to(self, path: Path) -> None:
        """Copy it into a new SQLite file (0600)."""


class Backend(Protocol):
    """A database with its connections: one for writing, some for reading beside it."""

    @property
    def machine(self) -> str:
        """The identifier that this machine's own rows carry."""

    @property
    def shared(self) -> bool:
        """Whether other machines may write here too."""

    @property
    def writer(self) -> AsyncEngine:
        """Begins transactions that no other writer's interleaves with, on this machine or another."""

    @property
    def reader(self) -> AsyncEngine:
        """Begins transactions that see one committed state."""

    async def upgrade(self) -> None:
        """Bring the tables up to date."""

    def exclusively(self, name: str, *, wait: float) -> AbstractAsyncContextManager[bool]:
        """Hold `name` for the length of the context; False where another machine holds it still after `wait` seconds.

        What a daemon holds is free as soon as it ends, however it ends.
        """

    async def keep(self, name: str, *, wait: float, taken: Callable[[], None]) -> None:
        """Hold `name` until cancelled, again after each loss of the connection, calling `taken` each time.

        Returns where another machine holds it still after `wait` seconds.
        """

    def snapshot(self) -> AbstractAsyncContextManager[Snapshot]:
        """Keep the state that is committed now for the length of the context."""

    async def close(self) -> None:
        """Close every connection."""
