"""Lists are read from an index of the order in which they are shown"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_OLD = {
    "orders": {"ix_orders_created_at_id": ["created_at", "id"], "ix_orders_label": ["label"]},
    "certificates": {
        "ix_certificates_kind_issued_at_serial": ["kind", "issued_at", "serial"],
        "ix_certificates_common_name": ["common_name"],
    },
}
_OF_ORDERS = ["id", "state", "expires_at", "offer", "usage", "structure_id"]
_OF_CERTIFICATES = ["offer", "usage", "structure_id", "card_serial"]
_NEW = {
    "orders": {f"ix_orders_by_{key}": [key, *_OF_ORDERS] for key in ("created_at", "label")},
    "certificates": {
        f"ix_certificates_by_{key}": [key, "serial", "kind", "revoked_at", *rest, *_OF_CERTIFICATES]
        for key, rest in (("issued_at", ["not_after"]), ("common_name", ["not_after"]), ("not_after", []))
    },
}


def upgrade() -> None:
    _replace(_OLD, _NEW)


def downgrade() -> None:
    _replace(_NEW, _OLD)


def _replace(old: dict[str, dict[str, list[str]]], new: dict[str, dict[str, list[str]]]) -> None:
    for table, indexes in old.items():
        for name in indexes:
            op.drop_index(name, table_name=table)
    for table, indexes in new.items():
        for name, columns in indexes.items():
            op.create_index(name, table, columns)
