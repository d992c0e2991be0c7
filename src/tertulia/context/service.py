"""Gathering what a step sends: read from the newest message back, and stop where the window ends."""

from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, replace

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia.chat.models import Chat, ChatSettings, ContextRule, MessageRole, MessageStatus
from tertulia.chat.queries import BRANCH_RULES, BRANCH_TEXTS, PINNED_TEXTS
from tertulia.context.calls import turns_of_messages
from tertulia.context.window import (
    DEFAULT_WINDOW,
    ContextMessage,
    ContextTooSmall,
    Planned,
    plan_context,
    reserve_for_answer,
    shorten,
)
from tertulia.files.of_messages import FileContent, files_of_messages, previews_of, text_of_file

CHUNK = 50
# The number of messages left out is told exactly up to here; counting further back would cost more with every message.
COUNT_AT_MOST = 1000
CHARACTERS_A_TOKEN = 4  # as many as can fit at most
LEAST_BUDGET = 64  # tokens
MOST_PICTURES = 10  # the newest; those before them are told of in words


@dataclass(frozen=True)
class Context:
    messages: list[ContextMessage]  # oldest first, the system prompt before them
    left_out: int
    max_tokens: int  # for the answer
    settings: ChatSettings
    pictures: dict[str, str]  # data URLs of the pictures that the messages name
    system_prompt: str | None  # the chat's own


def gather_context(
    session: Session,
    chat_id: str,
    last_message_id: str,
    *,
    model_window: int | None,
    sees_pictures: bool = True,
    shrink: float = 1.0,
    factor: float = 1.0,
    about: Callable[[int], str] | None = None,
    taken: int = 0,
) -> Context:
    """The branch that ends in a message, as much as fits; `shrink` below 1 after a provider found it too long.

    `factor`: how many of this model's tokens one of our estimated ones is, by what its provider counted before.

    `taken`: estimated tokens that something else of the request takes, such as the descriptions of tools.

    `about` tells within so many tokens what the chat is about besides, such as a draft. Of a thread it is what the thread says, and before it the branch up to the message that it answers.
    """
    found = _read(
        session,
        chat_id,
        last_message_id,
        model_window=model_window,
        sees_pictures=sees_pictures,
        scale=shrink / factor,
        about=about,
        taken=taken,
    )
    fitted = [one.sent for one in _plan(found) if one.sent is not None]
    kept = sum(message.message_id is not None for message in fitted)
    stored = sum(message.message_id is not None for message in found.messages)
    left_out = stored - kept + found.older
    return Context(fitted, left_out, found.reserve, found.settings, _pictures(session, fitted), found.prompt)


@dataclass(frozen=True)
class ContextPlan:
    """What the next request would send, before what is written next. Tokens are estimates; `factor` makes them the model's."""

    factor: float
    window: int
    reserve: int
    planned: list[Planned]  # the newest part of the branch, and what is pinned before it; system messages first
    older: int  # messages further back, which are left out; counted up to COUNT_AT_MOST
    taken: int  # estimated tokens of what is sent besides messages


def plan_next(
    session: Session,
    chat_id: str,
    leaf: str | None,
    *,
    model_window: int | None,
    sees_pictures: bool,
    factor: float,
    about: Callable[[int], str] | None,
    taken: int = 0,
) -> ContextPlan:
    found = _read(
        session,
        chat_id,
        leaf,
        model_window=model_window,
        sees_pictures=sees_pictures,
        scale=1 / factor,
        about=about,
        taken=taken,
    )
    return ContextPlan(factor, found.window, found.reserve, _plan(found), found.older, taken)


@dataclass(frozen=True)
class _Found:
    messages: list[ContextMessage]
    window: int
    reserve: int
    budget: int  # estimated tokens
    older: int  # messages that were not even read
    settings: ChatSettings
    prompt: str | None


def _plan(found: _Found) -> list[Planned]:
    try:
        return plan_context(found.messages, found.budget)
    except ContextTooSmall:
        # Better the question without the instructions than no answer at all.
        said = [one for one in found.messages if one.role != "system"]
        told = [Planned(one, None, "window") for one in found.messages if one.role == "system"]
        return told + plan_context(said, found.budget)


