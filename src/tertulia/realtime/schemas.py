"""The closed set of events on `/api/v1/events`."""

from typing import Any, Literal

from pydantic import TypeAdapter
from typing_extensions import TypedDict

from tertulia.realtime.models import Operation


class Ready(TypedDict):
    """The stream has begun: what is fetched after this misses nothing."""


class Reload(TypedDict):
    """The given id is too old to catch up from: fetch everything anew."""


class ChangeEvent(TypedDict):
    """`payload` is the thing as the API gives it, or null when it is large: fetch it then."""

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
    """Somebody has the chat open, for the next 30 seconds or until they leave. Not stored, and not told again."""

    chat_id: str
    user: PresentUser
    is_typing: bool
    is_leaving: bool


class SharedChange(TypedDict):
    """To a stranger: that something of the chat or draft changed, to be fetched as strangers see it."""


ServerEvent = Ready | Reload | ChangeEvent | PresenceEvent
SHARED_EVENT: TypeAdapter[Ready | SharedChange] = TypeAdapter(Ready | SharedChange)
SERVER_EVENT: TypeAdapter[ServerEvent] = TypeAdapter(ServerEvent)
