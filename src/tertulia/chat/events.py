"""The entities of chats: the kinds of objects whose changes are published."""

from tertulia.chat.schemas import ChatRead, MessageRead, StateRead, TagRead
from tertulia.realtime.entities import Entity

CHAT = Entity("chat", ChatRead, is_shared=True)
MESSAGE = Entity("message", MessageRead, is_shared=True)
TAG = Entity("tag", TagRead)
CHAT_STATE = Entity("chat_state", StateRead, is_shared=True)
ENTITIES = (
    CHAT,
    MESSAGE,
    TAG,
    CHAT_STATE,
)