def _read(
    session: Session,
    chat_id: str,
    leaf: str | None,
    *,
    model_window: int | None,
    sees_pictures: bool,
    about: Callable[[int], str] | None,
    scale: float,
    taken: int,
) -> _Found:
    prompt, chosen_window, settings = session.execute(
        sa.select(Chat.system_prompt, Chat.context_window_size, Chat.settings).where(Chat.id == chat_id)
    ).one()
    window = min(chosen_window or model_window or DEFAULT_WINDOW, model_window or chosen_window or DEFAULT_WINDOW)
    reserve = reserve_for_answer(window, settings.max_tokens)
    # However much else there is to say, the question has some room.
    budget = max(int((window - reserve) * scale) - taken, LEAST_BUDGET)
    newest_first, more = _read_back(session, chat_id, leaf, budget)
    pinned, older = _read_older(session, chat_id, more)
    messages = _with_files(session, newest_first + pinned, budget, sees_pictures=sees_pictures)
    told = "\n\n".join(filter(None, [prompt, about(budget * 2 // 3) if about is not None else None]))
    system = [ContextMessage("system", told)] if told else []
    return _Found(system + messages[::-1], window, reserve, budget, older, settings, prompt)


def _with_files(
    session: Session, newest_first: list[ContextMessage], budget: int, *, sees_pictures: bool
) -> list[ContextMessage]:
    """The messages with what their files say, each at most half of the room, and with the newest pictures.

    Nothing more is read once the room is spent: what is older is left out anyway.
    """
    files = files_of_messages(session, [message.message_id for message in newest_first if message.message_id])
    if not files:
        return newest_first
    pictures_left = MOST_PICTURES if sees_pictures else 0
    spent = 0
    made = []
    for message in newest_first:
        own = files.get(message.message_id or "", []) if spent <= budget else []
        texts, pictures = [message.content], []
        for file in own:
            if file.is_picture and pictures_left > 0 and file.has_preview:
                pictures.append(file.attachment_id)
                pictures_left -= 1
            else:
                texts.append(_told(session, file, budget // 2 // len(own)))
        told = replace(message, content="\n\n".join(filter(None, texts)), pictures=tuple(pictures)) if own else message
        spent += told.tokens
        made.append(told)
    return made


def _told(session: Session, file: FileContent, room: int) -> str:
    """A file in words, between marks, so that a model does not take it for what the person says."""
    name = file.file_name.replace('"', "'")
    if not file.has_text:
        what = "a picture, which this model does not see" if file.is_picture else "no text that could be read"
        return f'<file name="{name}">[{what}]</file>'
    room = max(room, 64)
    text = text_of_file(session, file.attachment_id, room * CHARACTERS_A_TOKEN).replace("</file>", "</ file>")
    return f'<file name="{name}">\n{shorten(text, room)}\n</file>'


def _pictures(session: Session, messages: list[ContextMessage]) -> dict[str, str]:
    wanted = [one for message in messages for one in message.pictures]
    found = previews_of(session, wanted) if wanted else {}
    return {one: f"data:image/jpeg;base64,{b64encode(content).decode()}" for one, content in found.items()}


def _read_back(
    session: Session, chat_id: str, leaf: str | None, budget: int
) -> tuple[list[ContextMessage], str | None]:
    """Messages with words, newest first, until the budget is spent; and where the unread rest begins."""
    found: list[ContextMessage] = []
    spent = 0
    next_leaf = leaf
    while next_leaf is not None and spent <= budget:
        rows = BRANCH_TEXTS.all(session, chat_id=chat_id, leaf=next_leaf, links=CHUNK - 1)
        replies = [row[0] for row in rows if row[1] is MessageRole.ASSISTANT]
        turns = turns_of_messages(session, replies)
        for message_id, role, content, status, _, rule in rows:
            if (not content and message_id not in turns) or status is MessageStatus.DELETED:
                continue
            called, words = turns.get(message_id, ((), content))
            message = ContextMessage(role.value, words, message_id, rule=rule.value, turns=called)
            found.append(message)
            spent += message.tokens if rule is not ContextRule.LEFT_OUT else 0
        next_leaf = rows[-1][4] if rows else None
    return found, next_leaf


def _read_older(session: Session, chat_id: str, leaf: str | None) -> tuple[list[ContextMessage], int]:
    """Of the branch further back: what is pinned, newest first, and how many other messages there are.

    It is walked without its words, as far as something is pinned, or as is counted.
    """
    if leaf is None:
        return [], 0
    pinned = {row[0]: row for row in PINNED_TEXTS.all(session, chat_id=chat_id, upto=leaf)}
    found: list[ContextMessage] = []
    count = 0
    next_leaf: str | None = leaf
    while next_leaf is not None and (pinned or count < COUNT_AT_MOST):
        rows = BRANCH_RULES.all(session, chat_id=chat_id, leaf=next_leaf, links=COUNT_AT_MOST - 1)
        for message_id, has_words, _ in rows:
            row = pinned.pop(message_id, None)
            if row is not None and has_words:
                called, words = turns_of_messages(session, [message_id]).get(message_id, ((), row[2]))
                found.append(ContextMessage(row[1].value, words, message_id, rule="pinned", turns=called))
            else:
                count += bool(has_words)
        next_leaf = rows[-1][2] if rows else None
        oldest = min(pinned, default=None)
        if oldest is not None and next_leaf is not None and next_leaf < oldest:
            pinned.clear()  # what is left of them is on other branches: ids rise with time
    return found, min(count, COUNT_AT_MOST)
