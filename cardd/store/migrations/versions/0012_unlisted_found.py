"""SQLite finds what no list carries yet by its own index, whichever other begins with the issuer"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_UNLISTED = sa.text("crl_entry IS NOT NULL AND first_crl IS NULL")


def upgrade() -> None:
    op.drop_index("ix_certificates_unlisted", table_name="certificates")
    op.create_index(
        "ix_certificates_unlisted",
        "certificates",
        ["issuer", "first_crl", "revoked_at"],
        unique=False,
        sqlite_where=_UNLISTED,
        postgresql_where=_UNLISTED,
    )


def downgrade() -> None:
    op.drop_index("ix_certificates_unlisted", table_name="certificates")
    op.create_index(
        "ix_certificates_unlisted",
        "certificates",
        ["issuer", "revoked_at"],
        unique=False,
        sqlite_where=_UNLISTED,
        postgresql_where=_UNLISTED,
    )
