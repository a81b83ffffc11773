"""The same tests on each database: SQLite in the test's directory, PostgreSQL on a server of the test run's own.

A test that uses the fixture `each_store` runs once on each; what it opens with `open_store` is then there. Every
directory has a database of its own, which a second `open_store` on the same directory finds again.
"""

import asyncio
import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from cardd.clock import Clock
from cardd.events import EventBus
from cardd.store import SharedDatabase, Store
from cardd.store.migrate import upgrade
from cardd.store.postgresql import PostgresqlBackend

_TEMPLATE = "cardd_template"
_PROGRAMS = (Path("/usr/lib/postgresql"), Path("/usr/local/pgsql"))
_USER = "postgres"


class PostgresqlServer:
    """A PostgreSQL server on a Unix socket, with databases that are copies of one with its tables made."""

    def __init__(self, directory: Path, launcher: Sequence[str] = ()) -> None:
        self.directory = directory
        self._launcher = launcher
        self._databases: dict[Path, str] = {}
        self._copies: list[str] = []

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        control = _programs() / "pg_ctl", "-D", self.directory / "data", "-w", "-l", self.directory / "log"
        _run(*control, "start", launcher=self._launcher)

    def stop(self) -> None:
        """Stop the server without waiting for anybody; every connection is cut."""
        _run(_programs() / "pg_ctl", "-D", self.directory / "data", "-m", "immediate", "stop")

    @property
    def pid(self) -> int:
        """The process that all of the server's others come from."""
        return int((self.directory / "data" / "postmaster.pid").read_text().split()[0])

    def database(self, name: str) -> SharedDatabase:
        """Return the address of a database."""
        return SharedDatabase(url=f"postgresql://{_USER}@/{name}?host={self.directory}")

    async def of(self, directory: Path) -> SharedDatabase:
        """Return the database of a directory, made at the first call."""
        if directory not in self._databases:
            self._databases[directory] = await self.new_database()
        return self.database(self._databases[directory])

    async def new_database(self, template: str = _TEMPLATE) -> str:
        """Make a database and return its name."""
        name = f"t{secrets.token_hex(6)}"
        await self.administer(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return name

    async def copy(self, directory: Path) -> str:
        """Copy the database of a directory, which nobody has open, and return the copy's name."""
        name = await self.new_database(self._databases[directory])
        self._copies.append(name)
        return name

    async def replace(self, directory: Path, name: str) -> None:
        """Give a directory another database."""
        self._copies.append(self._databases[directory])
        self._databases[directory] = name
        self._copies.remove(name)

    async def forget(self) -> None:
        """Drop the databases of all directories."""
        for name in (*self._databases.values(), *self._copies):
            await self.administer(f'DROP DATABASE "{name}" WITH (FORCE)')
        self._databases.clear()
        self._copies.clear()

    async def administer(self, statement: str) -> None:
        """Run a statement outside every test's database."""
        connection = await self.database("postgres").connect("tests")
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


@contextmanager
def running_postgresql(
    *, listen: Sequence[str] = (), launcher: Sequence[str] = (), outlasts_kill: bool = False
) -> Iterator[PostgresqlServer]:
    """Run a server for the length of the context, as an unprivileged user and with nothing of it kept.

    It listens on a socket in its directory, and with a password on the addresses of `listen`; `launcher` starts it.
    With `outlasts_kill` what it has committed outlasts its being killed, for which the ordinary tests need not wait.
    Raises `pytest.skip.Exception` where PostgreSQL is not installed.
    """
    programs = _programs()
    directory = Path(tempfile.mkdtemp(prefix="cardd-postgresql-"))
    try:
        if os.getuid() == 0:
            owner = pwd.getpwnam(_USER)
            os.chown(directory, owner.pw_uid, owner.pw_gid)
        data = directory / "data"
        _run(programs / "initdb", "-D", data, "-U", _USER, "-A", "trust", "--no-sync", "--locale=C.UTF-8")
        (data / "postgresql.auto.conf").write_text(
            f"listen_addresses = '{','.join(listen)}'\nunix_socket_directories = '{directory}'\nmax_connections = 200\n"
            "fsync = off\nfull_page_writes = off\nautovacuum = off\n"
            f"synchronous_commit = {'on' if outlasts_kill else 'off'}\n"
        )
        with (data / "pg_hba.conf").open("a") as rules:
            rules.write("".join(f"host all all {address}/24 scram-sha-256\n" for address in listen))
        server = PostgresqlServer(directory, launcher)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(directory)


def _programs() -> Path:
    found = sorted(each.parent for root in _PROGRAMS for each in root.glob("*/bin/initdb"))
    if not found:
        pytest.skip("PostgreSQL's server programs (initdb, pg_ctl) are not installed")
    return found[-1]


def _run(*command: str | Path, launcher: Sequence[str] = ()) -> None:
    """Run a program of the server's, which refuses to be root."""
    as_user = ["setpriv", f"--reuid={_USER}", f"--regid={_USER}", "--init-groups"] if os.getuid() == 0 else []
    subprocess.run([*launcher, *as_user, *command], check=True, stdout=subprocess.DEVNULL, cwd="/")


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgresqlServer]:
    """A server with a database whose tables are made, to be copied."""
    with running_postgresql() as server:
        with ThreadPoolExecutor(
            1
        ) as apart:  # a loop may be running here, for the first test that wants a server
            apart.submit(asyncio.run, _make_template(server)).result()
        yield server


