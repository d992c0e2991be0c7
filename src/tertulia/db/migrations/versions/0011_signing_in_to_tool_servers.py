"""Signing in to tool servers"""

import sqlalchemy as sa
from alembic import op

import tertulia.db.types as types

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "tool_credential",
        sa.Column("id", types.Id(), nullable=False),
        sa.Column("user_id", types.Id(), nullable=False),
        sa.Column("service", sa.String(length=2000), nullable=False),
        sa.Column(
            "environment",
            sa.Enum("test", "prod", name="environment", native_enum=False, create_constraint=True),
            nullable=False,
        ),
        sa.Column("issuer", sa.String(length=2000), nullable=False),
        sa.Column("access_token", sa.Text(), nullable=False),
        sa.Column("token_type", sa.String(length=20), nullable=False),
        sa.Column("refresh_token", sa.Text(), nullable=True),
        sa.Column("client", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=True),
        sa.Column("expires_at", types.UtcTime(), nullable=True),
        sa.Column("refreshing_until", types.UtcTime(), nullable=True),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.Column("updated_at", types.UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_tool_credential_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tool_credential")),
        sa.UniqueConstraint(
            "user_id", "service", "environment", name=op.f("uq_tool_credential_user_id_service_environment")
        ),
    )
    op.create_table(
        "tool_sign_in",
        sa.Column("id", types.Id(), nullable=False),
        sa.Column("user_id", types.Id(), nullable=False),
        sa.Column("session_id", types.Id(), nullable=False),
        sa.Column("server_id", types.Id(), nullable=False),
        sa.Column("state_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("flow", sa.Text(), nullable=False),
        sa.Column("expires_at", types.UtcTime(), nullable=False),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.Column("updated_at", types.UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["server_id"], ["tool_server.id"], name=op.f("fk_tool_sign_in_server_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["session_id"], ["session.id"], name=op.f("fk_tool_sign_in_session_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_tool_sign_in_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tool_sign_in")),
        sa.UniqueConstraint("server_id", name=op.f("uq_tool_sign_in_server_id")),
        sa.UniqueConstraint("state_hash", name=op.f("uq_tool_sign_in_state_hash")),
    )
    op.create_index(op.f("ix_tool_sign_in_session_id"), "tool_sign_in", ["session_id"], unique=False)
    op.create_index(op.f("ix_tool_sign_in_user_id"), "tool_sign_in", ["user_id"], unique=False)
    # In one statement, because SQLite can add a CHECK only together with its column.
    op.execute(
        "ALTER TABLE tool_server ADD COLUMN environment VARCHAR(4) DEFAULT 'prod' NOT NULL "
        "CONSTRAINT ck_tool_server_environment CHECK (environment IN ('test', 'prod'))"
    )
    op.add_column("tool_server", sa.Column("wants_sign_in", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.execute(
        "ALTER TABLE tool_execution ADD COLUMN environment VARCHAR(4) "
        "CONSTRAINT ck_tool_execution_environment CHECK (environment IN ('test', 'prod'))"
    )
    op.add_column("tool_server", sa.Column("wanted_scope", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("tool_execution", "environment")
    op.drop_column("tool_server", "wanted_scope")
    op.drop_column("tool_server", "wants_sign_in")
    op.drop_column("tool_server", "environment")
    op.drop_index(op.f("ix_tool_sign_in_user_id"), table_name="tool_sign_in")
    op.drop_index(op.f("ix_tool_sign_in_session_id"), table_name="tool_sign_in")
    op.drop_table("tool_sign_in")
    op.drop_table("tool_credential")
