"""Say where the instructions, the model, the tools and the limits of a chat's requests come from."""

from decimal import Decimal
from typing import Literal

from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from tertulia.accounts.actor import Actor
from tertulia.accounts.service import get_preferences
from tertulia.billing.errors import WINDOWS, written
from tertulia.billing.limits import Payer, find_quotas
from tertulia.billing.models import QuotaSubject
from tertulia.billing.schemas import MAXIMA
from tertulia.chat.schemas import ChatRead
from tertulia.projects.queries import find_defaults
from tertulia.providers.model_catalogue import ModelChoice
from tertulia.runs.request.prepare import PreparedPrompt

Place = Literal["server", "account", "plan", "project", "chat"]
ORDER: tuple[Place, ...] = ("server", "plan", "account", "project", "chat")
EXCERPT = 200
PLACES: dict[QuotaSubject, Place] = {
    QuotaSubject.USER: "account",
    QuotaSubject.ROLE: "server",
    QuotaSubject.PLAN: "plan",
    QuotaSubject.CHAT: "chat",
    QuotaSubject.TOKEN: "account",
    QuotaSubject.PROJECT: "project",
}


class ContextOrigin(TypedDict):
    """Something that counts for the chat's requests, and the place that it comes from.

    `name` is that of the project. `detail`: the beginning of instructions, the model, how many tools, or the limit.
    """

    kind: Literal["instructions", "model", "tools", "limit"]
    place: Place
    name: str | None
    detail: str


def read_origins(
    session: Session, actor: Actor, chat: ChatRead, choice: ModelChoice | None, prepared: PreparedPrompt
) -> list[ContextOrigin]:
    """Return what counts for the next request, in the order in which it applies. Limits of others show no amounts."""
    of_project = find_defaults(session, chat["project_id"], actor.user_id)
    origins: list[ContextOrigin] = []
    if of_project.instructions:
        origins.append(_origin("instructions", "project", _beginning(of_project.instructions), of_project.name))
    if chat["system_prompt"]:
        origins.append(_origin("instructions", "chat", _beginning(chat["system_prompt"])))
    if choice is not None:
        model = f"{choice.provider}/{choice.model_name}"
        place: Place = "server"
        if chat["model_name"] is not None:
            place = "chat"
        elif model == of_project.default_model:
            place = "project"
        elif model == get_preferences(session, actor).default_model:
            place = "account"
        origins.append(_origin("model", place, choice.model_name, of_project.name if place == "project" else None))
    if prepared.tools:
        origins.append(_origin("tools", "chat", str(len(prepared.tools))))
    quotas, _ = find_quotas(session, Payer(actor.user_id, chat["id"]))
    for quota in sorted(quotas, key=lambda quota: (ORDER.index(PLACES[quota.subject[0]]), quota.id)):
        place = PLACES[quota.subject[0]]
        amounts = [
            written(name.removeprefix("max_").removesuffix("_bytes"), Decimal(value))
            for name in MAXIMA
            if name != "max_storage_bytes" and (value := getattr(quota, name)) is not None
        ]
        if not amounts:
            continue
        is_shown = quota.owner_id in (None, actor.user_id)
        detail = f"{', '.join(amounts)} {WINDOWS[quota.window]}" if is_shown else ""
        origins.append(_origin("limit", place, detail, of_project.name if place == "project" else None))
    return origins


def _origin(
    kind: Literal["instructions", "model", "tools", "limit"], place: Place, detail: str, name: str | None = None
) -> ContextOrigin:
    return {"kind": kind, "place": place, "name": name, "detail": detail}


def _beginning(text: str) -> str:
    return text if len(text) <= EXCERPT else text[: EXCERPT - 1] + "…"
