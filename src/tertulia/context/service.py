"""Gathering what a step sends: read from the newest message back, and stop where the window ends."""

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia.chat.models import Chat, ChatSettings, MessageStatus
from tertulia.chat.queries import BRANCH_TEXTS
from tertulia.context.window import (
    DEFAULT_WINDOW,
    ContextMessage,
    ContextTooSmall,
    estimate_tokens,
    fit_to_window,
    reserve_for_answer,
)

CHUNK = 50
# The number of messages left out is told exactly up to here; counting further back would cost more with every message.
COUNT_AT_MOST = 1000


@dataclass(frozen=True)
class Context:
    messages: list[ContextMessage]  # oldest first, the system prompt before them
    left_out: int
    max_tokens: int  # for the answer
    settings: ChatSettings


def gather_context(
    session: Session, chat_id: str, last_message_id: str, *, model_window: int | None, shrink: float = 1.0
) -> Context:
    """The branch that ends in a message, as much as fits; `shrink` below 1 after a provider found it too long."""
    prompt, chosen_window, settings = session.execute(
        sa.select(Chat.system_prompt, Chat.context_window_size, Chat.settings).where(Chat.id == chat_id)
    ).one()
    window = min(chosen_window or model_window or DEFAULT_WINDOW, model_window or chosen_window or DEFAULT_WINDOW)
    reserve = reserve_for_answer(window, settings.max_tokens)
    budget = int((window - reserve) * shrink)
    newest_first, seen, more = _read_back(session, chat_id, last_message_id, budget)
    system = [ContextMessage("system", prompt)] if prompt else []
    try:
        fitted = fit_to_window(system + newest_first[::-1], budget)
    except ContextTooSmall:
        # Better the question without the instructions than no answer at all.
        fitted = fit_to_window(newest_first[::-1], budget)
    kept = sum(message.message_id is not None for message in fitted)
    left_out = seen - kept
    if more is not None:
        rest = BRANCH_TEXTS.all(session, chat_id=chat_id, leaf=more, links=COUNT_AT_MOST)
        left_out += sum(bool(row[2]) and row[3] is not MessageStatus.DELETED for row in rest)
    return Context(fitted, left_out, reserve, settings)


def _read_back(session: Session, chat_id: str, leaf: str, budget: int) -> tuple[list[ContextMessage], int, str | None]:
    """Messages with words, newest first, until the budget is spent; how many, and where the unread rest begins."""
    found: list[ContextMessage] = []
    spent = 0
    next_leaf: str | None = leaf
    while next_leaf is not None and spent <= budget:
        rows = BRANCH_TEXTS.all(session, chat_id=chat_id, leaf=next_leaf, links=CHUNK - 1)
        for message_id, role, content, status, _ in rows:
            if content and status is not MessageStatus.DELETED:
                found.append(ContextMessage(role.value, content, message_id))
                spent += estimate_tokens(content)
        next_leaf = rows[-1][4] if rows else None
    return found, len(found), next_leaf
