"""Keep with a run what its message asked of the model."""

import sqlalchemy as sa
from alembic import op

from tertulia.db import types

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("run", sa.Column("options", types.JsonOf(), nullable=True))


def downgrade() -> None:
    op.drop_column("run", "options")
