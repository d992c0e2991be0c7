"""The current date and time, which models do not know."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from typing_extensions import override

from tertulia import clock
from tertulia.tools.protocol import Risk, Tool, ToolContext, ToolFailed, ToolResult

MAX_DAYS = 366_000


class CurrentTime(Tool):
    name = "current_time"
    description = "Say the date, time and day of the week now, or so many days from now, in a time zone."
    parameters: Mapping[str, Any] = {
        "type": "object",
        "properties": {
            "time_zone": {
                "type": "string",
                "description": "An IANA name; UTC if absent.",
                "examples": ["Europe/Prague"],
            },
            "days_from_now": {"type": "integer", "minimum": -MAX_DAYS, "maximum": MAX_DAYS},
        },
        "additionalProperties": False,
    }
    risk = Risk.READ_ONLY
    timeout_s = 5.0
    sends_out = False
    is_trusted = True

    @override
    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolResult:
        name = arguments.get("time_zone") or "UTC"
        try:
            zone = ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ToolFailed(f"{name[:60]} is not a time zone. Use an IANA name such as Europe/Prague.") from None
        try:
            moment = clock.now().astimezone(zone) + timedelta(days=arguments.get("days_from_now", 0))
        except OverflowError:
            raise ToolFailed("That date is out of range.") from None
        return ToolResult(
            {
                "iso": moment.isoformat(timespec="seconds"),
                "weekday": moment.strftime("%A"),
                "week": moment.isocalendar().week,
                "time_zone": name,
            },
            "json",
        )
