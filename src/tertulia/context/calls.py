"""Convert the tool calls of replies for models: each call with its result, marked as text from elsewhere."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

import orjson
import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia.chat.models import Message
from tertulia.chat.parts import CodePart, Part, TextPart, ToolCallPart
from tertulia.context.messages import SentCall, Turn
from tertulia.providers.echo import EchoTarget
from tertulia.tools.models import ToolExecution, ToolStatus
from tertulia.tools.results import result_text

_MARK = re.compile(r"<(/?)\s*(tool_result)", re.IGNORECASE)
_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_-]")
_WAITING = "[no result yet: the person has not decided]"


def turns_of_messages(
    session: Session, message_ids: Sequence[str], target: EchoTarget | None = None
) -> dict[str, tuple[tuple[Turn, ...], str]]:
    """Return the turns of each reply that called tools, and the text after the last one, by message id.

    They have the echoes that `target` gave.
    """
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
    return {message_id: _turns(message_parts, calls, target) for message_id, message_parts in parts}


def _turns(
    parts: Iterable[Part], calls: dict[str, ToolExecution], target: EchoTarget | None
) -> tuple[tuple[Turn, ...], str]:
    """Group the calls of one step into a turn; text between two calls begins another turn."""
    turns: list[Turn] = []
    texts: list[str] = []
    step: int | None = None
    for part in parts:
        if isinstance(part, TextPart | CodePart):
            texts.append(part.text if isinstance(part, TextPart) else part.code)
            step = None
        elif isinstance(part, ToolCallPart) and part.tool_execution_id in calls:
            call = calls[part.tool_execution_id]
            echo = call.echo if target is not None and target.accepts(call.echo) else None
            sent = _sent(call, echo.call if echo else None)
            if call.step == step:
                turns[-1] = replace(turns[-1], calls=(*turns[-1].calls, sent))
            else:
                turns.append(Turn("\n\n".join(texts), (sent,), echo.turn if echo else None))
                texts, step = [], call.step
    return tuple(turns), "\n\n".join(texts)


def _sent(call: ToolExecution, echo: str | None) -> SentCall:
    """Convert a call, with our own id: a model may repeat an id, or use a form that another provider rejects."""
    name = f"{call.server}__{call.tool_name}" if call.server else call.tool_name
    name = _NOT_IN_NAMES.sub("_", name)[:64] or "tool"
    arguments = orjson.dumps(call.sent_parameters).decode()
    return SentCall(call.id.replace("-", ""), name, arguments, told_result(call), echo)


def in_words(turn: Turn) -> str:
    """Return a turn as text, for a model that is offered no tools now."""
    calls = [f"[called {call.name} with {call.arguments}]\n{call.result}" for call in turn.calls]
    return "\n\n".join(filter(None, [turn.text, *calls]))


def told_result(call: ToolExecution) -> str:
    """Return what a model receives for a call: the marked result, or the reason why there is none."""
    edited = (
        "[The person changed the arguments before they let it run.]\n" if call.edited_parameters is not None else ""
    )
    match call.status:
        case ToolStatus.COMPLETED if call.result is not None:
            cut = f"\n[only the beginning: it had {call.result.size_bytes} bytes]" if call.result.is_cut else ""
            return f"{edited}{_marked(call, f'{result_text(call.result)}{cut}')}"
        case ToolStatus.DENIED if call.deny_note:
            return f"[The person refused this call. They say: {call.deny_note}]"
        case ToolStatus.PENDING | ToolStatus.APPROVED | ToolStatus.EXECUTING:
            return _WAITING
        case ToolStatus.FAILED | ToolStatus.TIMEOUT if call.is_untrusted and call.error_message:
            # The error message comes from the tool, so it is as untrusted as a result.
            return f"{edited}[{call.status.value}]\n{_marked(call, call.error_message)}"
        case _:
            return f"{edited}[{call.status.value}: {call.error_message or 'no result'}]"


def _marked(call: ToolExecution, text: str) -> str:
    """Wrap text in tags that nothing inside the text can close or open."""
    trust = "untrusted" if call.is_untrusted else "the person's own"
    escaped = _MARK.sub(r"< \1\2", text)
    return f'<tool_result from="{trust}">\n{escaped}\n</tool_result>'
