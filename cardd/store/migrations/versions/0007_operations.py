"""Alerts, and events on their way to other programs"""

import sqlalchemy as sa
from alembic import op

from cardd.store.tables import UtcDateTime

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "alerts",
        sa.Column("machine", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False, comment="what is wrong, in English and French"),
        sa.Column("raised_at", UtcDateTime(), nullable=False),
        sa.Column("told_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("machine", "kind", "subject", name=op.f("pk_alerts")),
    )
    op.create_table(
        "outgoing_targets",
        sa.Column("target", sa.Text(), nullable=False, comment="https:, http: or mailto: address"),
        sa.Column(
            "last_event", sa.BigInteger(), nullable=False, comment="events up to this number were looked at"
        ),
        sa.PrimaryKeyConstraint("target", name=op.f("pk_outgoing_targets")),
    )
    op.create_table(
        "outgoing_deliveries",
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("event_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("event", sa.JSON(), nullable=False, comment="what is sent, as it was when it happened"),
        sa.Column("due_at", UtcDateTime(), nullable=True, comment="none once it has ended"),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("ended_at", UtcDateTime(), nullable=True),
        sa.Column("delivered", sa.Boolean(), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("target", "event_id", name=op.f("pk_outgoing_deliveries")),
    )
    with op.batch_alter_table("outgoing_deliveries", schema=None) as batch_op:
        batch_op.create_index("ix_outgoing_deliveries_due_at", ["due_at"], unique=False)
