"""Assemble the next request of a chat to a model: its branch, the tools that fit, and the system text."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import orjson
import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia.chat.models import Chat, ChatState, Omission
from tertulia.chat.queries import BRANCH_RULES, BRANCH_TEXTS
from tertulia.context.branch import PromptSource, smaller_window, without_marks
from tertulia.context.cutting import cut
from tertulia.context.messages import Quoted, estimate_tokens
from tertulia.context.window import reserve_for_answer
from tertulia.projects.queries import find_defaults
from tertulia.providers.abilities import InputKind, abilities_of
from tertulia.providers.configs import split_key
from tertulia.providers.echo import EchoTarget
from tertulia.runs.models import Run, Step
from tertulia.runs.request.drafts import drafts_renderer
from tertulia.tools.protocol import OfferedTool
from tertulia.tools.tool_set import ABOUT_TOOLS

MIN_MEASURED = 100  # estimated tokens; in shorter requests the tokens added by the provider distort the factor
MIN_FACTOR, MAX_FACTOR = 0.5, 3.0
MAX_COUNTED = 20_000  # characters of messages sent to a tokenizer
LINKS_BACK = 20  # messages searched backwards for the last reply of the same model
MIN_STATE = 128  # tokens of system text left; with fewer the chat state is omitted
STATE_SHARE = 3  # the chat state takes at most one part in so many of the system text


@dataclass(frozen=True)
class TargetModel:
    """The model of a request, its abilities, and the user who requested it, whose readable drafts are included."""

    provider: str
    model_name: str
    window: int | None  # tokens; None: unknown
    sees_pictures: bool
    tools: Sequence[OfferedTool]
    reader_id: str
    echo: EchoTarget | None = None
    inputs: frozenset[InputKind] = frozenset()  # kinds of files that it takes as they are
    counted: float | None = None  # its tokens per estimated token, according to its tokenizer


@dataclass(frozen=True)
class PreparedPrompt:
    source: PromptSource
    factor: float  # the model's tokens per estimated token
    tools: Sequence[OfferedTool]  # those whose descriptions fit
    tools_left_out: int  # those that have no room
    knows_window: bool
    max_tokens: int | None  # the longest answer that the chat allows
    searches: bool  # whether the vendor's own web search is used


def prepare_prompt(
    session: Session,
    chat_id: str,
    leaf: str | None,
    model: TargetModel,
    *,
    reply_id: str | None = None,
    shrink: float = 1.0,
    web_search: bool | None = None,
) -> PreparedPrompt:
    """Choose the tools that fit and describe the branch to read.

    `reply_id` is the reply being written, if any. `shrink` below 1 uses only that share of the window. `web_search` is
    that of this reply; None: the chat's.
    """
    chosen, settings, project_id = session.execute(
        sa.select(Chat.context_window_size, Chat.settings, Chat.project_id).where(Chat.id == chat_id)
    ).one()
    window = smaller_window(chosen, model.window)
    factor = find_token_factor(session, leaf, model, reply_id=reply_id) or model.counted or 1.0
    scale = shrink / factor
    room = int((window - reserve_for_answer(window, settings.max_tokens)) * scale)
    searches = settings.web_search if web_search is None else web_search
    abilities = abilities_of(split_key(model.provider)[0], model.model_name)
    # The person switched the search on, and the tools may only be there by default.
    wanted = [] if searches and abilities.searches_alone else model.tools
    tools = tools_within(wanted, room // 2)
    source = PromptSource(
        chat_id,
        leaf,
        model.window,
        model.sees_pictures,
        scale,
        _system_text(
            drafts_renderer(session, chat_id, reply_id, model.reader_id), _state_of(session, chat_id), bool(tools)
        ),
        tokens_of_tools(tools),
        records=shrink == 1.0,
        target=model.echo,
        inputs=model.inputs,
        instructions=find_defaults(session, project_id, model.reader_id).instructions,
    )
    return PreparedPrompt(
        source,
        factor,
        tools,
        len(wanted) - len(tools),
        knows_window=bool(chosen or model.window),
        max_tokens=settings.max_tokens,
        searches=bool(searches and abilities.searches) or abilities.always_searches,
    )


def tools_within(tools: Sequence[OfferedTool], room: int) -> list[OfferedTool]:
    """Return the first tools whose descriptions together take at most `room` tokens."""
    kept = []
    for tool in tools:
        room -= tokens_of_tools([tool])
        if room >= 0:
            kept.append(tool)
    return kept


def tokens_of_tools(tools: Sequence[OfferedTool]) -> int:
    """Estimate the tokens of the tools' descriptions."""
    described = [[tool.wire_name, tool.tool.description, dict(tool.tool.parameters)] for tool in tools]
    return sum(estimate_tokens(orjson.dumps(description).decode()) for description in described)


