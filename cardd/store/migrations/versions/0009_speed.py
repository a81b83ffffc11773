"""Keys made ready, and the labels of keys that were made before their holder was known"""

import sqlalchemy as sa
from alembic import op

from cardd.store.tables import UtcDateTime

revision = "0009"
down_revision = "0001"
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
