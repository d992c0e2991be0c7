"""Routes for the context of a chat's next request."""

from sqlalchemy.orm import Session
from starlette.responses import Response

from tertulia.accounts.actor import Actor
from tertulia.accounts.caller import Caller, CallerDep
from tertulia.chat.service import get_chat
from tertulia.errors import AppError
from tertulia.http.responses import json_response
from tertulia.http.routing import Access, Routes
from tertulia.ids import AnyId, ChatId
from tertulia.providers.model_catalogue import ModelCatalogue, ModelChoice, ResolvedModel
from tertulia.providers.routes import get_preferences
from tertulia.runs.request.excerpts import ExcerptFinder
from tertulia.runs.request.preview import ContextRead, find_leaf, prepare_next, read_context
from tertulia.tools.tool_catalogue import ToolCatalogue

routes = Routes("context")


@routes.add("GET", "/chats/{chat_id}/context", access=Access.SIGNED_IN, gives=ContextRead, problems=(404,))
async def get_context(caller: CallerDep, chat_id: AnyId, leaf: AnyId | None = None) -> Response:
    """Return what the next request would send, without the next message. `leaf` ends the branch; else the head."""
    choice, resolved = await next_model(caller.service(ModelCatalogue), caller, chat_id)
    end = await caller.read(find_leaf, chat_id, leaf)
    window = resolved.context_window if resolved else None
    excerpts = await caller.service(ExcerptFinder).find(chat_id, end, window)

    def read(session: Session, actor: Actor) -> ContextRead:
        prepared, left_out = prepare_next(
            session, actor, chat_id, choice, resolved, caller.service(ToolCatalogue), leaf=leaf
        )
        return read_context(session, prepared, left_out, choice, resolved, excerpts)

    return json_response(await caller.read_long(read))


async def next_model(
    catalogue: ModelCatalogue, caller: Caller, chat_id: str
) -> tuple[ModelChoice | None, ResolvedModel | None]:
    """Return the model of the chat's next request for this caller, as chosen and as resolved; None if unavailable."""

    def find(session: Session, actor: Actor) -> ModelChoice | None:
        chat = get_chat(session, actor, ChatId(chat_id))
        default = get_preferences(session, actor).default_model
        try:
            models = catalogue.known(session, actor)
            return models.choose(chat["provider"], chat["model_name"], default)
        except AppError:  # the window is still of use
            return None

    choice = await caller.read(find)
    return choice, await _resolved(catalogue, await caller.actor(), choice)


async def _resolved(catalogue: ModelCatalogue, actor: Actor, choice: ModelChoice | None) -> ResolvedModel | None:
    if choice is None:
        return None
    try:
        return await catalogue.resolve(actor.user_id, choice.provider, choice.model_name)
    except AppError:
        return None
