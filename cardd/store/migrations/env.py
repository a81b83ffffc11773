"""Alembic's entry point: migrations run on the connection that `cardd.store.migrate` hands over."""

from alembic import context

from cardd.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True
)
with context.begin_transaction():
    context.run_migrations()
