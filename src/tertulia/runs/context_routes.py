"""What the next request of a chat would send, over HTTP: each message, how much of it, and why."""

from decimal import Decimal
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session
from starlette.responses import Response
from typing_extensions import TypedDict

from tertulia import clock
from tertulia.accounts.actor import Actor
from tertulia.accounts.caller import Caller, CallerDep, CommandDep
from tertulia.chat.errors import ChatNotFound
from tertulia.chat.models import MessageRole, OptimizationType
from tertulia.chat.schemas import ContextOptimizationRead
from tertulia.chat.service import get_chat
from tertulia.context.service import ContextPlan, Reading, plan_next
from tertulia.context.window import Rule, Why
from tertulia.errors import AppError
from tertulia.http.answers import json_response
from tertulia.http.limits import TryLimit
from tertulia.http.paging import Cursors, CursorText, Limit, Page
from tertulia.http.routing import Access, Routes
from tertulia.ids import AnyId, ChatId, ContextOptimizationId
from tertulia.providers.catalogue import ModelCatalogue, ModelChoice, Resolved
from tertulia.providers.errors import NoModel
from tertulia.providers.prices import cost_of
from tertulia.providers.protocol import Usage
from tertulia.providers.routes import get_default_model
from tertulia.runs import summaries
from tertulia.runs.drafts import about_drafts
from tertulia.runs.requests import measured_factor, tell_about, tokens_of_tools
from tertulia.runs.summaries import Summarizer
from tertulia.tools.catalogue import ToolCatalogue
from tertulia.tools.models import storable

EXCERPT = 120
SUMMARIES_A_MINUTE = 10


class OptimizeNow(BaseModel):
    model_config = ConfigDict(extra="forbid")

    optimization_type: OptimizationType


class SummaryUpdate(BaseModel):
    model_config = ConfigDict(extra="forbid")

    summary: Annotated[str, Field(min_length=1, max_length=summaries.MAX_SUMMARY), AfterValidator(storable)]


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
    optimization_id: str | None
    summary: str | None


