"""Count what is written to a vendor's prompt cache, and what the cache saves."""

import sqlalchemy as sa
from alembic import op

from tertulia.db import types

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("usage_log", sa.Column("cache_write_tokens", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("usage_log", sa.Column("cache_savings", types.Money(), nullable=True))


def downgrade() -> None:
    for column in ("cache_savings", "cache_write_tokens"):
        op.drop_column("usage_log", column)
