"""Keep projects with their members and channels, and which chats are in them."""

import sqlalchemy as sa
from alembic import op

from tertulia.db import types

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "project",
        sa.Column("id", types.Id(), nullable=False),
        sa.Column("owner_id", types.Id(), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("description", sa.String(length=1000), nullable=True),
        sa.Column("instructions", sa.String(length=10000), nullable=True),
        sa.Column("default_model", sa.String(length=151), nullable=True),
        sa.Column(
            "status",
            sa.Enum(
                "active",
                "archived",
                "deleted",
                name="project_status",
                native_enum=False,
                create_constraint=True,
                length=8,
            ),
            nullable=False,
        ),
        sa.Column("deleted_at", types.UtcTime(), nullable=True),
        sa.Column("was_archived", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.Column("updated_at", types.UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(["owner_id"], ["user.id"], name=op.f("fk_project_owner_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_project")),
    )
    op.create_index(op.f("ix_project_owner_id_status"), "project", ["owner_id", "status"], unique=False)
    op.create_index(op.f("ix_project_status_deleted_at"), "project", ["status", "deleted_at"], unique=False)
    op.create_table(
        "membership",
        sa.Column("project_id", types.Id(), nullable=False),
        sa.Column("user_id", types.Id(), nullable=False),
        sa.Column(
            "role",
            sa.Enum(
                "owner",
                "member",
                "viewer",
                name="member_role",
                native_enum=False,
                create_constraint=True,
                length=6,
            ),
            nullable=False,
        ),
        sa.Column(
            "access",
            sa.Enum("none", "read", "write", name="member_access", native_enum=False, create_constraint=True, length=5),
            nullable=False,
        ),
        sa.Column("joined_id", types.Id(), nullable=False),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.Column("updated_at", types.UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["project.id"], name=op.f("fk_membership_project_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_membership_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("project_id", "user_id", name=op.f("pk_membership")),
    )
    op.create_index(op.f("ix_membership_user_id_access"), "membership", ["user_id", "access"], unique=False)
    # In one statement, because SQLite can add a foreign key only together with its column.
    kind = types.Id().compile(dialect=op.get_bind().dialect)
    op.execute(
        f"ALTER TABLE chat ADD COLUMN project_id {kind} "
        "CONSTRAINT fk_chat_project_id REFERENCES project (id) ON DELETE SET NULL"
    )
    op.add_column("chat", sa.Column("is_open_to_project", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("chat", sa.Column("is_handed_over", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.create_index(
        "ix_chat_handed_over",
        "chat",
        ["user_id"],
        unique=False,
        sqlite_where=sa.text("is_handed_over"),
        postgresql_where=sa.text("is_handed_over"),
    )
    op.create_index(
        op.f("ix_chat_project_id_last_message_at_id"), "chat", ["project_id", "last_message_at", "id"], unique=False
    )
    _let_quotas_limit_projects()
    op.execute(
        f"ALTER TABLE invitation ADD COLUMN project_id {kind} "
        "CONSTRAINT fk_invitation_project_id REFERENCES project (id) ON DELETE CASCADE"
    )
    op.execute(
        "ALTER TABLE invitation ADD COLUMN project_role VARCHAR(6) "
        "CONSTRAINT ck_invitation_member_role CHECK (project_role IN ('owner', 'member', 'viewer'))"
    )
    op.create_index(op.f("ix_invitation_project_id"), "invitation", ["project_id"], unique=False)
    op.create_table(
        "channel",
        sa.Column("id", types.Id(), nullable=False),
        sa.Column("project_id", types.Id(), nullable=False),
        sa.Column("chat_id", types.Id(), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("name_key", sa.String(length=100), nullable=False),
        sa.Column(
            "type",
            sa.Enum("text", name="channel_type", native_enum=False, create_constraint=True, length=4),
            nullable=False,
        ),
        sa.Column("topic", sa.String(length=300), nullable=True),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.Column("updated_at", types.UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(["chat_id"], ["chat.id"], name=op.f("fk_channel_chat_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("fk_channel_project_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_channel")),
        sa.UniqueConstraint("chat_id", name=op.f("uq_channel_chat_id")),
        sa.UniqueConstraint("project_id", "name_key", name=op.f("uq_channel_project_id_name_key")),
    )
    op.create_table(
        "channel_member",
        sa.Column("channel_id", types.Id(), nullable=False),
        sa.Column("user_id", types.Id(), nullable=False),
        sa.Column("last_read_id", types.Id(), nullable=True),
        sa.Column("is_muted", sa.Boolean(), nullable=False),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.Column("updated_at", types.UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["channel_id"], ["channel.id"], name=op.f("fk_channel_member_channel_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_channel_member_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("channel_id", "user_id", name=op.f("pk_channel_member")),
    )
    op.create_index(op.f("ix_channel_member_user_id"), "channel_member", ["user_id"], unique=False)
    op.create_table(
        "mention",
        sa.Column("id", types.Id(), nullable=False),
        sa.Column("message_id", types.Id(), nullable=False),
        sa.Column("chat_id", types.Id(), nullable=False),
        sa.Column("user_id", types.Id(), nullable=True),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(["chat_id"], ["chat.id"], name=op.f("fk_mention_chat_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["message_id"], ["message.id"], name=op.f("fk_mention_message_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_mention_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mention")),
    )
    op.create_index(op.f("ix_mention_chat_id_message_id"), "mention", ["chat_id", "message_id"], unique=False)
    op.create_index(op.f("ix_mention_message_id"), "mention", ["message_id"], unique=False)
    op.create_index(op.f("ix_mention_user_id"), "mention", ["user_id"], unique=False)


SUBJECTS = ("user_id", "role", "plan_id", "chat_id", "api_token_id", "project_id")


def _one_of(columns: tuple[str, ...]) -> str:
    return " + ".join(f"(CASE WHEN {column} IS NULL THEN 0 ELSE 1 END)" for column in columns) + " = 1"


def _let_quotas_limit_projects() -> None:
    with op.batch_alter_table("api_quota") as table:
        table.add_column(sa.Column("project_id", types.Id(), nullable=True))
        table.create_foreign_key(op.f("fk_api_quota_project_id"), "project", ["project_id"], ["id"], ondelete="CASCADE")
        table.drop_constraint(op.f("ck_api_quota_one_subject"), type_="check")
        table.create_check_constraint(op.f("ck_api_quota_one_subject"), _one_of(SUBJECTS))
    op.create_index(op.f("ix_api_quota_project_id"), "api_quota", ["project_id"], unique=False)
    op.add_column("usage_log", sa.Column("project_id", types.Id(), nullable=True))
    op.create_index(
        "ix_usage_log_project",
        "usage_log",
        ["project_id", "created_at"],
        unique=False,
        sqlite_where=sa.text("project_id IS NOT NULL"),
        postgresql_where=sa.text("project_id IS NOT NULL"),
    )


def downgrade() -> None:
    op.execute("DELETE FROM invitation WHERE project_id IS NOT NULL")
    op.drop_index(op.f("ix_invitation_project_id"), table_name="invitation")
    with op.batch_alter_table("invitation") as table:
        table.drop_constraint("fk_invitation_project_id", type_="foreignkey")
        table.drop_constraint(op.f("ck_invitation_member_role"), type_="check")
        table.drop_column("project_id")
        table.drop_column("project_role")
    op.drop_table("mention")
    op.drop_table("channel_member")
    op.drop_table("channel")
    op.drop_index("ix_usage_log_project", table_name="usage_log")
    op.drop_column("usage_log", "project_id")
    op.drop_index(op.f("ix_api_quota_project_id"), table_name="api_quota")
    op.execute("DELETE FROM api_quota WHERE project_id IS NOT NULL")
    with op.batch_alter_table("api_quota") as table:
        table.drop_constraint(op.f("fk_api_quota_project_id"), type_="foreignkey")
        table.drop_constraint(op.f("ck_api_quota_one_subject"), type_="check")
        table.drop_column("project_id")
        table.create_check_constraint(op.f("ck_api_quota_one_subject"), _one_of(SUBJECTS[:-1]))
    op.drop_index(op.f("ix_chat_project_id_last_message_at_id"), table_name="chat")
    op.drop_index("ix_chat_handed_over", table_name="chat")
    op.drop_column("chat", "is_handed_over")
    op.drop_column("chat", "is_open_to_project")
    op.drop_column("chat", "project_id")
    op.drop_table("membership")
    op.drop_table("project")
