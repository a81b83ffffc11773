"""Public keys of the instances that sign evidence, for all machines of a database to check it"""

import sqlalchemy as sa
from alembic import op

from cardd.store.tables import UtcDateTime

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "instance_keys",
        sa.Column("id", sa.Text(), nullable=False, comment="SHA-256 of the SubjectPublicKeyInfo"),
        sa.Column("public_key", sa.Text(), nullable=False, comment="PEM, Ed25519"),
        sa.Column("noted_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_instance_keys")),
    )
