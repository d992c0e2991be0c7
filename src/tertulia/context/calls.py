"""What models are told of the tools that replies called: each call beside its result, marked as words from elsewhere."""

import re
from collections.abc import Iterable, Sequence

import orjson
import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia.chat.models import Message
from tertulia.chat.parts import CodePart, Part, TextPart, ToolCallPart
from tertulia.context.messages import SentCall, Turn
from tertulia.tools.models import ToolExecution, ToolStatus
from tertulia.tools.results import words_of

_MARK = re.compile(r"<(/?)\s*(tool_result)", re.IGNORECASE)
_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_-]")
_WAITING = "[no result yet: the person has not decided]"


def turns_of_messages(session: Session, message_ids: Sequence[str]) -> dict[str, tuple[tuple[Turn, ...], str]]:
    """Of the replies among these that called tools: their turns, and what they said after the last."""
    if not message_ids:
        return {}
    calls = {
        row.id: row
        for row in session.scalars(sa.select(ToolExecution).where(ToolExecution.message_id.in_(message_ids)))
    }
    if not calls:
        return {}
    parts = session.execute(
        sa.select(Message.id, Message.parts).where(Message.id.in_({row.message_id for row in calls.values()}))
    )
    return {message_id: _turns(found, calls) for message_id, found in parts}


def _turns(parts: Iterable[Part], calls: dict[str, ToolExecution]) -> tuple[tuple[Turn, ...], str]:
    """Calls of one step belong together; words between two calls begin another turn."""
    turns: list[Turn] = []
    said: list[str] = []
    step: int | None = None
    for part in parts:
        if isinstance(part, TextPart | CodePart):
            said.append(part.text if isinstance(part, TextPart) else part.code)
            step = None
        elif isinstance(part, ToolCallPart) and part.tool_execution_id in calls:
            call = calls[part.tool_execution_id]
            if call.step == step:
                turns[-1] = Turn(turns[-1].text, (*turns[-1].calls, _sent(call)))
            else:
                turns.append(Turn("\n\n".join(said), (_sent(call),)))
                said, step = [], call.step
    return tuple(turns), "\n\n".join(said)


def _sent(call: ToolExecution) -> SentCall:
    """Under an id of our own: a model may have given one twice, or in a form that another vendor refuses."""
    name = f"{call.server}__{call.tool_name}" if call.server else call.tool_name
    name = _NOT_IN_NAMES.sub("_", name)[:64] or "tool"
    return SentCall(call.id.replace("-", ""), name, orjson.dumps(call.sent_parameters).decode(), told_result(call))


def in_words(turn: Turn) -> str:
    """A turn as text, for a model that is offered no tools now."""
    told = [f"[called {call.name} with {call.arguments}]\n{call.result}" for call in turn.calls]
    return "\n\n".join(filter(None, [turn.text, *told]))


def told_result(call: ToolExecution) -> str:
    """What a model hears of a call: what it gave, between marks that nothing in it ends, or why there is nothing."""
    edited = (
        "[The person changed the arguments before they let it run.]\n" if call.edited_parameters is not None else ""
    )
    match call.status:
        case ToolStatus.COMPLETED if call.result is not None:
            cut = f"\n[only the beginning: it had {call.result.size_bytes} bytes]" if call.result.is_cut else ""
            return f"{edited}{_marked(call, f'{words_of(call.result)}{cut}')}"
        case ToolStatus.DENIED if call.deny_note:
            return f"[The person refused this call. They say: {call.deny_note}]"
        case ToolStatus.PENDING | ToolStatus.APPROVED | ToolStatus.EXECUTING:
            return _WAITING
        case ToolStatus.FAILED | ToolStatus.TIMEOUT if call.is_untrusted and call.error_message:
            # Why it failed its tool says in words of its own, which are no more to be trusted than what it gives.
            return f"{edited}[{call.status.value}]\n{_marked(call, call.error_message)}"
        case _:
            return f"{edited}[{call.status.value}: {call.error_message or 'no result'}]"


def _marked(call: ToolExecution, words: str) -> str:
    """Between marks that nothing in the words ends, or begins anew."""
    trust = "untrusted" if call.is_untrusted else "the person's own"
    harmless = _MARK.sub(r"< \1\2", words)
    return f'<tool_result from="{trust}">\n{harmless}\n</tool_result>'
