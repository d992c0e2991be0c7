"""Describe what the next request of a chat would send: each message, how many of its tokens, and why."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

import sqlalchemy as sa
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from tertulia.accounts.actor import Actor
from tertulia.chat.errors import MessageNotFound
from tertulia.chat.models import Message, MessageRole
from tertulia.chat.service import get_chat
from tertulia.context.excerpts import Excerpts
from tertulia.context.messages import ContextMessage, Rule
from tertulia.context.service import ContextPlan, plan_next
from tertulia.context.window import DEFAULT_WINDOW, Reason
from tertulia.ids import ChatId
from tertulia.providers.abilities import abilities_of
from tertulia.providers.configs import split_key
from tertulia.providers.model_catalogue import ModelChoice, ResolvedModel
from tertulia.runs.calls.proposing import MAX_CALLS
from tertulia.runs.request.forecast import ModelForecast, NextRequest, forecast_reply
from tertulia.runs.request.origins import ContextOrigin, read_origins
from tertulia.runs.request.prepare import PreparedPrompt, TargetModel, prepare_prompt
from tertulia.tools.policy import Rules, cost_to_reserve
from tertulia.tools.rules import load_rules
from tertulia.tools.tool_catalogue import ToolCatalogue
from tertulia.tools.tool_set import estimated_cost

EXCERPT = 120
TOKENS_OF_NEW_CHAT = 50  # what is sent before the first message


class SentAsRead(TypedDict):
    """A file of a message. `as_file`: the model gets it as it is, and otherwise its text."""

    name: str
    as_file: bool


class ContextItem(TypedDict):
    """A message of the context. `tokens` counts all of it, `sent_tokens` what is sent of it, `reason` says why.

    `omitted`: characters that are missing of its text, its files and its results.
    """

    message_id: str
    role: MessageRole
    excerpt: str
    tokens: int
    sent_tokens: int
    omitted: int
    files: list[SentAsRead]
    context_rule: Rule
    reason: Reason


class ContextRead(TypedDict):
    """The context of the next request. Tokens are estimates, corrected by the provider's last count.

    `forecast` says what the reply to an empty message costs; null: no model is chosen.
    `items` are the newest part of the branch and earlier pinned messages, oldest first. `older` counts the messages
    before them that are left out. `tools_left_out` counts chosen tools whose descriptions do not fit.
    `applied` holds the ids of the compactions that apply here, and `summary` is the text of one of them. `origins` name
    where the instructions, the model, the tools and the limits come from.
    """

    provider: str | None
    model_name: str | None
    window: int
    reserve: int
    used: int
    system_tokens: int
    forecast: ModelForecast | None
    items: list[ContextItem]
    older: int
    tools_left_out: int
    applied: list[str]
    summary: str | None
    origins: list[ContextOrigin]


def prepare_next(
    session: Session,
    actor: Actor,
    chat_id: str,
    choice: ModelChoice | None,
    resolved: ResolvedModel | None,
    tools_of: ToolCatalogue,
    *,
    leaf: str | None = None,
) -> tuple[PreparedPrompt, int]:
    """Prepare the next request, and return with it the number of chosen tools that do not fit.

    `leaf` is the newest message of a branch; by default the chat's head. Raises MessageNotFound.
    """
    chat = get_chat(session, actor, ChatId(chat_id))
    leaf = find_leaf(session, actor, chat_id, leaf)
    takes_tools = resolved is None or resolved.takes_tools is not False
    keys = chat["settings"]["tools"] if takes_tools else None
    model = TargetModel(
        choice.provider if choice else "",
        choice.model_name if choice else "",
        resolved.context_window if resolved else None,
        resolved is None or resolved.sees_pictures is not False,
        tools_of.load(session, actor.user_id).chosen(keys) if keys else (),
        actor.user_id,
        resolved.echo_target(choice.model_name) if choice and resolved else None,
        abilities_of(split_key(choice.provider)[0], choice.model_name).inputs if choice else frozenset(),
    )
    prepared = prepare_prompt(session, chat_id, leaf, model)
    return prepared, prepared.tools_left_out


def find_leaf(session: Session, actor: Actor, chat_id: str, leaf: str | None) -> str | None:
    """Return the newest message of a branch, by default the chat's head. Raises ChatNotFound and MessageNotFound."""
    chat = get_chat(session, actor, ChatId(chat_id))
    if leaf is not None and session.scalar(sa.select(Message.chat_id).where(Message.id == leaf)) != chat_id:
        raise MessageNotFound
    return leaf or chat["head_message_id"]


