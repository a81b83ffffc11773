"""Migrations: they make exactly the tables that the code describes."""

from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import op
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from cardd.store.migrate import upgrade
from cardd.store.tables import metadata


def test_the_migrations_make_the_tables_as_they_are_described(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'new.sqlite3'}"
    upgrade(url)
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"include_name": _described})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def _described(name: str | None, kind: str, _parents: object) -> bool:
    """Tell whether a table is one of the code's; FTS5 and what feeds it are SQLite's alone (`cardd.store.search`)."""
    return kind != "table" or "_search" not in (name or "")


def test_a_database_up_to_date_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "new.sqlite3"
    upgrade(f"sqlite:///{file}")
    before = file.read_bytes()
    upgrade(f"sqlite:///{file}")
    assert file.read_bytes() == before


def test_a_migration_cut_short_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path / 'new.sqlite3'}"

    def cut_short(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(op, "batch_alter_table", cut_short)
        upgrade(url)
    upgrade(url)
