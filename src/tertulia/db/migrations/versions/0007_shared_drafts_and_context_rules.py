"""Shared drafts, and context rules of messages"""

import sqlalchemy as sa
from alembic import op

import tertulia.db.types as types

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_COLUMNS = (
    "id, chat_id, owner_id, shared_with_user_id, token_hash, can_read, can_write, can_share, expires_at, is_active, "
    "access_count, created_at, updated_at"
)
_INDEXES = ("chat_id", "expires_at", "owner_id", "shared_with_user_id")


def upgrade() -> None:
    op.create_table(
        "attached_draft",
        sa.Column("chat_id", types.Id(), nullable=False),
        sa.Column("draft_id", types.Id(), nullable=False),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(["chat_id"], ["chat.id"], name=op.f("fk_attached_draft_chat_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["draft_id"], ["draft.id"], name=op.f("fk_attached_draft_draft_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("chat_id", "draft_id", name=op.f("pk_attached_draft")),
    )
    op.create_index(op.f("ix_attached_draft_draft_id"), "attached_draft", ["draft_id"], unique=False)
    op.create_table(
        "import_job_draft",
        sa.Column("import_job_id", types.Id(), nullable=False),
        sa.Column("draft_id", types.Id(), nullable=False),
        sa.Column("version_count", sa.Integer(), nullable=False),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["import_job_id"], ["import_job.id"], name=op.f("fk_import_job_draft_import_job_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["draft_id"], ["draft.id"], name=op.f("fk_import_job_draft_draft_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("import_job_id", "draft_id", name=op.f("pk_import_job_draft")),
    )
    op.create_index(op.f("ix_import_job_draft_draft_id"), "import_job_draft", ["draft_id"], unique=False)
    op.add_column("draft", sa.Column("import_id", sa.String(length=200), nullable=True))
    op.create_index("ix_draft_import", "draft", ["user_id", "import_id"], unique=True)
    op.drop_index(op.f("ix_change_chat_id_xid_seq"), table_name="change")
    op.execute("ALTER TABLE change RENAME COLUMN chat_id TO shared_id")
    op.create_index(op.f("ix_change_shared_id_xid_seq"), "change", ["shared_id", "xid", "seq"], unique=False)
    if op.get_bind().dialect.name == "sqlite":
        _make_share_again(of_drafts=True)
    else:
        op.add_column("share", sa.Column("draft_id", types.Id(), nullable=True))
        op.alter_column("share", "chat_id", nullable=True)
        op.create_foreign_key(op.f("fk_share_draft_id"), "share", "draft", ["draft_id"], ["id"], ondelete="CASCADE")
        op.create_check_constraint(op.f("ck_share_one_thing"), "share", "(chat_id IS NULL) <> (draft_id IS NULL)")
    op.create_index(op.f("ix_share_draft_id_is_active"), "share", ["draft_id", "is_active"], unique=False)
    # In one statement, because SQLite can add a CHECK only together with its column.
    op.execute(
        "ALTER TABLE message ADD COLUMN context_rule VARCHAR(8) DEFAULT 'auto' NOT NULL "
        "CONSTRAINT ck_message_context_rule CHECK (context_rule IN ('auto', 'pinned', 'left_out'))"
    )
    op.create_index(
        "ix_message_pinned",
        "message",
        ["chat_id", "id"],
        unique=False,
        sqlite_where=sa.text("context_rule = 'pinned'"),
        postgresql_where=sa.text("context_rule = 'pinned'"),
    )
    # Index all drafts again, because the index now includes who may find them.
    op.execute("UPDATE draft SET indexed_number = 0")


def downgrade() -> None:
    op.drop_index("ix_message_pinned", table_name="message")
    if op.get_bind().dialect.name != "sqlite":
        op.drop_constraint("ck_message_context_rule", "message", type_="check")
    op.execute("ALTER TABLE message DROP COLUMN context_rule")
    op.execute("DELETE FROM share WHERE chat_id IS NULL")
    op.drop_index(op.f("ix_share_draft_id_is_active"), table_name="share")
    if op.get_bind().dialect.name == "sqlite":
        _make_share_again(of_drafts=False)
    else:
        op.drop_constraint(op.f("ck_share_one_thing"), "share", type_="check")
        op.drop_constraint(op.f("fk_share_draft_id"), "share", type_="foreignkey")
        op.alter_column("share", "chat_id", nullable=False)
        op.drop_column("share", "draft_id")
    op.drop_index(op.f("ix_change_shared_id_xid_seq"), table_name="change")
    op.execute("ALTER TABLE change RENAME COLUMN shared_id TO chat_id")
    op.create_index(op.f("ix_change_chat_id_xid_seq"), "change", ["chat_id", "xid", "seq"], unique=False)
    op.drop_index("ix_draft_import", table_name="draft")
    op.drop_column("draft", "import_id")
    op.drop_index(op.f("ix_import_job_draft_draft_id"), table_name="import_job_draft")
    op.drop_table("import_job_draft")
    op.drop_index(op.f("ix_attached_draft_draft_id"), table_name="attached_draft")
    op.drop_table("attached_draft")


def _make_share_again(*, of_drafts: bool) -> None:
    """Rebuild the table on SQLite, which can neither add a key nor make a column nullable. No table refers to it."""
    for column in _INDEXES:
        op.drop_index(op.f(f"ix_share_{column}_is_active"), table_name="share")
    op.rename_table("share", "share_before")
    op.create_table(
        "share",
        sa.Column("id", types.Id(), nullable=False),
        sa.Column("chat_id", types.Id(), nullable=of_drafts),
        *([sa.Column("draft_id", types.Id(), nullable=True)] if of_drafts else []),
        sa.Column("owner_id", types.Id(), nullable=False),
        sa.Column("shared_with_user_id", types.Id(), nullable=True),
        sa.Column("token_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("can_read", sa.Boolean(), nullable=False),
        sa.Column("can_write", sa.Boolean(), nullable=False),
        sa.Column("can_share", sa.Boolean(), nullable=False),
        sa.Column("expires_at", types.UtcTime(), nullable=True),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.Column("access_count", sa.Integer(), nullable=False),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.Column("updated_at", types.UtcTime(), nullable=False),
        sa.CheckConstraint(
            "shared_with_user_id IS NOT NULL OR NOT (can_write OR can_share)", name=op.f("ck_share_links_read_only")
        ),
        *(
            [
                sa.CheckConstraint("(chat_id IS NULL) <> (draft_id IS NULL)", name=op.f("ck_share_one_thing")),
                sa.ForeignKeyConstraint(["draft_id"], ["draft.id"], name=op.f("fk_share_draft_id"), ondelete="CASCADE"),
            ]
            if of_drafts
            else []
        ),
        sa.ForeignKeyConstraint(["chat_id"], ["chat.id"], name=op.f("fk_share_chat_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["owner_id"], ["user.id"], name=op.f("fk_share_owner_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["shared_with_user_id"], ["user.id"], name=op.f("fk_share_shared_with_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_share")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_share_token_hash")),
    )
    op.execute(f"INSERT INTO share ({_COLUMNS}) SELECT {_COLUMNS} FROM share_before")  # noqa: S608 - constants
    op.drop_table("share_before")
    for column in _INDEXES:
        op.create_index(op.f(f"ix_share_{column}_is_active"), "share", [column, "is_active"], unique=False)
