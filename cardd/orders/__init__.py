"""The orders room: habilitations, orders and certificates."""
