"""Indexes for purging deleted messages, for full-text search, and for the list of pinned chats"""

import sqlalchemy as sa
from alembic import op

import tertulia.db.types as types

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# FTS5 reads the text from the table itself. The triggers report inserts and deletes to it.
_SQLITE = (
    """CREATE VIRTUAL TABLE search_index USING fts5(
        words, content='search_document', content_rowid='id',
        tokenize='unicode61 remove_diacritics 0', prefix='2 3'
    )""",
    """CREATE TRIGGER search_document_inserted AFTER INSERT ON search_document BEGIN
        INSERT INTO search_index (rowid, words) VALUES (new.id, new.words);
    END""",
    """CREATE TRIGGER search_document_deleted AFTER DELETE ON search_document BEGIN
        INSERT INTO search_index (search_index, rowid, words) VALUES ('delete', old.id, old.words);
    END""",
)
_POSTGRESQL = (
    "ALTER TABLE search_document ADD COLUMN vector tsvector GENERATED ALWAYS AS (to_tsvector('simple', words)) STORED",
    "CREATE INDEX ix_search_document_vector ON search_document USING gin (vector)",
)


def upgrade() -> None:
    op.create_table(
        "tag",
        sa.Column("id", types.Id(), nullable=False),
        sa.Column("user_id", types.Id(), nullable=False),
        sa.Column("name", sa.String(length=50), nullable=False),
        sa.Column("name_key", sa.String(length=200), nullable=False),
        sa.Column(
            "colour",
            sa.Enum(
                "grey",
                "red",
                "orange",
                "green",
                "blue",
                "purple",
                name="tag_colour",
                native_enum=False,
                create_constraint=True,
            ),
            nullable=False,
        ),
        sa.Column("deleted_at", types.UtcTime(), nullable=True),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.Column("updated_at", types.UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_tag_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tag")),
    )
    op.create_index(op.f("ix_tag_user_id"), "tag", ["user_id"])
    op.create_index(
        "uq_tag_user_id_name_key",
        "tag",
        ["user_id", "name_key"],
        unique=True,
        sqlite_where=sa.text("deleted_at IS NULL"),
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    op.create_table(
        "chat_tag",
        sa.Column("chat_id", types.Id(), nullable=False),
        sa.Column("tag_id", types.Id(), nullable=False),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(["chat_id"], ["chat.id"], name=op.f("fk_chat_tag_chat_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tag_id"], ["tag.id"], name=op.f("fk_chat_tag_tag_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("chat_id", "tag_id", name=op.f("pk_chat_tag")),
    )
    op.create_index(op.f("ix_chat_tag_tag_id"), "chat_tag", ["tag_id"])
    op.create_table(
        "search_document",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("chat_id", types.Id(), nullable=False),
        sa.Column("message_id", types.Id(), nullable=True),
        sa.Column("part", sa.Integer(), nullable=False),
        sa.Column("words", sa.Text(), nullable=False),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(["chat_id"], ["chat.id"], name=op.f("fk_search_document_chat_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["message_id"], ["message.id"], name=op.f("fk_search_document_message_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_search_document")),
        sa.UniqueConstraint("message_id", "part", name=op.f("uq_search_document_message_id_part")),
    )
    op.create_index(op.f("ix_search_document_chat_id_message_id"), "search_document", ["chat_id", "message_id"])
    op.create_index(op.f("ix_search_document_created_at"), "search_document", ["created_at"])
    for statement in _SQLITE if op.get_bind().dialect.name == "sqlite" else _POSTGRESQL:
        op.execute(statement)
    op.create_index(
        "ix_chat_pinned",
        "chat",
        ["user_id", "last_message_at", "id"],
        sqlite_where=sa.text("pinned_at IS NOT NULL"),
        postgresql_where=sa.text("pinned_at IS NOT NULL"),
    )
    op.create_index(
        "ix_message_deleted",
        "message",
        ["updated_at"],
        sqlite_where=sa.text("status = 'deleted'"),
        postgresql_where=sa.text("status = 'deleted'"),
    )


def downgrade() -> None:
    op.drop_index("ix_message_deleted", table_name="message")
    op.drop_index("ix_chat_pinned", table_name="chat")
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DROP TABLE search_index")
    op.drop_table("search_document")
    op.drop_table("chat_tag")
    op.drop_table("tag")