def forecast_next(
    session: Session,
    actor: Actor,
    chat_id: str | None,
    tokens: int,
    choice: ModelChoice,
    resolved: ResolvedModel,
    tools_of: ToolCatalogue,
    alternatives: Sequence[ModelChoice] = (),
) -> ModelForecast:
    """Estimate what a reply costs to a message of so many tokens, in a chat or in a new one. Raises ChatNotFound."""
    if chat_id is None:
        request = NextRequest(TOKENS_OF_NEW_CHAT + tokens, resolved.context_window or DEFAULT_WINDOW)
    else:
        prepared, _ = prepare_next(session, actor, chat_id, choice, resolved, tools_of)
        plan = plan_next(session, prepared.source, factor=prepared.factor)
        rules = load_rules(session, actor.user_id)
        request = _next_request(prepared, plan, _tokens_sent(plan) + tokens, rules)
    return forecast_reply(session, actor, chat_id, request, choice, resolved, alternatives)


def _next_request(prepared: PreparedPrompt, plan: ContextPlan, tokens: int, rules: Rules) -> NextRequest:
    # Tools that cost have one price for all their calls. A call that costs more than the rules allow is refused.
    costs = [cost_to_reserve(estimated_cost(tool, {}), rules) for tool in prepared.tools]
    allowed = [cost for cost in costs if cost <= rules.max_cost_per_tool]
    return NextRequest(
        tokens,
        plan.window,
        prepared.max_tokens,
        has_tools=bool(prepared.tools),
        searches=prepared.searches,
        call_costs=allowed,
        most_of_calls=min(MAX_CALLS * max(allowed, default=Decimal(0)), rules.max_cost_per_hour),
    )


def _tokens_sent(plan: ContextPlan) -> int:
    sent = sum(round(plan.factor * item.sent.tokens) for item in plan.planned if item.sent)
    return sent + round(plan.factor * plan.taken)


def read_context(
    session: Session,
    actor: Actor,
    chat_id: str,
    prepared: PreparedPrompt,
    tools_left_out: int,
    choice: ModelChoice | None,
    resolved: ResolvedModel | None,
    excerpts: Excerpts,
) -> ContextRead:
    plan = plan_next(session, replace(prepared.source, excerpts=excerpts), factor=prepared.factor)
    sent = [(item, round(plan.factor * item.sent.tokens) if item.sent else 0) for item in plan.planned]
    taken = round(plan.factor * plan.taken)
    used = _tokens_sent(plan)
    request = _next_request(prepared, plan, used, load_rules(session, actor.user_id))
    return {
        "provider": choice.provider if choice else None,
        "model_name": choice.model_name if choice else None,
        "window": plan.window,
        "reserve": plan.reserve,
        "used": used,
        "system_tokens": sum(tokens for item, tokens in sent if item.message.message_id is None) + taken,
        "forecast": forecast_reply(session, actor, chat_id, request, choice, resolved) if choice and resolved else None,
        "items": [
            {
                "message_id": item.message.message_id,
                "role": MessageRole(item.message.role),
                "excerpt": _excerpt(item.message),
                "tokens": round(plan.factor * item.message.tokens),
                "sent_tokens": tokens,
                "omitted": sum(part.amount for part in item.sent.omissions() if part.kind != "picture")
                if item.sent
                else 0,
                "files": [
                    {"name": file.name, "as_file": file.whole is not None}
                    for file in (item.sent or item.message).files
                    if not file.is_excerpt
                ],
                "context_rule": item.message.rule,
                "reason": item.reason,
            }
            for item, tokens in sent
            if item.message.message_id is not None
        ],
        "older": plan.older,
        "tools_left_out": tools_left_out,
        "applied": [row.id for row in plan.scan.applied() if row.id is not None],
        "summary": plan.scan.summary,
        "origins": read_origins(session, actor, get_chat(session, actor, ChatId(chat_id)), choice, prepared),
    }


def _excerpt(message: ContextMessage) -> str:
    """Return the beginning of a message, or the names of its tools and files if it has no words."""
    text = "\n".join(filter(None, [*(turn.text for turn in message.turns), message.content]))
    names = ", ".join(
        [call.name for turn in message.turns for call in turn.calls] + [file.name for file in message.files]
    )
    return " ".join((text or f"[{names}]")[: 2 * EXCERPT].split())[:EXCERPT]
