"""Tool with which a model searches the user's history, within the user's permissions."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from tertulia.accounts.actor import Actor
from tertulia.search.service import SearchFilters, SearchHit, search
from tertulia.tools.protocol import Risk, Tool, ToolContext, ToolResult
from tertulia.tools.provenance import Source

MOST = 20


class SearchChats(Tool):
    name = "search_chats"
    description = (
        "Search the person's chats, drafts and attached files by words. Returns excerpts with the ids of the chats, "
        "for read_chat."
    )
    parameters: Mapping[str, Any] = {
        "type": "object",
        "properties": {
            "query": {"type": "string", "minLength": 1, "maxLength": 500},
            "limit": {"type": "integer", "minimum": 1, "maximum": MOST},
        },
        "required": ["query"],
        "additionalProperties": False,
    }
    risk = Risk.READ_ONLY
    timeout_s = 10.0
    sends_out = False
    reads_private = True

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolResult:
        limit = arguments.get("limit", 8)
        hits = await context.read(_find, arguments["query"], limit, context.actor)
        rows = [[hit["chat"]["id"], hit["chat"]["title"], _where(hit), _excerpt(hit)] for hit in hits]
        others = {hit["chat"]["id"] for hit in hits} - {context.chat_id}
        sources: list[Source] = [{"kind": "chat", "name": chat_id} for chat_id in sorted(others)]
        return ToolResult({"columns": ["chat_id", "chat", "where", "excerpt"], "rows": rows}, "table", sources=sources)


def _find(session: Session, query: str, limit: int, actor: Actor) -> list[SearchHit]:
    hits, _ = search(session, actor, query, SearchFilters(), limit=limit)
    return hits


def _where(hit: SearchHit) -> str:
    if hit["attachment"] is not None:
        return f"file {hit['attachment']['file_name']}"
    if hit["draft"] is not None:
        return f"draft {hit['draft']['title'] or 'Untitled'}"
    message = hit["message"]
    return f"{message['role'].value} on {message['created_at']:%Y-%m-%d}" if message is not None else "title"


def _excerpt(hit: SearchHit) -> str:
    return "".join(piece["text"] for piece in hit["snippet"])
