"""The models that this person can choose from."""

from fastapi.responses import Response
from sqlalchemy import select
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from tertulia.accounts.actor import Actor
from tertulia.accounts.caller import CallerDep
from tertulia.accounts.models import User
from tertulia.http.answers import json_response
from tertulia.http.routing import Access, Routes
from tertulia.providers.catalogue import ModelCatalogue, ModelRead


class ModelList(TypedDict):
    items: list[ModelRead]


def get_default_model(session: Session, *, actor: Actor) -> str | None:
    preferences = session.scalars(select(User.preferences).where(User.id == actor.user_id)).one_or_none()
    return preferences.default_model if preferences else None


def model_routes(catalogue: ModelCatalogue) -> Routes:
    routes = Routes("models")

    @routes.add("GET", "/models", access=Access.SIGNED_IN, gives=ModelList)
    async def get_models(caller: CallerDep) -> Response:
        default = await caller.read(lambda session, actor: get_default_model(session, actor=actor))
        await catalogue.first_read()
        return json_response({"items": catalogue.list_models(default)})

    return routes
