"""Routes for the context and the forecast of a chat's next request."""

from typing import Annotated

from fastapi import Query
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
from tertulia.runs.model_choice import choose_model
from tertulia.runs.request.excerpts import ExcerptFinder
from tertulia.runs.request.forecast import ForecastRead, sum_forecasts, tokens_of_next
from tertulia.runs.request.preview import ContextRead, find_leaf, forecast_next, prepare_next, read_context
from tertulia.runs.schemas import MAX_MODELS
from tertulia.tools.tool_catalogue import ToolCatalogue

routes = Routes("context")
ModelKeys = Annotated[
    list[Annotated[str, Query(min_length=3, max_length=151, pattern="^[^/]+/.+$")]],
    Query(max_length=MAX_MODELS, description="`provider/model`; by default the model of the chat."),
]
MAX_CHARACTERS = 100_000_000
MAX_PICTURES = 1000


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
        return read_context(session, actor, chat_id, prepared, left_out, choice, resolved, excerpts)

    return json_response(await caller.read_long(read))


def _divided(key: str) -> tuple[str, str, str]:
    return key.partition("/")


async def next_model(
    catalogue: ModelCatalogue, caller: Caller, chat_id: str
) -> tuple[ModelChoice | None, ResolvedModel | None]:
    """Return the model of the chat's next request for this caller, as chosen and as resolved; None if unavailable."""

    def find(session: Session, actor: Actor) -> ModelChoice | None:
        chat = get_chat(session, actor, ChatId(chat_id))
        try:
            known = catalogue.known(session, actor)
            return choose_model(session, actor, known, chat["project_id"], chat["provider"], chat["model_name"])
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


@routes.add("GET", "/forecast", access=Access.SIGNED_IN, gives=ForecastRead, problems=(404, 422))
async def get_message_forecast(
    caller: CallerDep,
    chat_id: AnyId | None = None,
    models: ModelKeys = [],  # noqa: B006 - FastAPI copies it
    characters: Annotated[int, Query(ge=0, le=MAX_CHARACTERS)] = 0,
    pictures: Annotated[int, Query(ge=0, le=MAX_PICTURES)] = 0,
    cheaper: bool = False,
) -> Response:
    """Estimate what the next message costs, of a chat or of a new one, if these models reply to it.

    `characters` are those of the message and of its files. `cheaper` also names a cheaper model of the same provider.
    """
    catalogue = caller.service(ModelCatalogue)

    def choose(session: Session, actor: Actor) -> tuple[list[ModelChoice], list[list[ModelChoice]]]:
        chat = get_chat(session, actor, ChatId(chat_id)) if chat_id is not None else None
        known = catalogue.known(session, actor)
        if models:
            chosen = [known.choose(provider, name, None) for provider, _, name in map(_divided, dict.fromkeys(models))]
        else:
            of_chat = (chat["project_id"], chat["provider"], chat["model_name"]) if chat else (None, None, None)
            chosen = [choose_model(session, actor, known, *of_chat)]
        return chosen, [known.others_of(choice) if cheaper else [] for choice in chosen]

    chosen, others = await caller.read(choose)
    actor = await caller.actor()
    resolved = [await catalogue.resolve(actor.user_id, choice.provider, choice.model_name) for choice in chosen]

    def forecast(session: Session, actor: Actor) -> ForecastRead:
        tokens, tools = tokens_of_next(characters, pictures), caller.service(ToolCatalogue)
        return sum_forecasts(
            [
                forecast_next(session, actor, chat_id, tokens, choice, model, tools, alternatives)
                for choice, model, alternatives in zip(chosen, resolved, others, strict=True)
            ]
        )

    return json_response(await caller.read_long(forecast))
