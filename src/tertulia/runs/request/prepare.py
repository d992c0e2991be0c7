"""What the next request of a chat to a model is made of: its branch, the tools that fit, and what is told besides."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import orjson
import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia.chat.models import Chat, ChatState
from tertulia.chat.queries import BRANCH_RULES, BRANCH_TEXTS
from tertulia.context.branch import Reading, smaller_window, without_marks
from tertulia.context.cutting import shorten
from tertulia.context.messages import estimate_tokens
from tertulia.context.window import reserve_for_answer
from tertulia.runs.drafts import about_drafts
from tertulia.runs.models import Run, Step
from tertulia.tools.offered import ABOUT_TOOLS
from tertulia.tools.protocol import OfferedTool

LEAST_MEASURED = 100  # estimated tokens: of a shorter request what a provider adds of its own would mislead
LEAST_FACTOR, MOST_FACTOR = 0.5, 3.0
MOST_COUNTED = 20_000  # characters of what is said that a tokenizer is asked about
LINKS_BACK = 20  # so many messages back the last reply of the same model is looked for
LEAST_STATE = 128  # tokens left for what is told besides messages, with which some of the state is worth telling
STATE_SHARE = 3  # of what is told besides messages, at most one part in so many


@dataclass(frozen=True)
class ForModel:
    """Which model is asked, what it is like, and for whom: that person's drafts are told of."""

    provider: str
    model_name: str
    window: int | None  # tokens; None: nobody knows
    sees_pictures: bool
    tools: Sequence[OfferedTool]
    reader_id: str
    counted: float | None = None  # its tokens for each that we estimate, as its own tokenizer says


@dataclass(frozen=True)
class Prepared:
    reading: Reading
    factor: float  # the model's tokens for each that is estimated
    tools: Sequence[OfferedTool]  # those whose descriptions fit
    knows_window: bool


def prepare_reading(
    session: Session,
    chat_id: str,
    leaf: str | None,
    model: ForModel,
    *,
    reply_id: str | None = None,
    shrink: float = 1.0,
) -> Prepared:
    """`reply_id`: the reply that is being written, where one is."""
    chosen, settings = session.execute(
        sa.select(Chat.context_window_size, Chat.settings).where(Chat.id == chat_id)
    ).one()
    window = smaller_window(chosen, model.window)
    factor = find_factor(session, leaf, model, reply_id=reply_id) or model.counted or 1.0
    scale = shrink / factor
    room = int((window - reserve_for_answer(window, settings.max_tokens)) * scale)
    tools = fitting_tools(model.tools, room // 2)
    reading = Reading(
        chat_id,
        leaf,
        model.window,
        model.sees_pictures,
        scale,
        _told_besides(
            about_drafts(session, chat_id, reply_id, model.reader_id), _state_of(session, chat_id), bool(tools)
        ),
        tokens_of_tools(tools),
        records=shrink == 1.0,
    )
    return Prepared(reading, factor, tools, knows_window=bool(chosen or model.window))


def fitting_tools(tools: Sequence[OfferedTool], room: int) -> list[OfferedTool]:
    """Of tools, in their order, those whose descriptions take at most so many tokens together."""
    kept = []
    for tool in tools:
        room -= tokens_of_tools([tool])
        if room >= 0:
            kept.append(tool)
    return kept


def tokens_of_tools(tools: Sequence[OfferedTool]) -> int:
    """About what their descriptions take of the window."""
    described = [[tool.wire_name, tool.tool.description, dict(tool.tool.parameters)] for tool in tools]
    return sum(estimate_tokens(orjson.dumps(one).decode()) for one in described)


def _told_besides(
    drafts: Callable[[int], str] | None, state: str | None, has_tools: bool
) -> Callable[[int], str] | None:
    """What the model is told besides the messages: of drafts, of the chat's state, and how to take what tools give."""
    if drafts is None and state is None and not has_tools:
        return None

    def tell(room: int) -> str:
        about_tools = ABOUT_TOOLS if has_tools else ""
        room -= estimate_tokens(about_tools) if about_tools else 0
        told_state = _as_material(state, room // STATE_SHARE) if state is not None and room >= LEAST_STATE else ""
        room -= estimate_tokens(told_state) if told_state else 0
        return "\n\n".join(filter(None, [drafts(max(0, room)) if drafts else "", told_state, about_tools]))

    return tell


def _state_of(session: Session, chat_id: str) -> str | None:
    state = session.scalar(sa.select(ChatState.state).where(ChatState.chat_id == chat_id))
    return orjson.dumps(state).decode() if state else None


def _as_material(state: str, room: int) -> str:
    words = without_marks(shorten(state, room))
    return f"What is kept of this chat between turns. It is material.\n<chat_state>\n{words}\n</chat_state>"


def sample_to_count(session: Session, leaf: str | None, model: ForModel) -> str | None:
    """Words of the branch for the model's tokenizer, the newest first; None where it is known what the provider counts."""
    if leaf is None or find_factor(session, leaf, model) is not None:
        return None
    rows = BRANCH_TEXTS.all(session, leaf=leaf, links=LINKS_BACK)
    sample = "\n\n".join(row[2] for row in rows if row[2])[:MOST_COUNTED]
    return sample if estimate_tokens(sample) >= LEAST_MEASURED else None


def factor_of(sample: str, counted: int) -> float:
    return _within(counted / estimate_tokens(sample))


def _within(factor: float) -> float:
    return min(max(factor, LEAST_FACTOR), MOST_FACTOR)


def find_factor(session: Session, leaf: str | None, model: ForModel, *, reply_id: str | None = None) -> float | None:
    """How many tokens the provider counted for each that we estimated, at the last request of the same model on the branch; None if
    nobody knows. Requests with pictures say little of words, and are passed over."""
    before = [row[0] for row in BRANCH_RULES.all(session, leaf=leaf, links=LINKS_BACK)] if leaf else []
    rows = session.execute(
        sa.select(Step.request, Step.usage)
        .join(Run, Run.id == Step.run_id)
        .where(
            Run.message_id.in_([*before, *([reply_id] if reply_id else [])]),
            Run.provider == model.provider,
            Run.model_name == model.model_name,
            Step.usage.is_not(None),
        )
        .order_by(Step.id.desc())
        .limit(LINKS_BACK)
    )
    for request, usage in rows:
        if usage and not usage.estimated and not request.pictures and request.estimated_tokens >= LEAST_MEASURED:
            factor = usage.prompt / request.estimated_tokens
            if LEAST_FACTOR / 2 <= factor <= 2 * MOST_FACTOR:  # what is further off was not counted of these words
                return _within(factor)
    return None
