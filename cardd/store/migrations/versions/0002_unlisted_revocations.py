"""Revocations that no list carries yet are found without reading the others"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_UNLISTED = sa.text("crl_entry IS NOT NULL AND first_crl IS NULL")


def upgrade() -> None:
    op.create_index(
        "ix_certificates_unlisted",
        "certificates",
        ["issuer", "revoked_at"],
        unique=False,
        sqlite_where=_UNLISTED,
        postgresql_where=_UNLISTED,
    )


def downgrade() -> None:
    op.drop_index("ix_certificates_unlisted", table_name="certificates")
