"""Errors of billing."""

from datetime import datetime

from tertulia import clock
from tertulia.errors import Invalid, TooMany


class TooManyGroups(Invalid):
    code = "too_many_groups"

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"The result has more than {limit} groups. Choose a shorter period, or group by fewer fields.",
            field="group_by",
            limit=limit,
        )


class MessageLimitReached(TooMany):
    code = "message_limit_reached"

    def __init__(self, limit: int, reset_at: datetime) -> None:
        wait = max(1, int((reset_at - clock.now()).total_seconds()))
        super().__init__(
            f"You have sent {limit} messages today, which is the operator's limit. This message was not saved. "
            f"The count resets at midnight UTC.",
            retry_after_s=wait,
            limit=limit,
        )
