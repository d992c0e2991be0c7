"""Choose the model of a reply: of the chat, else of its project, else the person's own default."""

from sqlalchemy.orm import Session

from tertulia.accounts.actor import Actor
from tertulia.accounts.service import get_preferences
from tertulia.projects.queries import find_defaults
from tertulia.providers.model_catalogue import KnownModels, ModelChoice


def choose_model(
    session: Session,
    actor: Actor,
    known: KnownModels,
    project_id: str | None,
    provider: str | None = None,
    model_name: str | None = None,
) -> ModelChoice:
    """Return the model for a chat of this project with this choice. Raises ModelUnknown.

    The model of a project may be one that only its owner has. Other members then use their own default.
    """
    if provider is None and model_name is None:
        of_project = find_defaults(session, project_id, actor.user_id).default_model
        if of_project is not None:
            choice = known.choose(None, None, of_project)
            if f"{choice.provider}/{choice.model_name}" == of_project:
                return choice
    return known.choose(provider, model_name, get_preferences(session, actor).default_model)
