"""Events on `/api/v1/events` other than changes, which entities.py builds from what the features register."""

from pydantic import TypeAdapter
from typing_extensions import TypedDict


class Ready(TypedDict):
    """The stream has started. Data fetched after this event misses no change."""


class Reload(TypedDict):
    """The given event id is too old to resume from. Fetch everything again."""


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


SHARED_EVENT: TypeAdapter[Ready | SharedChange] = TypeAdapter(Ready | SharedChange)
