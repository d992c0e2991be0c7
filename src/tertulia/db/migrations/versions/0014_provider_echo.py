"""Keep with each tool call what the vendor of its model requires back."""

import sqlalchemy as sa
from alembic import op

from tertulia.db import types

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("tool_execution", sa.Column("echo", types.JsonOf(), nullable=True))


def downgrade() -> None:
    op.drop_column("tool_execution", "echo")
