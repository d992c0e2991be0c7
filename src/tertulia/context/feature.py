"""What prompt assembly contributes to the app: compactions follow the messages that they cover."""

from tertulia.chat.message_hooks import MessageHooks
from tertulia.context.compaction.records import mark_superseded, move_places
from tertulia.context.events import CONTEXT_OPTIMIZATION
from tertulia.features import Feature


def feature() -> Feature:
    return Feature("context", (CONTEXT_OPTIMIZATION, MessageHooks(changed=mark_superseded, removed=move_places)))
