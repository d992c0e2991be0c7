"""Models read the person's drafts, and propose edits of them, which the person takes or leaves."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from tertulia.accounts.actor import Actor
from tertulia.chat.tools import checked_id
from tertulia.drafts.proposals import propose_edits
from tertulia.drafts.service import get_draft, list_drafts
from tertulia.ids import DraftId
from tertulia.tools.protocol import Risk, Tool, ToolContext, ToolFailed, ToolResult

MOST_CHARACTERS = 200_000
MOST_EDITS = 50
_ID = {"type": "string", "minLength": 32, "maxLength": 36}


class ListDrafts(Tool):
    name = "list_drafts"
    description = "List the person's drafts, the ones changed last first, with their ids."
    parameters: Mapping[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}
    risk = Risk.READ_ONLY
    timeout_s = 10.0
    sends_out = False
    reads_private = True

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolResult:
        def read(session: Session) -> list[list[str]]:
            found = list_drafts(session, actor=context.actor, limit=50)
            return [[one["id"], one["title"] or "Untitled", f"{one['updated_at']:%Y-%m-%d}"] for one in found]

        return ToolResult({"columns": ["draft_id", "title", "changed"], "rows": await context.read(read)}, "table")


class ReadDraft(Tool):
    name = "read_draft"
    description = "Read the current text of one of the person's drafts, in Markdown."
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
        draft = await context.read(lambda session: get_draft(session, draft_id, actor=context.actor))
        return ToolResult(draft["current_version"]["content"][:MOST_CHARACTERS])


class EditDraft(Tool):
    name = "edit_draft"
    description = (
        "Propose changes of one of the person's drafts. Each edit names words of the text exactly as they stand there, and what is to "
        "stand instead. The person sees them in the draft and takes or leaves each."
    )
    parameters: Mapping[str, Any] = {
        "type": "object",
        "properties": {
            "draft_id": _ID,
            "edits": {
                "type": "array",
                "minItems": 1,
                "maxItems": MOST_EDITS,
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
    risk = Risk.LOW  # it proposes; the person decides about each edit
    timeout_s = 20.0
    sends_out = False

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolResult:
        draft_id, blocks = _wanted(arguments)
        why = arguments.get("why") or "Proposed in a chat"

        def propose(session: Session) -> int:
            proposal = propose_edits(session, draft_id, blocks, instruction=why, actor=context.actor)
            return len(proposal["edits"])

        count = await context.write(propose)
        return ToolResult(
            f"{count} of {len(blocks)} edits stand in the draft as proposals; the person decides about them."
        )

    async def dry_run(self, arguments: Mapping[str, Any], context: ToolContext) -> str:
        draft_id, blocks = _wanted(arguments)
        return await context.read(_preview, draft_id, blocks, context.actor)


def _wanted(arguments: Mapping[str, Any]) -> tuple[DraftId, list[tuple[str, str]]]:
    blocks = [(one["find"], one["replace"]) for one in arguments["edits"]]
    return DraftId(checked_id(arguments["draft_id"])), blocks


def _preview(session: Session, draft_id: DraftId, blocks: list[tuple[str, str]], actor: Actor) -> str:
    draft = get_draft(session, draft_id, actor=actor)
    text = draft["current_version"]["content"]
    missing = sum(find not in text for find, _ in blocks)
    if missing == len(blocks):
        raise ToolFailed("None of the words to be changed are in the draft.")
    title = draft["title"] or "Untitled"
    said = f"{len(blocks) - missing} of {len(blocks)} edits have their place in “{title}”. Nothing changes until you accept them there."
    return said + (f" {missing} name words that the draft does not have." if missing else "")
