"""Name columns in the words of the field."""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

# table, old name, new name
RENAMED = (
    ("context_optimization", "stale_at", "superseded_at"),
    ("context_optimization", "undone_at", "reverted_at"),
    ("context_optimization", "oldest_told_id", "oldest_covered_id"),
    ("tool_server", "wants_sign_in", "requires_sign_in"),
    ("tool_server", "wanted_scope", "required_scope"),
)


def upgrade() -> None:
    for table, old, new in RENAMED:
        op.execute(f'ALTER TABLE "{table}" RENAME COLUMN {old} TO {new}')


def downgrade() -> None:
    for table, old, new in RENAMED:
        op.execute(f'ALTER TABLE "{table}" RENAME COLUMN {new} TO {old}')
