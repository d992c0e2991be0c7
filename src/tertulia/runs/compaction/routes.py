"""Routes for the compactions of a chat: list, create, edit and revert."""

from typing import Annotated

from pydantic import AfterValidator, Field
from sqlalchemy.orm import Session
from starlette.responses import Response

from tertulia.accounts.actor import Actor
from tertulia.accounts.caller import CallerDep, CommandDep
from tertulia.chat.errors import ChatNotFound
from tertulia.chat.models import OptimizationType
from tertulia.chat.service import get_chat
from tertulia.context.branch import PromptSource
from tertulia.context.schemas import ContextOptimizationRead
from tertulia.http.body import RequestModel
from tertulia.http.limits import RateLimit, RateLimits
from tertulia.http.paging import Cursors, CursorText, Limit, Page
from tertulia.http.responses import json_response
from tertulia.http.routing import Access, Routes
from tertulia.ids import AnyId, ChatId, ContextOptimizationId
from tertulia.providers.errors import NoModel
from tertulia.providers.model_catalogue import ModelCatalogue
from tertulia.runs.compaction import service as optimizations
from tertulia.runs.compaction.summarizer import (
    MAX_SUMMARY,
    Summarizer,
    SummaryForecast,
    SummaryRequest,
    forecast_summary,
)
from tertulia.runs.request.preview import prepare_next
from tertulia.runs.request.routes import next_model
from tertulia.tools.models import storable
from tertulia.tools.tool_catalogue import ToolCatalogue

SUMMARIES_A_MINUTE = 10


class OptimizeNow(RequestModel):
    optimization_type: OptimizationType
    leaf: AnyId | None = None  # newest message of the branch; else the head


class SummaryUpdate(RequestModel):
    summary: Annotated[str, Field(min_length=1, max_length=MAX_SUMMARY), AfterValidator(storable)]


routes = Routes("context")


SUMMARIES = RateLimit("summaries", SUMMARIES_A_MINUTE, 60)


@routes.add(
    "GET",
    "/chats/{chat_id}/context-optimizations",
    access=Access.SIGNED_IN,
    gives=Page[ContextOptimizationRead],
    problems=(404,),
)
async def get_optimizations(
    caller: CallerDep, chat_id: ChatId, limit: Limit = 50, cursor: CursorText = None
) -> Response:
    """List the compactions of the chat, newest first, including reverted ones."""
    cursors = caller.service(Cursors)
    kind = f"context-optimizations.{chat_id}"
    last = cursors.decode_id(kind, cursor)
    rows = await caller.read(optimizations.list_optimizations, chat_id, before=last, limit=limit + 1)
    return json_response(cursors.page(kind, rows, limit))


@routes.add(
    "POST",
    "/chats/{chat_id}/context-optimizations",
    access=Access.SIGNED_IN,
    gives=ContextOptimizationRead,
    status=201,
    problems=(404, 409, 429),
)
async def post_optimization(caller: CommandDep, chat_id: ChatId, body: OptimizeNow) -> Response:
    """Compact the context now. A summary is written by the chat's model, which can take minutes and uses tokens."""
    catalogue = caller.service(ToolCatalogue)
    choice, resolved = await next_model(caller.service(ModelCatalogue), caller, chat_id)
    if body.optimization_type is not OptimizationType.SUMMARIZATION:
        price = resolved.price if resolved and choice else None

        def shorten(session: Session, actor: Actor) -> ContextOptimizationRead:
            prepared, _ = prepare_next(session, actor, chat_id, choice, resolved, catalogue, leaf=body.leaf)
            return optimizations.optimize_now(session, actor, prepared.source, body.optimization_type, price=price)

        return await caller.command(201, shorten)
    if (earlier_response := await caller.find_stored_answer()) is not None:
        return earlier_response
    actor = await caller.actor()
    caller.service(RateLimits).take(SUMMARIES, actor.user_id)
    if choice is None or resolved is None:
        raise NoModel

    def look(session: Session, actor: Actor) -> PromptSource:
        if not get_chat(session, actor, chat_id)["permissions"]["can_write"]:
            raise ChatNotFound
        return prepare_next(session, actor, chat_id, choice, resolved, catalogue, leaf=body.leaf)[0].source

    source = await caller.read(look)
    row_id = await caller.service(Summarizer).summarize_now(
        source, resolved, choice.provider, choice.model_name, actor=actor
    )
    return await caller.command(201, lambda session, _: optimizations.get_optimization(session, row_id))


@routes.add(
    "GET",
    "/chats/{chat_id}/context-optimizations/forecast",
    access=Access.SIGNED_IN,
    gives=SummaryForecast,
    problems=(404, 409),
)
async def get_forecast(caller: CallerDep, chat_id: AnyId, leaf: AnyId | None = None) -> Response:
    """Return what a summary would take now. `leaf` is the newest message of the branch; else the chat's head."""
    choice, resolved = await next_model(caller.service(ModelCatalogue), caller, chat_id)
    if choice is None or resolved is None:
        raise NoModel

    def look(session: Session, actor: Actor) -> SummaryForecast:
        prepared, _ = prepare_next(session, actor, chat_id, choice, resolved, caller.service(ToolCatalogue), leaf=leaf)
        summary_request = SummaryRequest(resolved, choice.provider, choice.model_name, actor.user_id)
        return forecast_summary(session, prepared.source, summary_request)

    return json_response(await caller.read_long(look))


@routes.add("DELETE", "/chats/{chat_id}/context-optimizations", access=Access.SIGNED_IN, status=204, problems=(404,))
async def delete_optimizations(caller: CommandDep, chat_id: ChatId) -> Response:
    """Revert all compactions. All messages are sent again, as far as they fit."""
    return await caller.command(204, optimizations.undo_all, chat_id)


@routes.add(
    "PATCH",
    "/chats/{chat_id}/context-optimizations/{optimization_id}",
    access=Access.SIGNED_IN,
    gives=ContextOptimizationRead,
    problems=(404, 409),
)
async def patch_optimization(
    caller: CommandDep, chat_id: ChatId, optimization_id: ContextOptimizationId, update: SummaryUpdate
) -> Response:
    """Replace the text of a summary."""
    return await caller.command(200, optimizations.edit_summary, chat_id, optimization_id, update.summary)


@routes.add(
    "DELETE",
    "/chats/{chat_id}/context-optimizations/{optimization_id}",
    access=Access.SIGNED_IN,
    status=204,
    problems=(404,),
)
async def delete_optimization(caller: CommandDep, chat_id: ChatId, optimization_id: ContextOptimizationId) -> Response:
    """Revert a compaction. Its messages are sent again, as far as they fit."""
    return await caller.command(204, optimizations.undo_optimization, chat_id, optimization_id)
