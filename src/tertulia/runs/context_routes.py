"""What the next request of a chat would send, over HTTP: each message, how much of it, and why."""

from decimal import Decimal

from sqlalchemy.orm import Session
from starlette.responses import Response
from typing_extensions import TypedDict

from tertulia import clock
from tertulia.accounts.actor import Actor
from tertulia.accounts.caller import CallerDep
from tertulia.chat.models import MessageRole
from tertulia.chat.service import get_chat
from tertulia.context.service import ContextPlan, plan_next
from tertulia.context.window import Rule, Why
from tertulia.errors import AppError
from tertulia.http.answers import json_response
from tertulia.http.routing import Access, Routes
from tertulia.ids import AnyId, ChatId
from tertulia.providers.catalogue import ModelCatalogue, ModelChoice, Resolved
from tertulia.providers.prices import cost_of
from tertulia.providers.protocol import Usage
from tertulia.providers.routes import get_default_model
from tertulia.runs.drafts import about_drafts
from tertulia.runs.requests import measured_factor, tell_about, tokens_of_tools
from tertulia.tools.catalogue import ToolCatalogue

EXCERPT = 120


class ContextItem(TypedDict):
    """A message: `tokens` of it all, `sent_tokens` of what goes, 0 for nothing; `why` it is so."""

    message_id: str
    role: MessageRole
    excerpt: str
    tokens: int
    sent_tokens: int
    context_rule: Rule
    why: Why


class ContextRead(TypedDict):
    """Tokens are estimates, corrected by what the provider counted at the last reply. `forecast_cost` is of what is sent and the longest answer, in dollars; null: nobody knows.

    `items` are the newest part of the branch on show and what is pinned before it, oldest first; `older` further ones are left out.
    """

    provider: str | None
    model_name: str | None
    window: int
    reserve: int
    used: int
    system_tokens: int
    forecast_cost: Decimal | None
    items: list[ContextItem]
    older: int


def context_routes(catalogue: ModelCatalogue, tools_of: ToolCatalogue) -> Routes:
    routes = Routes("context")

    @routes.add("GET", "/chats/{chat_id}/context", access=Access.SIGNED_IN, gives=ContextRead, problems=(404,))
    async def get_context(caller: CallerDep, chat_id: AnyId) -> Response:
        """What the next request would send, before what is written next."""

        def choose(session: Session, actor: Actor) -> ModelChoice | None:
            chat = get_chat(session, ChatId(chat_id), actor=actor)
            default = get_default_model(session, actor=actor)
            try:
                known = catalogue.known(session, actor=actor)
                return known.choose(chat["provider"], chat["model_name"], default)
            except AppError:  # the model is gone, or there is none: the window is still of use
                return None

        choice = await caller.read(choose)
        actor = await caller.actor()
        resolved = await _resolved(catalogue, actor, choice)

        def plan(session: Session, actor: Actor) -> ContextPlan:
            chat = get_chat(session, ChatId(chat_id), actor=actor)
            head = chat["head_message_id"]
            takes_tools = resolved is None or resolved.takes_tools is not False
            keys = chat["settings"]["tools"] if takes_tools else None
            tools = tools_of.load(session, actor.user_id).chosen(keys) if keys else []
            factor = measured_factor(session, head, choice.provider, choice.model_name) if choice else 1.0
            return plan_next(
                session,
                chat_id,
                head,
                model_window=resolved.context_window if resolved else None,
                sees_pictures=resolved is None or resolved.sees_pictures is not False,
                factor=factor,
                about=tell_about(about_drafts(session, chat_id, None, actor.user_id), tools),
                taken=tokens_of_tools(tools),
            )

        return json_response(_read(await caller.read_long(plan), choice, resolved))

    return routes


async def _resolved(catalogue: ModelCatalogue, actor: Actor, choice: ModelChoice | None) -> Resolved | None:
    if choice is None:
        return None
    try:
        return await catalogue.resolve(actor.user_id, choice.provider, choice.model_name)
    except AppError:
        return None


def _read(plan: ContextPlan, choice: ModelChoice | None, resolved: Resolved | None) -> ContextRead:
    sent = [(one, round(plan.factor * one.sent.tokens) if one.sent else 0) for one in plan.planned]
    taken = round(plan.factor * plan.taken)
    used = sum(tokens for _, tokens in sent) + taken
    cost = None
    if resolved is not None and choice is not None:
        cost = cost_of(resolved.vendor, choice.model_name, Usage(used, plan.reserve), at=clock.now())
    return {
        "provider": choice.provider if choice else None,
        "model_name": choice.model_name if choice else None,
        "window": plan.window,
        "reserve": plan.reserve,
        "used": used,
        "system_tokens": sum(tokens for one, tokens in sent if one.message.message_id is None) + taken,
        "forecast_cost": cost,
        "items": [
            {
                "message_id": one.message.message_id,
                "role": MessageRole(one.message.role),
                "excerpt": " ".join(one.message.content[: 2 * EXCERPT].split())[:EXCERPT],
                "tokens": round(plan.factor * one.message.tokens),
                "sent_tokens": tokens,
                "context_rule": one.message.rule,
                "why": one.why,
            }
            for one, tokens in sent
            if one.message.message_id is not None
        ],
        "older": plan.older,
    }
