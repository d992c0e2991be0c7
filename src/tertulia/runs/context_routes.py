"""What the next request of a chat would send, over HTTP: each message, how much of it, and why."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session
from starlette.responses import Response

from tertulia.accounts.actor import Actor
from tertulia.accounts.caller import Caller, CallerDep, CommandDep
from tertulia.chat.errors import ChatNotFound
from tertulia.chat.models import OptimizationType
from tertulia.chat.schemas import ContextOptimizationRead
from tertulia.chat.service import get_chat
from tertulia.context.branch import Reading
from tertulia.errors import AppError
from tertulia.http.answers import json_response
from tertulia.http.limits import TryLimit
from tertulia.http.paging import Cursors, CursorText, Limit, Page
from tertulia.http.routing import Access, Routes
from tertulia.ids import AnyId, ChatId, ContextOptimizationId
from tertulia.providers.catalogue import ModelCatalogue, ModelChoice, Resolved
from tertulia.providers.errors import NoModel
from tertulia.providers.routes import get_default_model
from tertulia.runs import optimizations
from tertulia.runs.context_read import ContextRead, prepare_next, read_context
from tertulia.runs.summaries import MAX_SUMMARY, Summarizer
from tertulia.tools.catalogue import ToolCatalogue
from tertulia.tools.models import storable

SUMMARIES_A_MINUTE = 10


class OptimizeNow(BaseModel):
    model_config = ConfigDict(extra="forbid")

    optimization_type: OptimizationType
    leaf: AnyId | None = None  # the newest message of the branch that is meant; else the one that the chat shows


class SummaryUpdate(BaseModel):
    model_config = ConfigDict(extra="forbid")

    summary: Annotated[str, Field(min_length=1, max_length=MAX_SUMMARY), AfterValidator(storable)]


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

    @routes.add("GET", "/chats/{chat_id}/context", access=Access.SIGNED_IN, gives=ContextRead, problems=(404,))
    async def get_context(caller: CallerDep, chat_id: AnyId, leaf: AnyId | None = None) -> Response:
        """What the next request would send, before what is written next: of the branch that ends in `leaf`, or of the one that the
        chat shows."""
        choice, resolved = await choose(caller, chat_id)

        def read(session: Session, actor: Actor) -> ContextRead:
            prepared, without = prepare_next(session, chat_id, choice, resolved, tools_of, actor=actor, leaf=leaf)
            return read_context(session, prepared, without, choice, resolved)

        return json_response(await caller.read_long(read))

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
            lambda session, actor: optimizations.list_optimizations(
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
            price = resolved.price(choice.model_name) if resolved and choice else None

            def shorten(session: Session, actor: Actor) -> ContextOptimizationRead:
                prepared, _ = prepare_next(session, chat_id, choice, resolved, tools_of, actor=actor, leaf=wish.leaf)
                return optimizations.optimize_now(
                    session, prepared.reading, wish.optimization_type, price=price, actor=actor
                )

            return await caller.command(201, shorten)
        if (again := await caller.answered_before()) is not None:
            return again
        actor = await caller.actor()
        tries.take(actor.user_id)
        if choice is None or resolved is None:
            raise NoModel

        def look(session: Session, actor: Actor) -> Reading:
            if not get_chat(session, ChatId(chat_id), actor=actor)["permissions"]["can_write"]:
                raise ChatNotFound
            return prepare_next(session, chat_id, choice, resolved, tools_of, actor=actor, leaf=wish.leaf)[0].reading

        reading = await caller.read(look)
        row_id = await summarizer.summarize_now(reading, resolved, choice.provider, choice.model_name, actor=actor)
        return await caller.command(201, lambda session, _: optimizations.get_optimization(session, row_id))

    @routes.add(
        "DELETE", "/chats/{chat_id}/context-optimizations", access=Access.SIGNED_IN, status=204, problems=(404,)
    )
    async def delete_optimizations(caller: CommandDep, chat_id: AnyId) -> Response:
        """Undo all of them: everything is sent again, as far as it fits."""
        return await caller.command(
            204, lambda session, actor: optimizations.undo_all(session, ChatId(chat_id), actor=actor)
        )

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
            lambda session, actor: optimizations.edit_summary(
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
            lambda session, actor: optimizations.undo_optimization(
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
