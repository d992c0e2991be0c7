"""Tools with which models read the user's drafts and propose edits. The user accepts or rejects each edit."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session
from typing_extensions import override

from tertulia.accounts.actor import Actor
from tertulia.chat.chat_tools import checked_id
from tertulia.drafts.proposals import propose_edits
from tertulia.drafts.service import get_draft, list_drafts
from tertulia.ids import DraftId
from tertulia.tools.protocol import Risk, Tool, ToolContext, ToolFailed, ToolResult
from tertulia.tools.provenance import Source

MAX_CHARACTERS = 200_000
MAX_EDITS = 50
_ID = {"type": "string", "minLength": 32, "maxLength": 36}


class ListDrafts(Tool):
    name = "list_drafts"
    description = "List the user's drafts with their ids, last changed first."
    parameters: Mapping[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}
    risk = Risk.READ_ONLY
    timeout_s = 10.0
    sends_out = False
    reads_private = True

    @override
    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolResult:
        drafts = await context.read(lambda session: list_drafts(session, context.actor, limit=50))
        rows = [[draft["id"], draft["title"] or "Untitled", f"{draft['updated_at']:%Y-%m-%d}"] for draft in drafts]
        sources: list[Source] = [{"kind": "draft", "name": draft["id"]} for draft in drafts]
        return ToolResult({"columns": ["draft_id", "title", "changed"], "rows": rows}, "table", sources=sources)


class ReadDraft(Tool):
    name = "read_draft"
    description = "Read the current text of one of the user's drafts, in Markdown."
    parameters: Mapping[str, Any] = {
        "type": "object",
        "properties": {"draft_id": _ID},
        "required": ["draft_id"],
        "additionalProperties": False,
    }
    risk = Risk.READ_ONLY
    timeout_s = 10.0
    sends_out = False
    reads_private = True

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolResult:
        draft_id = DraftId(checked_id(arguments["draft_id"]))
        draft = await context.read(lambda session: get_draft(session, context.actor, draft_id))
        text = draft["current_version"]["content"][:MAX_CHARACTERS]
        return ToolResult(text, sources=[{"kind": "draft", "name": draft_id}])


class EditDraft(Tool):
    name = "edit_draft"
    description = (
        "Propose changes to one of the user's drafts. Each edit gives text exactly as it is in the draft, and its "
        "replacement. The user sees the edits in the draft and accepts or rejects each."
    )
    parameters: Mapping[str, Any] = {
        "type": "object",
        "properties": {
            "draft_id": _ID,
            "edits": {
                "type": "array",
                "minItems": 1,
                "maxItems": MAX_EDITS,
                "items": {
                    "type": "object",
                    "properties": {"find": {"type": "string", "minLength": 1}, "replace": {"type": "string"}},
                    "required": ["find", "replace"],
                    "additionalProperties": False,
                },
            },
            "why": {"type": "string", "maxLength": 500},
        },
        "required": ["draft_id", "edits"],
        "additionalProperties": False,
    }
    risk = Risk.LOW  # it only proposes, and the user decides about each edit
    timeout_s = 20.0
    sends_out = False

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolResult:
        draft_id, blocks = _wanted(arguments)
        why = arguments.get("why") or "Proposed in a chat"

        def propose(session: Session) -> int:
            proposal = propose_edits(session, context.actor, draft_id, blocks, instruction=why)
            return len(proposal["edits"])

        count = await context.write(propose)
        return ToolResult(
            f"{count} of {len(blocks)} edits are now proposals in the draft. The user accepts or rejects each.",
            sources=[],
        )

    async def dry_run(self, arguments: Mapping[str, Any], context: ToolContext) -> str:
        draft_id, blocks = _wanted(arguments)
        return await context.read(_preview, draft_id, blocks, context.actor)


def _wanted(arguments: Mapping[str, Any]) -> tuple[DraftId, list[tuple[str, str]]]:
    blocks = [(edit["find"], edit["replace"]) for edit in arguments["edits"]]
    return DraftId(checked_id(arguments["draft_id"])), blocks


def _preview(session: Session, draft_id: DraftId, blocks: list[tuple[str, str]], actor: Actor) -> str:
    draft = get_draft(session, actor, draft_id)
    text = draft["current_version"]["content"]
    missing = sum(find not in text for find, _ in blocks)
    if missing == len(blocks):
        raise ToolFailed("None of the text to change is in the draft. Read the draft first.")
    title = draft["title"] or "Untitled"
    summary = (
        f"{len(blocks) - missing} of {len(blocks)} edits can be placed in “{title}”. "
        "Nothing changes until you accept them there."
    )
    return summary + (f" {missing} change text that is not in the draft." if missing else "")
