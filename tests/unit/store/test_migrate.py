"""Migrations: they make exactly the tables that the code describes."""

from pathlib import Path

import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from cardd.store.migrate import upgrade
from cardd.store.tables import metadata


def test_the_migrations_make_the_tables_as_they_are_described(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'new.sqlite3'}"
    upgrade(url)
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


def test_a_database_up_to_date_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "new.sqlite3"
    upgrade(f"sqlite:///{file}")
    before = file.read_bytes()
    upgrade(f"sqlite:///{file}")
    assert file.read_bytes() == before
