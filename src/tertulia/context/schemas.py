"""What the API sends about compactions."""

from datetime import datetime
from decimal import Decimal

from typing_extensions import TypedDict

from tertulia.chat.models import OptimizationType
from tertulia.context.models import TriggerReason


class ContextOptimizationRead(TypedDict):
    """A compaction of the context. On branches that contain the leaf it affects all messages up to the boundary.

    Tokens are estimates for the messages that were read. `saved_cost` is saved by each request; `note` says why the
    result differs from what was requested.
    """

    id: str
    chat_id: str
    trigger_reason: TriggerReason
    optimization_type: OptimizationType
    boundary_message_id: str
    leaf_message_id: str
    tokens_before: int
    tokens_after: int
    summary: str | None
    is_edited: bool
    affected_messages: list[str]
    provider: str | None
    model_name: str | None
    cost: Decimal | None
    saved_cost: Decimal | None
    note: str | None
    is_superseded: bool
    reverted_at: datetime | None
    created_at: datetime
    updated_at: datetime
