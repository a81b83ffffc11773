"""Applications and their pairing"""

import sqlalchemy as sa
from alembic import op

from cardd.store.tables import UtcDateTime

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_PENDING = sa.text("state = 'pending'")


def upgrade() -> None:
    op.create_table(
        "applications",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=True, comment="of its pages, where it runs in a browser"),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False, comment="waiting, active, expired or revoked"),
        sa.Column("token_sha256", sa.Text(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=True),
        sa.Column("last_used_at", UtcDateTime(), nullable=True),
        sa.Column("ended_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_applications")),
        sa.UniqueConstraint("token_sha256", name=op.f("uq_applications_token_sha256")),
    )
    op.create_index(op.f("ix_applications_state"), "applications", ["state"])
    op.create_index("ix_applications_created_at_id", "applications", ["created_at", "id"])
    op.create_table(
        "pairings",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=True),
        sa.Column("requester", sa.Text(), nullable=False, comment="the origin, or the name of a program"),
        sa.Column("scopes", sa.JSON(), nullable=False, comment="as asked for"),
        sa.Column(
            "state",
            sa.Text(),
            nullable=False,
            comment="pending, allowed, completed, denied, expired or locked",
        ),
        sa.Column("code", sa.Text(), nullable=False, comment="six digits, shown on both sides"),
        sa.Column("secret_sha256", sa.Text(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False, comment="wrong codes and secrets"),
        sa.Column("application_id", sa.Text(), nullable=True),
        sa.Column("requested_at", UtcDateTime(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.Column("decided_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["application_id"], ["applications.id"], name=op.f("fk_pairings_application_id_applications")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pairings")),
        sa.UniqueConstraint("application_id", name=op.f("uq_pairings_application_id")),
    )
    op.create_index("ix_pairings_state_expires_at", "pairings", ["state", "expires_at"])
    op.create_index(
        "uq_pairings_pending_requester",
        "pairings",
        ["requester"],
        unique=True,
        sqlite_where=_PENDING,
        postgresql_where=_PENDING,
    )


def downgrade() -> None:
    op.drop_table("pairings")
    op.drop_table("applications")
