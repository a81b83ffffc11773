"""Bringing the tables of a state up to date, with the migrations shipped beside this module.

Most starts have nothing to bring up to date: they compare two names, and go without Alembic, whose import takes a tenth
of a start and some megabytes.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from cardd.store.errors import StoreNewerError
from cardd.text import Text

if TYPE_CHECKING:
    from alembic.config import Config

_MIGRATIONS = Path(__file__).parent / "migrations"

#: Text columns that sort by the language of the server, where SQLite sorts by code point.
_UNSORTED = """
    SELECT table_name, column_name FROM information_schema.columns
    WHERE table_schema = current_schema() AND data_type = 'text' AND collation_name IS DISTINCT FROM 'C'
      AND table_name IN (SELECT tablename FROM pg_tables WHERE schemaname = current_schema())
"""


def upgrade(url: str) -> None:
    """Run the migrations that the SQLite database at `url` (a synchronous SQLAlchemy URL) still lacks.

    Raises:
        StoreNewerError: a newer cardd has made its tables.
    """
    engine = sa.create_engine(url)
    _make_ddl_transactional(engine)
    try:
        with engine.connect() as connection:
            if _is_current(connection):
                return
        with engine.begin() as connection:
            upgrade_connection(connection)
    finally:
        engine.dispose()


def upgrade_connection(connection: sa.Connection) -> None:
    """Run the migrations that are missing in the transaction of a connection; the caller commits it.

    Raises:
        StoreNewerError: a newer cardd has made the tables.
    """
    if _is_current(connection):
        return
    from alembic import command  # noqa: PLC0415 - see the module's docstring
    from alembic.util import CommandError  # noqa: PLC0415 - the same

    config = _config()
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError:
        raise StoreNewerError(
            Text(
                "The tables were made by a newer version of cardd.",
                "Les tables ont été créées par une version plus récente de cardd.",
            )
        ) from None
    if connection.dialect.name == "postgresql":
        _sort_by_code_point(connection)


def newest() -> str:
    """Return the revision that brings the tables up to date; a migration's file is named after its revision."""
    return max(path.name.partition("_")[0] for path in (_MIGRATIONS / "versions").glob("[0-9]*.py"))


def _is_current(connection: sa.Connection) -> bool:
    if not sa.inspect(connection).has_table("alembic_version"):
        return False
    present = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalars().all()
    return list(present) == [newest()]


def _config() -> "Config":
    from alembic.config import Config  # noqa: PLC0415 - see the module's docstring

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    return config


def _sort_by_code_point(connection: sa.Connection) -> None:
    """Give every text column collation C, so that lists and pages have one order on every database."""
    for table, column in connection.exec_driver_sql(_UNSORTED).all():
        connection.exec_driver_sql(f'ALTER TABLE "{table}" ALTER COLUMN "{column}" TYPE text COLLATE "C"')


def _make_ddl_transactional(engine: sa.Engine) -> None:
    """Begin transactions ourselves: the driver begins them at the first change of data, after all tables are made."""

    @sa.event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None

    @sa.event.listens_for(engine, "begin")
    def _on_begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN")
