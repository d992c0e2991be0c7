"""Measure the preparation of a step by the length of the chat, also with the first message pinned."""

import time
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.actor import Actor
from tertulia.accounts.models import User, UserRole
from tertulia.accounts.row_limits import RowLimits
from tertulia.chat.models import Chat, ContextRule, Message
from tertulia.chat.schemas import ChatCreate
from tertulia.chat.service import create_chat
from tertulia.context.service import gather_context
from tertulia.db.migrate import upgrade_schema
from tertulia.db.opening import plain_engine
from tertulia.ids import UserId, new_id
from tertulia.runs.request.prepare import TargetModel, prepare_prompt
from tertulia.settings import Settings

LENGTHS = (50, 5_000, 50_000)  # messages
WINDOW = 8192
TIMES = 40
READER = new_id()
WORDS = "words of a message that is neither short nor long, as people write them " * 4


def measure(folder: Path) -> list[tuple[int, list[float], list[float]]]:
    """Return the milliseconds of each preparation by chat length, without and with a pinned first message."""
    settings = Settings(data=folder)
    upgrade_schema(settings, now=clock.now())
    engine = plain_engine(settings)
    actor = Actor(UserId(new_id()), UserRole.USER)
    with Session(engine) as session:
        session.add(User(id=actor.user_id, username="bench", username_key="bench", name="Bench"))
        session.commit()
    results = []
    for length in LENGTHS:
        chat_id, ids = _chat(engine, actor, length)
        plain = _timed(engine, chat_id, ids[-1])
        with Session(engine) as session:
            session.execute(sa.update(Message).where(Message.id == ids[0]).values(context_rule=ContextRule.PINNED))
            session.commit()
        results.append((length, plain, _timed(engine, chat_id, ids[-1])))
    engine.dispose()
    return results


def _chat(engine: sa.Engine, actor: Actor, length: int) -> tuple[str, list[str]]:
    with Session(engine) as session:
        chat_id = create_chat(session, ChatCreate(title=f"{length}"), RowLimits(), owner_id=actor.user_id)["id"]
        now, ids = clock.now(), [new_id() for _ in range(length)]
        rows: list[dict[str, object]] = [
            {
                "id": message_id,
                "chat_id": chat_id,
                "role": "assistant" if number % 2 else "user",
                "status": "sent",
                "previous_message_id": ids[number - 1] if number else None,
                "content": WORDS,
                "parts": [],
                "created_at": now,
                "updated_at": now,
            }
            for number, message_id in enumerate(ids)
        ]
        for start in range(0, length, 1000):
            session.execute(sa.insert(Message), rows[start : start + 1000])
        session.execute(sa.update(Chat).where(Chat.id == chat_id).values(head_message_id=ids[-1]))
        session.commit()
    return chat_id, ids


def _timed(engine: sa.Engine, chat_id: str, leaf: str) -> list[float]:
    took = []
    with Session(engine) as session:  # what a full window omits is recorded once, and not measured
        _prepare(session, chat_id, leaf)
        session.commit()
    for _ in range(TIMES):
        with Session(engine) as session:
            began = time.perf_counter()
            _prepare(session, chat_id, leaf)
            took.append((time.perf_counter() - began) * 1000)
    return took


def _prepare(session: Session, chat_id: str, leaf: str) -> None:
    """Prepare a step as a run does: the model's properties, additional context, the branch."""
    model = TargetModel("openai", "model-a", WINDOW, False, (), READER)
    gather_context(session, prepare_prompt(session, chat_id, leaf, model).source)
