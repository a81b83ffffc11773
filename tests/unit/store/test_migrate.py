"""Migrations: they make exactly the tables that the code describes."""

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command, op
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from cardd.store import migrate
from cardd.store.migrate import upgrade
from cardd.store.tables import UtcDateTime, metadata, orders


def test_the_migrations_make_the_tables_as_they_are_described(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'new.sqlite3'}"
    upgrade(url)
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"include_name": _described})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_the_newest_migration_is_told_by_its_file_as_alembic_tells_it() -> None:
    assert migrate.newest() == ScriptDirectory.from_config(migrate._config()).get_current_head()


def test_a_database_up_to_date_is_opened_without_alembic(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'new.sqlite3'}"
    upgrade(url)
    program = (
        "import sys; from cardd.store.migrate import upgrade; upgrade(sys.argv[1]); "
        "sys.exit('alembic' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program, url], check=True)


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


def test_what_was_there_before_is_found_by_the_new_index(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'old.sqlite3'}"
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        config = migrate._config()
        config.attributes["connection"] = connection
        command.upgrade(config, "0008")
        _add_orders(connection, "alpha", "bravo")
    upgrade(url)
    with engine.begin() as connection:
        assert _found(connection, "lph") == ["alpha"]
        _add_orders(connection, "alphabet")
        connection.execute(sa.delete(orders).where(orders.c.id == "alpha"))
        assert _found(connection, "lph") == ["alphabet"]
    engine.dispose()


def _add_orders(connection: sa.Connection, *names: str) -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    defaults = {sa.Text: "", sa.JSON: {}, sa.LargeBinary: b"", UtcDateTime: moment}
    for name in names:
        empty = {column.name: defaults[type(column.type)] for column in orders.c if not column.nullable}
        connection.execute(sa.insert(orders).values(empty | {"id": name, "search": name}))


def _found(connection: sa.Connection, trigram: str) -> list[str]:
    statement = (
        'SELECT "row" FROM orders_search JOIN orders_search_index ON number = orders_search_index.rowid '
        "WHERE orders_search_index MATCH ?"
    )
    return list(connection.exec_driver_sql(statement, (f'"{trigram}"',)).scalars())