def _system_text(
    drafts: Callable[[int], Quoted] | None, state: str | None, has_tools: bool
) -> Callable[[int], Quoted] | None:
    """Return a function that renders drafts, chat state and rules for tools within a token limit; None if empty."""
    if drafts is None and state is None and not has_tools:
        return None

    def tell(room: int) -> Quoted:
        about_tools = ABOUT_TOOLS if has_tools else ""
        room -= estimate_tokens(about_tools) if about_tools else 0
        kept = _state_block(state, room // STATE_SHARE if room >= MIN_STATE else 0) if state else Quoted("")
        room -= estimate_tokens(kept.text) if kept.text else 0
        shown = drafts(max(0, room)) if drafts else Quoted("")
        text = "\n\n".join(filter(None, [shown.text, kept.text, about_tools]))
        return Quoted(text, shown.missing + kept.missing)

    return tell


def _state_of(session: Session, chat_id: str) -> str | None:
    state = session.scalar(sa.select(ChatState.state).where(ChatState.chat_id == chat_id))
    return orjson.dumps(state).decode() if state else None


def _state_block(state: str, room: int) -> Quoted:
    """Quote what is kept of a chat within so many tokens; without room nothing is quoted."""
    text, omitted = cut(state, room) if room else ("", len(state))
    missing = (Omission(kind="state", amount=omitted),) if omitted else ()
    if not text:
        return Quoted("", missing)
    block = (
        f"What is kept of this chat between turns. It is material.\n<chat_state>\n{without_marks(text)}\n</chat_state>"
    )
    return Quoted(block, missing)


def sample_for_tokenizer(session: Session, leaf: str | None, model: TargetModel) -> str | None:
    """Return text of the branch for the tokenizer, newest first. None if there is too little or the factor is known."""
    if leaf is None or find_token_factor(session, leaf, model) is not None:
        return None
    rows = BRANCH_TEXTS.all(session, leaf=leaf, links=LINKS_BACK)
    sample = "\n\n".join(text for _, _, text, *_ in rows if text)[:MAX_COUNTED]
    return sample if estimate_tokens(sample) >= MIN_MEASURED else None


def token_factor(sample: str, counted: int) -> float:
    return _within(counted / estimate_tokens(sample))


def _within(factor: float) -> float:
    return min(max(factor, MIN_FACTOR), MAX_FACTOR)


def find_token_factor(
    session: Session, leaf: str | None, model: TargetModel, *, reply_id: str | None = None
) -> float | None:
    """Return the provider's tokens per estimated token, from the model's last request on the branch; None if unknown.

    Requests with pictures are skipped, because their tokens say little about text.
    """
    before = [message_id for message_id, *_ in BRANCH_RULES.all(session, leaf=leaf, links=LINKS_BACK)] if leaf else []
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
        is_text = not request.pictures and not any(file.as_file for file in request.files)
        if (
            usage
            and is_text
            and not usage.estimated
            and not usage.web_searches
            and request.estimated_tokens >= MIN_MEASURED
        ):
            factor = usage.prompt / request.estimated_tokens
            if MIN_FACTOR / 2 <= factor <= 2 * MAX_FACTOR:  # a factor further off was not measured on this text
                return _within(factor)
    return None
