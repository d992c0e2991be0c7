"""Index the audit log by action and by address, so that it can be read by them."""

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(op.f("ix_audit_log_action_created_at"), "audit_log", ["action", "created_at"])
    op.create_index(op.f("ix_audit_log_ip_address_created_at"), "audit_log", ["ip_address", "created_at"])


def downgrade() -> None:
    op.drop_index(op.f("ix_audit_log_ip_address_created_at"), "audit_log")
    op.drop_index(op.f("ix_audit_log_action_created_at"), "audit_log")
