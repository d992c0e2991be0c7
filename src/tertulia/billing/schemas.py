"""Wire shapes of usage and cost."""

from datetime import datetime
from decimal import Decimal

from typing_extensions import TypedDict


class UsageSum(TypedDict):
    """`cost` is the known cost in dollars. `unknown_cost_replies` is the number of replies that it leaves out.

    Tokens read from a vendor's cache and written to it are included in the input tokens. `cache_savings` is what the
    cache saved in dollars where the price is known, below 0 if writing cost more than reading saved. For estimated replies the provider reported no usage.
    """

    replies: int
    input_tokens: int
    output_tokens: int
    total_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    cache_savings: Decimal
    cost: Decimal
    unknown_cost_replies: int
    estimated_replies: int


class UsageGroup(UsageSum):
    """Sums of one group. Fields that are not grouped by are null, and a permanently deleted chat is null."""

    day: str | None
    provider: str | None
    model_name: str | None
    chat_id: str | None
    chat_title: str | None


class MessageCount(TypedDict):
    """Messages sent today (in UTC). `limit` is null if the operator sets none."""

    count: int
    limit: int | None
    reset_at: datetime


class UsageReport(TypedDict):
    items: list[UsageGroup]
    total: UsageSum
    since: datetime
    until: datetime
    messages_today: MessageCount
