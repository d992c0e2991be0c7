"""Semantic search"""

import sqlalchemy as sa
from alembic import op

import tertulia.db.types as types

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "search_passage",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("document_id", sa.BigInteger(), nullable=False),
        sa.Column("owner_id", types.Id(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("start", sa.Integer(), nullable=False),
        sa.Column("code", sa.LargeBinary(length=48), nullable=True),
        sa.Column("embedding", sa.LargeBinary(length=384), nullable=True),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["document_id"], ["search_document.id"], name=op.f("fk_search_passage_document_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["owner_id"], ["user.id"], name=op.f("fk_search_passage_owner_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_search_passage")),
        sa.UniqueConstraint("document_id", "position", name=op.f("uq_search_passage_document_id_position")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        op.f("ix_search_passage_owner_id_id_code"), "search_passage", ["owner_id", "id", "code"], unique=False
    )


def downgrade() -> None:
    op.drop_index(op.f("ix_search_passage_owner_id_id_code"), table_name="search_passage")
    op.drop_table("search_passage")
