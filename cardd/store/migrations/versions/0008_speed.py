"""Keys made ready, and text found from an index of three characters in a row"""

import sqlalchemy as sa
from alembic import op

from cardd.store.tables import UtcDateTime

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "ready_keys",
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("token_serial", sa.Text(), nullable=False),
        sa.Column("algorithm", sa.Text(), nullable=False),
        sa.Column("use", sa.Text(), nullable=False, comment="sign, decrypt or sign_and_decrypt"),
        sa.Column("spki", sa.LargeBinary(), nullable=False),
        sa.Column("spki_sha256", sa.Text(), nullable=False),
        sa.Column("made_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("key_id", name=op.f("pk_ready_keys")),
        sa.UniqueConstraint("spki_sha256", name=op.f("uq_ready_keys_spki_sha256")),
    )
    op.create_index(
        "ix_ready_keys_token_serial_algorithm_use_made_at",
        "ready_keys",
        ["token_serial", "algorithm", "use", "made_at"],
    )
    op.add_column(
        "orders",
        sa.Column(
            "key_label",
            sa.Text(),
            nullable=True,
            comment="CKA_LABEL of the key, where it is not the order's label",
        ),
    )
    op.add_column(
        "certificates",
        sa.Column(
            "key_label",
            sa.Text(),
            nullable=True,
            comment="CKA_LABEL of the key, where it is not the common name",
        ),
    )
    if op.get_bind().dialect.name == "postgresql":
        _index_on_postgresql()
    else:
        for table, identifier, at, text in _SEARCHED:
            _index_on_sqlite(table, identifier, at, text)


#: Tables, their identifiers, the time that sorts them, and the text that is looked in, of a row `{row}`.
_SEARCHED = (
    ("orders", "id", "created_at", "{row}.search"),
    ("certificates", "serial", "issued_at", "{row}.search || char(10) || {row}.serial"),
)


def _index_on_postgresql() -> None:
    op.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    for table, identifier, *_ in _SEARCHED:
        for column in (identifier, "search"):
            op.execute(
                f"CREATE INDEX ix_{table}_{column}_trigrams ON {table} USING gin ({column} gin_trgm_ops)"
            )


def _index_on_sqlite(table: str, identifier: str, at: str, text: str) -> None:
    """Copy the text, index it, and have triggers keep both; what a trigger does, dropping its table undoes."""
    entries, index = f"{table}_search", f"{table}_search_index"
    op.execute(
        f'CREATE TABLE {entries} (number INTEGER PRIMARY KEY, "row" TEXT NOT NULL UNIQUE, search TEXT NOT NULL)'
    )
    op.execute(
        f'INSERT INTO {entries} ("row", search) SELECT {identifier}, {text.format(row=table)} FROM {table} '  # noqa: S608
        f"ORDER BY {at}, {identifier}"
    )
    op.execute(
        f"CREATE VIRTUAL TABLE {index} USING fts5(search, content='{entries}', content_rowid='number', "
        "tokenize='trigram case_sensitive 1')"
    )
    op.execute(f"INSERT INTO {index} ({index}) VALUES ('rebuild')")  # noqa: S608
    gone = f"INSERT INTO {index} ({index}, rowid, search) VALUES ('delete', old.number, old.search);"  # noqa: S608
    new = f"INSERT INTO {index} (rowid, search) VALUES (new.number, new.search);"  # noqa: S608
    for name, event, does in (
        (f"{entries}_added", f"AFTER INSERT ON {entries}", new),
        (f"{entries}_removed", f"AFTER DELETE ON {entries}", gone),
        (f"{entries}_rewritten", f"AFTER UPDATE ON {entries}", gone + new),
        (
            f"{table}_added",
            f"AFTER INSERT ON {table}",
            f'INSERT INTO {entries} ("row", search) VALUES (new.{identifier}, {text.format(row="new")});',  # noqa: S608
        ),
        (
            f"{table}_removed",
            f"AFTER DELETE ON {table}",
            f'DELETE FROM {entries} WHERE "row" = old.{identifier};',  # noqa: S608
        ),
        (
            f"{table}_search_changed",
            f"AFTER UPDATE OF search ON {table}",
            f'UPDATE {entries} SET search = {text.format(row="new")} WHERE "row" = old.{identifier};',  # noqa: S608
        ),
    ):
        op.execute(f"CREATE TRIGGER {name} {event} BEGIN {does} END")
