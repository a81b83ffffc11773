"""Tries of a card's PUK."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Every card has three tries of its PUK."""
    op.add_column("cards", sa.Column("puk_tries_left", sa.Integer(), nullable=False, server_default="3"))


def downgrade() -> None:
    """Forget the tries."""
    op.drop_column("cards", "puk_tries_left")
