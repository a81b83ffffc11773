"""Responders that answer by OCSP from lists of others"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "responders",
        sa.Column("name", sa.Text(), nullable=False, comment="lists: the revocation lists kept of others"),
        sa.Column("token_serial", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("spki", sa.LargeBinary(), nullable=False),
        sa.Column("certificate_serial", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["certificate_serial"],
            ["certificates.serial"],
            name=op.f("fk_responders_certificate_serial_certificates"),
        ),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_responders")),
    )
