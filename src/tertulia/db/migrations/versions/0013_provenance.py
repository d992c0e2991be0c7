"""Store what each run and each tool result was read from, instead of where text in arguments came from."""

import sqlalchemy as sa
from alembic import op

from tertulia.db import types

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

# Calls from before this version: what their tool reads, by its name. Anything else counts as the tool itself.
KINDS = {
    "fetch_page": "web",
    "search_chats": "chat",
    "read_chat": "chat",
    "list_drafts": "draft",
    "read_draft": "draft",
}
HARMLESS = ("calculate", "current_time", "read_state", "write_state", "edit_draft")


def upgrade() -> None:
    op.add_column("run", sa.Column("sources", types.JsonOf(), nullable=False, server_default="[]"))
    op.add_column("tool_execution", sa.Column("sources", types.JsonOf(), nullable=False, server_default="[]"))
    op.add_column("tool_execution", sa.Column("result_sources", types.JsonOf(), nullable=False, server_default="[]"))
    table = sa.table(
        "tool_execution",
        sa.column("tool_name", sa.String()),
        sa.column("server", sa.String()),
        sa.column("result_sources", types.JsonOf()),
    )
    names = op.get_bind().execute(sa.select(table.c.tool_name, table.c.server).distinct()).all()
    for tool_name, server in names:
        if server is None and tool_name in HARMLESS:
            continue
        kind = "server" if server is not None else KINDS.get(tool_name, "tool")
        op.execute(
            table.update()
            .where(table.c.tool_name == tool_name, table.c.server.is_not_distinct_from(server))
            .values(result_sources=[{"kind": kind, "name": server or tool_name}])
        )
    op.drop_column("tool_execution", "untrusted_sources")


def downgrade() -> None:
    op.add_column("tool_execution", sa.Column("untrusted_sources", types.JsonOf(), nullable=False, server_default="[]"))
    for table, column in (("tool_execution", "result_sources"), ("tool_execution", "sources"), ("run", "sources")):
        op.drop_column(table, column)
