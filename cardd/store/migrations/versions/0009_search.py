"""Text found from the rarest of its three characters in a row, without their places"""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    if op.get_bind().dialect.name != "sqlite":
        return
    for table in ("orders", "certificates"):
        entries, index = f"{table}_search", f"{table}_search_index"
        # The triggers, which are those of the tables that are indexed, stay and feed the new index.
        op.execute(f"DROP TABLE {index}")
        op.execute(
            f"CREATE VIRTUAL TABLE {index} USING fts5(search, content='{entries}', content_rowid='number', "
            "tokenize='trigram case_sensitive 1', detail=none, columnsize=0)"
        )
        op.execute(f"INSERT INTO {index} ({index}) VALUES ('rebuild')")  # noqa: S608
