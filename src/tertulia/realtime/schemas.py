"""The closed set of events on `/api/v1/events`."""

from typing import Any, Literal

from pydantic import TypeAdapter
from typing_extensions import TypedDict

from tertulia.realtime.models import Operation


class Ready(TypedDict):
    """The stream has started. Data fetched after this event misses no change."""


class Reload(TypedDict):
    """The given event id is too old to resume from. Fetch everything again."""


class ChangeEvent(TypedDict):
    """`payload` is the object as the API returns it. If it is null, fetch the object."""

    topic: str
    entity: Literal[
        "user",
        "session",
        "api_token",
        "provider_config",
        "chat",
        "tag",
        "message",
        "run",
        "attachment",
        "share",
        "import_job",
        "draft",
        "draft_version",
        "draft_working_copy",
        "proposal",
        "attached_draft",
        "tool_execution",
        "tool_server",
        "auto_approval_setting",
        "chat_state",
        "context_optimization",
    ]
    entity_id: str
    operation: Operation
    payload: dict[str, Any] | None


class PresentUser(TypedDict):
    id: str
    name: str


class PresenceEvent(TypedDict):
    """A user has the chat open, for the next 30 seconds or until they leave. Not stored, and not repeated."""

    chat_id: str
    user: PresentUser
    is_typing: bool
    is_leaving: bool


class SharedChange(TypedDict):
    """Sent to strangers: the chat or draft changed. Fetch it again as strangers see it."""


ServerEvent = Ready | Reload | ChangeEvent | PresenceEvent
SHARED_EVENT: TypeAdapter[Ready | SharedChange] = TypeAdapter(Ready | SharedChange)
SERVER_EVENT: TypeAdapter[ServerEvent] = TypeAdapter(ServerEvent)
