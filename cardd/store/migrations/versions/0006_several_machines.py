"""What belongs to one machine of several; lists numbered beyond 2038"""

from warnings import catch_warnings, simplefilter

import sqlalchemy as sa
from alembic import op
from sqlalchemy.exc import SAWarning

from cardd.store.tables import UtcDateTime

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def _machine(comment: str) -> sa.Column[str]:
    return sa.Column("machine", sa.Text(), nullable=False, server_default="local", comment=comment)


def upgrade() -> None:
    with op.batch_alter_table("crls") as batch_op:
        batch_op.alter_column(
            "base_number",
            existing_type=sa.Integer(),
            type_=sa.BigInteger(),
            existing_nullable=True,
            existing_comment="of a delta: BaseCRLNumber; of a full list: its own number where it is a base",
        )
    with op.batch_alter_table("tokens") as batch_op:
        batch_op.add_column(_machine("where the token is"))
        batch_op.drop_constraint("uq_tokens_label", type_="unique")
        batch_op.drop_constraint("uq_tokens_structure_id", type_="unique")
        batch_op.create_unique_constraint("uq_tokens_machine_label", ["machine", "label"])
        batch_op.create_unique_constraint("uq_tokens_machine_structure_id", ["machine", "structure_id"])
    with op.batch_alter_table("cards") as batch_op:
        batch_op.add_column(_machine("where the card is"))
    # On SQLite the copied table takes the new primary key over, with a warning that it does.
    with catch_warnings(), op.batch_alter_table("crl_sources") as batch_op:
        simplefilter("ignore", SAWarning)
        batch_op.add_column(_machine("whose cache it is"))
        if op.get_context().dialect.name == "postgresql":
            batch_op.drop_constraint("pk_crl_sources", type_="primary")
        batch_op.create_primary_key("pk_crl_sources", ["machine", "id"])
    op.create_table(
        "machines",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False, comment="its host name, for people"),
        sa.Column(
            "address", sa.Text(), nullable=False, comment="host:port where it signs for others; may be empty"
        ),
        sa.Column(
            "certificate", sa.LargeBinary(), nullable=False, comment="DER; what it shows to other machines"
        ),
        sa.Column("holds_ca", sa.Boolean(), nullable=False, comment="the CA keys are within its reach"),
        sa.Column("seen_at", UtcDateTime(), nullable=False),
        sa.Column("enrolled_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_machines")),
    )
