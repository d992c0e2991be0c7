"""Choose the model of a reply: of the chat, else of its project, else the person's own default."""

from sqlalchemy.orm import Session

from tertulia.accounts.actor import Actor
from tertulia.accounts.service import get_preferences
from tertulia.projects.queries import find_default_model
from tertulia.providers.model_catalogue import KnownModels, ModelChoice


def choose_model(
    session: Session,
    actor: Actor,
    known: KnownModels,
    chat_id: str | None,
    provider: str | None = None,
    model_name: str | None = None,
) -> ModelChoice:
    """Return the model for a chat with this choice, or for a new chat. Raises ModelUnknown.

    The model of a project may be one that only its owner has. Other members then use their own default.
    """
    is_open = chat_id is not None and provider is None and model_name is None
    of_project = find_default_model(session, chat_id, actor.user_id) if chat_id is not None and is_open else None
    if of_project is not None:
        choice = known.choose(None, None, of_project)
        if f"{choice.provider}/{choice.model_name}" == of_project:
            return choice
    return known.choose(provider, model_name, get_preferences(session, actor).default_model)
