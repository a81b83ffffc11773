"""PostgreSQL: one state for several machines.

Writers follow one another by an advisory lock that each transaction takes first, as SQLite's single writer does. So
what a transaction has read stays true until it commits, events are numbered in the order of their commits, and what
is right on SQLite is right here. A machine that vanishes with the lock in hand loses it within seconds, because the
server ends sessions that are idle in a transaction or whose peer does not answer any more.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import asyncpg
import msgspec
import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from cardd.settings import SettingsError, StoreSettings
from cardd.store.errors import StoreUnavailableError
from cardd.store.migrate import upgrade_connection
from cardd.store.sharedsnapshot import SharedSnapshot
from cardd.store.unavailability import unavailable
from cardd.text import Text

#: Told to every machine with each commit that has events.
CHANNEL: Final = "cardd_events"

#: Connections kept for reading beside the writer.
_READERS = 4
_CONNECT_SECONDS = 10.0
_STATEMENT_SECONDS = 30.0
_RECONNECT_SECONDS = 0.5
#: How long a connection may say nothing before it is asked whether it is alive.
_ALIVE_SECONDS = 15.0
_MIGRATION_SECONDS = 600.0

#: What a session reads is small: workers that are started and code that is compiled for it take longer than it does.
_PLANNING = {"jit": "off", "max_parallel_workers_per_gather": "0"}

#: Limits of every session, by which a machine that hangs or vanishes lets go of what it holds. Milliseconds where
#: nothing else is said; those of TCP are in seconds (PostgreSQL manual, §20.3.2 and §20.11.1).
_SESSION = {
    "timezone": "UTC",
    "lock_timeout": "10000",
    "idle_in_transaction_session_timeout": "10000",
    "tcp_keepalives_idle": "3",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "8000",
}

#: What the driver raises, where SQLAlchemy is not between, for a server that is not there or goes away.
_LOST = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)

#: What keeps us from having a connection: the server, or a password file that is being written.
_NO_CONNECTION = (StoreUnavailableError, SettingsError, *_LOST)

_MIGRATE = "cardd migrate"
_TAKE_TURN = "SELECT pg_advisory_xact_lock(hashtextextended('cardd write', 0))"

_log = structlog.get_logger(__name__)


class SharedDatabase(msgspec.Struct, frozen=True, kw_only=True):
    """Where the shared database is; its password is read from its file at each connection and kept nowhere."""

    url: str
    password_file: str = ""

    @classmethod
    def of(cls, settings: StoreSettings) -> "SharedDatabase | None":
        """Return what the settings name, None for SQLite. Raises `SettingsError`."""
        if not settings.url:
            return None
        if urlsplit(settings.url).password is not None:
            raise SettingsError(
                Text(
                    "store.url holds a password, which would be shown wherever settings are.",
                    "store.url contient un mot de passe, qui se verrait partout où se voit la configuration.",
                ),
                advice=Text(
                    "Write it into a file (0600) that store.password_file names.",
                    "Écrivez-le dans un fichier (0600) que nomme store.password_file.",
                ),
            )
        return cls(url=settings.url, password_file=settings.password_file)

    @property
    def shown(self) -> str:
        """The address for people: host and database."""
        parts = urlsplit(self.url)
        return f"{parts.hostname or 'localhost'}{parts.path}"

    async def connect(self, name: str, *, seconds: float = _STATEMENT_SECONDS) -> asyncpg.Connection:
        """Connect as the application `name`; no statement may take longer than `seconds`.

        Raises:
            SettingsError: the password file cannot be read.
            StoreUnavailableError: the database does not let us in.
        """
        password = await asyncio.to_thread(self._password)
        settings = {
            **_SESSION,
            **_PLANNING,
            "application_name": name,
            "statement_timeout": str(int(seconds * 1000)),
        }
        try:
            return await asyncpg.connect(
                self.url,
                password=password,
                timeout=_CONNECT_SECONDS,
                command_timeout=seconds,
                server_settings=settings,
            )
        except (*_LOST, ValueError) as error:
            raise unavailable(error) from error

    def _password(self) -> str | None:
        if not self.password_file:
            return None
        try:
            return Path(self.password_file).read_text(encoding="utf-8").splitlines()[0]
        except (OSError, IndexError, UnicodeDecodeError):
            raise SettingsError(
                Text(
                    f"store.password_file: {self.password_file} cannot be read, or its first line is missing.",
                    f"store.password_file : {self.password_file} est illisible, ou sa première ligne manque.",
                )
            ) from None


class PostgresqlBackend:
    """The connections of one machine to the shared database."""

    shared = True

    def __init__(self, database: SharedDatabase, machine: str) -> None:
        self.machine = machine
        self._database = database
        self.writer = self._engine(size=1)
        self.reader = self._engine(size=_READERS, isolation_level="REPEATABLE READ").execution_options(
            postgresql_readonly=True
        )

        @sa.event.listens_for(self.writer.sync_engine, "begin")
        def _on_begin(connection: sa.Connection) -> None:
            connection.exec_driver_sql(_TAKE_TURN)

    async def upgrade(self) -> None:
        """Bring the tables up to date; of several machines that start at once one does it, and the others wait."""

        async def patiently() -> asyncpg.Connection:
            return await self._database.connect(f"cardd {self.machine}", seconds=_MIGRATION_SECONDS)

        engine = create_async_engine("postgresql+asyncpg://", async_creator=patiently, poolclass=NullPool)
        try:
            async with self.exclusively(_MIGRATE, wait=_MIGRATION_SECONDS) as alone:
                if not alone:
                    raise StoreUnavailableError(
                        Text(
                            "Another machine is still bringing the tables up to date.",
                            "Une autre machine met encore les tables à jour.",
                        )
                    )
                async with engine.begin() as connection:
                    await connection.run_sync(upgrade_connection)
        finally:
            await engine.dispose()

    @asynccontextmanager
    async def exclusively(self, name: str, *, wait: float) -> AsyncIterator[bool]:
        """Hold the advisory lock `name`, on a connection of its own that goes with this process."""
        async with self._holding(name, wait) as connection:
            yield connection is not None

    async def keep(self, name: str, *, wait: float, taken: Callable[[], None]) -> None:
        """Hold the advisory lock `name` until cancelled; a lock goes with its connection, and is taken again then."""
        was_taken = False
        while True:
            try:
                async with self._holding(name, wait) as connection:
                    if connection is None:
                        return
                    taken()
                    was_taken = True
                    await _until_lost(connection)
            except _NO_CONNECTION:
                if not was_taken:
                    raise
            await asyncio.sleep(_RECONNECT_SECONDS)

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[SharedSnapshot]:
        """Keep the state that is committed now for the length of the context."""
        async with self.reader.begin() as connection:
            pinned = SharedSnapshot(connection)
            await pinned.pin()
            yield pinned

    async def listen(self, heard: Callable[[], Awaitable[None]]) -> None:
        """Call `heard` whenever a machine has committed events, and after each connection; until cancelled."""
        while True:
            try:
                await self._listen_once(heard)
            except _NO_CONNECTION as error:
                _log.warning("store.not_listening", why=repr(error))
            await asyncio.sleep(_RECONNECT_SECONDS)

    async def close(self) -> None:
        """Close every connection."""
        await self.reader.dispose()
        await self.writer.dispose()

    async def _listen_once(self, heard: Callable[[], Awaitable[None]]) -> None:
        """Listen for as long as the connection lasts; what was told before is asked for first."""
        told = asyncio.Event()
        connection = await self._connected()
        try:
            connection.add_termination_listener(lambda _: told.set())
            await connection.add_listener(CHANNEL, lambda *_: told.set())
            told.set()
            while not connection.is_closed():
                await _until_told(connection, told)
                told.clear()
                await heard()
        finally:
            if not connection.is_closed():
                connection.terminate()

    @asynccontextmanager
    async def _holding(self, name: str, wait: float) -> AsyncIterator[asyncpg.Connection | None]:
        """Hold an advisory lock on a connection of its own, which is given; None where another machine holds it."""
        connection = await self._connected()
        try:
            try:
                held = await _locked(connection, name, wait)
            except _LOST as error:
                raise unavailable(error) from error
            yield connection if held else None
        finally:
            with suppress(*_LOST):
                await connection.close(timeout=_CONNECT_SECONDS)

    async def _connected(self) -> asyncpg.Connection:
        return await self._database.connect(f"cardd {self.machine}")

    def _engine(self, *, size: int, **options: Any) -> AsyncEngine:
        return create_async_engine(
            "postgresql+asyncpg://",
            async_creator=self._connected,
            pool_size=size,
            max_overflow=0,
            pool_pre_ping=True,
            **options,
        )


async def _until_told(connection: asyncpg.Connection, told: asyncio.Event) -> None:
    """Wait for an event; raises one of `_LOST` where the connection is found dead meanwhile.

    A server that vanished, or a firewall that forgot the connection, says nothing: so it is asked from time to time.
    """
    while True:
        with suppress(TimeoutError):
            async with asyncio.timeout(_ALIVE_SECONDS):
                await told.wait()
                return
        await connection.execute("SELECT 1", timeout=_CONNECT_SECONDS)


async def _until_lost(connection: asyncpg.Connection) -> None:
    lost = asyncio.Event()
    connection.add_termination_listener(lambda _: lost.set())
    if not connection.is_closed():
        await _until_told(connection, lost)


async def _locked(connection: asyncpg.Connection, name: str, wait: float) -> bool:
    if await connection.fetchval("SELECT pg_try_advisory_lock(hashtextextended($1, 0))", name):
        return True
    if wait <= 0:
        return False
    await connection.execute(f"SET statement_timeout = 0; SET lock_timeout = {int(wait * 1000)}")
    try:
        await connection.execute("SELECT pg_advisory_lock(hashtextextended($1, 0))", name, timeout=wait + 5)
    except asyncpg.LockNotAvailableError:
        return False
    return True