async def _make_template(server: PostgresqlServer) -> None:
    await server.administer(f'CREATE DATABASE "{_TEMPLATE}"')
    backend = PostgresqlBackend(server.database(_TEMPLATE), "template")
    await backend.upgrade()
    await backend.close()


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite database whose tables are made, to be copied."""
    path = tmp_path_factory.mktemp("database") / "cardd.sqlite3"
    upgrade(f"sqlite:///{path}")
    return path


class _Present:
    """On which databases the running test opens its stores."""

    server: PostgresqlServer | None = None
    copied: Path | None = None


@pytest.fixture
async def on_postgresql(postgresql_server: PostgresqlServer) -> AsyncIterator[PostgresqlServer]:
    """Run the test on PostgreSQL."""
    _Present.server = postgresql_server
    yield postgresql_server
    await postgresql_server.forget()
    _Present.server = None


@pytest.fixture(params=["sqlite", "postgresql"])
async def each_store(request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """Run the test once on each database."""
    if request.param == "postgresql":
        _Present.server = request.getfixturevalue("postgresql_server")
    else:
        _Present.copied = request.getfixturevalue("empty_database")
    yield request.param
    if _Present.server is not None:
        await _Present.server.forget()
    _Present.server = _Present.copied = None


async def shared_database(directory: Path) -> SharedDatabase | None:
    """Return the running test's database of a directory, None on SQLite."""
    return None if _Present.server is None else await _Present.server.of(directory)


async def open_store(directory: Path, clock: Clock, bus: EventBus) -> Store:
    """Open the store of a directory on the database that the running test is for."""
    file = directory / "cardd.sqlite3"
    if _Present.copied is not None and not file.exists():
        shutil.copy(_Present.copied, file)
    return await Store.open(directory, clock, bus, await shared_database(directory))


@dataclass(frozen=True)
class SavedStore:
    """The store of a directory as it was at one moment, while nobody had it open."""

    directory: Path
    saved: str | Path

    @classmethod
    async def of(cls, directory: Path, where: Path) -> "SavedStore":
        """Save the store of a directory; a file of it goes to `where`."""
        if _Present.server is None:
            return cls(directory, Path(shutil.copy(directory / "cardd.sqlite3", where / "saved.sqlite3")))
        return cls(directory, await _Present.server.copy(directory))

    async def put_back(self) -> None:
        """Give the directory its store of then again."""
        if isinstance(self.saved, str):
            assert _Present.server is not None
            await _Present.server.replace(self.directory, self.saved)
            return
        for name in ("cardd.sqlite3-wal", "cardd.sqlite3-shm"):
            (self.directory / name).unlink(missing_ok=True)
        shutil.copy(self.saved, self.directory / "cardd.sqlite3")


async def change_behind(directory: Path, statement: sa.Executable) -> None:
    """Run a statement on the database of a directory as another program would."""
    database = await shared_database(directory)
    if database is None:
        engine = sa.create_engine(f"sqlite:///{directory / 'cardd.sqlite3'}")
        with engine.begin() as connection:
            connection.execute(statement)
        engine.dispose()
        return

    async def connect() -> asyncpg.Connection:
        return await database.connect("another program")

    other = create_async_engine("postgresql+asyncpg://", async_creator=connect)
    async with other.begin() as writing:
        await writing.execute(statement)
    await other.dispose()
