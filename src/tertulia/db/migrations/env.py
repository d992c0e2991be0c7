"""Alembic's environment. db/migrate.py passes the connection."""

from alembic import context

from tertulia.db.migrate import is_managed_by_models
from tertulia.tables import metadata

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    compare_type=True,
    user_module_prefix="types.",
    render_as_batch=False,
    include_name=is_managed_by_models,
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
