"""Wire shapes of what was used and what it cost."""

from datetime import datetime
from decimal import Decimal

from typing_extensions import TypedDict


class UsageSum(TypedDict):
    """`cost` is what is known, in dollars; `unknown_cost_replies` says how many replies it leaves out.

    Cached tokens are among the input tokens. Estimated replies are those of which the provider never said what they used.
    """

    replies: int
    input_tokens: int
    output_tokens: int
    total_tokens: int
    cached_tokens: int
    cost: Decimal
    unknown_cost_replies: int
    estimated_replies: int


class UsageGroup(UsageSum):
    """Sums of one group; what it is not grouped by is null. A chat that is gone for good is null too."""

    day: str | None
    provider: str | None
    model_name: str | None
    chat_id: str | None
    chat_title: str | None


class MessageCount(TypedDict):
    """Messages sent today (in UTC); `limit` is null where the operator sets none."""

    count: int
    limit: int | None
    reset_at: datetime


class UsageReport(TypedDict):
    items: list[UsageGroup]
    total: UsageSum
    since: datetime
    until: datetime
    messages_today: MessageCount