def context_routes(
    cursors: Cursors, catalogue: ModelCatalogue, tools_of: ToolCatalogue, summarizer: Summarizer
) -> Routes:
    routes = Routes("context")
    tries = TryLimit(SUMMARIES_A_MINUTE, 60)

    async def choose(caller: Caller, chat_id: str) -> tuple[ModelChoice | None, Resolved | None]:
        """The model that the next request of a chat would go to, for whoever asks."""

        def find(session: Session, actor: Actor) -> ModelChoice | None:
            chat = get_chat(session, ChatId(chat_id), actor=actor)
            default = get_default_model(session, actor=actor)
            try:
                known = catalogue.known(session, actor=actor)
                return known.choose(chat["provider"], chat["model_name"], default)
            except AppError:  # the model is gone, or there is none: the window is still of use
                return None

        choice = await caller.read(find)
        return choice, await _resolved(catalogue, await caller.actor(), choice)

    def reading_of(
        session: Session, chat_id: str, choice: ModelChoice | None, resolved: Resolved | None, *, actor: Actor
    ) -> tuple[Reading, float]:
        chat = get_chat(session, ChatId(chat_id), actor=actor)
        head = chat["head_message_id"]
        takes_tools = resolved is None or resolved.takes_tools is not False
        keys = chat["settings"]["tools"] if takes_tools else None
        tools = tools_of.load(session, actor.user_id).chosen(keys) if keys else []
        factor = measured_factor(session, head, choice.provider, choice.model_name) if choice else 1.0
        reading = Reading(
            chat_id,
            head,
            resolved.context_window if resolved else None,
            resolved is None or resolved.sees_pictures is not False,
            1 / factor,
            tell_about(about_drafts(session, chat_id, None, actor.user_id), tools),
            tokens_of_tools(tools),
        )
        return reading, factor

    @routes.add("GET", "/chats/{chat_id}/context", access=Access.SIGNED_IN, gives=ContextRead, problems=(404,))
    async def get_context(caller: CallerDep, chat_id: AnyId) -> Response:
        """What the next request would send, before what is written next."""
        choice, resolved = await choose(caller, chat_id)

        def plan(session: Session, actor: Actor) -> ContextPlan:
            reading, factor = reading_of(session, chat_id, choice, resolved, actor=actor)
            return plan_next(session, reading, factor=factor)

        return json_response(_read(await caller.read_long(plan), choice, resolved))

    @routes.add(
        "GET",
        "/chats/{chat_id}/context-optimizations",
        access=Access.SIGNED_IN,
        gives=Page[ContextOptimizationRead],
        problems=(404,),
    )
    async def get_optimizations(
        caller: CallerDep, chat_id: AnyId, limit: Limit = 50, cursor: CursorText = None
    ) -> Response:
        """Each time that the context was made shorter, the newest first, those that were undone among them."""
        kind = f"context-optimizations.{chat_id}"
        last = cursors.decode_id(kind, cursor)
        found = await caller.read(
            lambda session, actor: summaries.list_optimizations(
                session, ChatId(chat_id), actor=actor, before=last, limit=limit + 1
            )
        )
        return json_response(cursors.page(kind, found, limit))

    @routes.add(
        "POST",
        "/chats/{chat_id}/context-optimizations",
        access=Access.SIGNED_IN,
        gives=ContextOptimizationRead,
        status=201,
        problems=(404, 409, 429),
    )
    async def post_optimization(caller: CommandDep, chat_id: AnyId, wish: OptimizeNow) -> Response:
        """Make the context shorter now. A summary is asked of the chat's model, which may take a minute and costs what it costs."""
        choice, resolved = await choose(caller, chat_id)
        if wish.optimization_type is not OptimizationType.SUMMARIZATION:

            def shorten(session: Session, actor: Actor) -> ContextOptimizationRead:
                reading, _ = reading_of(session, chat_id, choice, resolved, actor=actor)
                model_name = choice.model_name if choice else None
                return summaries.optimize_now(
                    session, reading, wish.optimization_type, resolved, model_name, actor=actor
                )

            return await caller.command(201, shorten)
        actor = await caller.actor()
        tries.take(actor.user_id)
        if choice is None or resolved is None:
            raise NoModel

        def look(session: Session, actor: Actor) -> Reading:
            if not get_chat(session, ChatId(chat_id), actor=actor)["permissions"]["can_write"]:
                raise ChatNotFound
            return reading_of(session, chat_id, choice, resolved, actor=actor)[0]

        reading = await caller.read(look)
        row_id = await summarizer.summarize_now(reading, resolved, choice.provider, choice.model_name, actor=actor)
        return await caller.command(201, lambda session, _: summaries.get_optimization(session, row_id))

    @routes.add(
        "PATCH",
        "/chats/{chat_id}/context-optimizations/{optimization_id}",
        access=Access.SIGNED_IN,
        gives=ContextOptimizationRead,
        problems=(404, 409),
    )
    async def patch_optimization(
        caller: CommandDep, chat_id: AnyId, optimization_id: AnyId, update: SummaryUpdate
    ) -> Response:
        """Change the words of a summary."""
        return await caller.command(
            200,
            lambda session, actor: summaries.edit_summary(
                session, ChatId(chat_id), ContextOptimizationId(optimization_id), update.summary, actor=actor
            ),
        )

    @routes.add(
        "DELETE",
        "/chats/{chat_id}/context-optimizations/{optimization_id}",
        access=Access.SIGNED_IN,
        status=204,
        problems=(404,),
    )
    async def delete_optimization(caller: CommandDep, chat_id: AnyId, optimization_id: AnyId) -> Response:
        """Undo it: its messages are sent again, as far as they fit."""
        return await caller.command(
            204,
            lambda session, actor: summaries.undo_optimization(
                session, ChatId(chat_id), ContextOptimizationId(optimization_id), actor=actor
            ),
        )

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
        "optimization_id": plan.stop.id if plan.stop else None,
        "summary": plan.stop.summary if plan.stop else None,
    }
