"""Add notes, which can be shared."""

import sqlalchemy as sa
from alembic import op

from tertulia.db.types import Id

revision = "notes"
down_revision = "PREVIOUS"
branch_labels = depends_on = None


def upgrade() -> None:
    op.create_table(
        "note",
        sa.Column("id", Id(), primary_key=True),
        sa.Column("user_id", Id(), sa.ForeignKey("user.id", ondelete="CASCADE"), nullable=False, index=True),
        sa.Column("title", sa.String(200), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
    )
    with op.batch_alter_table("share") as share:
        share.add_column(sa.Column("note_id", Id(), nullable=True))
        share.create_foreign_key("fk_share_note_id_note", "note", ["note_id"], ["id"], ondelete="CASCADE")
        share.drop_constraint("one_thing", type_="check")
        share.create_check_constraint(
            "one_thing", "(chat_id IS NOT NULL) + (draft_id IS NOT NULL) + (note_id IS NOT NULL) = 1"
        )
