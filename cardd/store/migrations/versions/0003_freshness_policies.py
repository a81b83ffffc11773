"""Freshness policies of applications"""

import sqlalchemy as sa
from alembic import op

from cardd.store.tables import UtcDateTime

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "freshness_policies",
        sa.Column(
            "name",
            sa.Text(),
            nullable=False,
            comment="as requests name it, or the application that it is for",
        ),
        sa.Column("stale", sa.Text(), nullable=False, comment="accept, warn or refuse"),
        sa.Column("expired", sa.Text(), nullable=False, comment="accept, warn or refuse"),
        sa.Column(
            "expired_hours", sa.Integer(), nullable=True, comment="how long after nextUpdate `expired` holds"
        ),
        sa.Column("changed_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_freshness_policies")),
    )


def downgrade() -> None:
    op.drop_table("freshness_policies")
