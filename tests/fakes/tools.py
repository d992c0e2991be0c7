"""Tools that do what a test needs: record calls, wait, cost, fail, and return too much."""

import asyncio
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from tertulia.tools.protocol import Risk, Tool, ToolContext, ToolFailed, ToolResult


class Recorder(Tool):
    """Does what its argument `do` says, and records every call."""

    description = "Do something for a test."
    parameters: Mapping[str, Any] = {
        "type": "object",
        "properties": {"do": {"type": "string"}, "cost": {"type": "string"}, "text": {"type": "string"}},
        "additionalProperties": False,
    }

    def __init__(
        self, name: str = "record", *, timeout_s: float = 60.0, risk: Risk = Risk.HIGH, sends_out: bool = False
    ) -> None:
        self.name = name
        self.sends_out = sends_out
        self.timeout_s = timeout_s
        self.risk = risk
        self.calls: list[dict[str, Any]] = []
        self.cancelled = 0
        self.running = 0
        self.most_running = 0
        self.released = asyncio.Event()

    def estimate_cost(self, arguments: Mapping[str, Any]) -> Decimal | None:
        return None if arguments.get("cost") == "unknown" else Decimal(arguments.get("cost", "0"))

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolResult:
        self.calls.append(dict(arguments))
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            match arguments.get("do"):
                case "wait":
                    await self.released.wait()
                case "pause":
                    await asyncio.sleep(0.05)
                case "refuse":
                    raise ToolFailed("No such thing is to be had.")
                case "crash":
                    raise ZeroDivisionError("secret details")
                case "expensive":
                    return ToolResult("expensive", cost=Decimal(5))
                case "odd":
                    return ToolResult("odd", cost=0.01)  # type: ignore[arg-type]
                case "give up":
                    raise asyncio.CancelledError
                case "flood":
                    return ToolResult("x" * 400_000)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1
        return ToolResult(f"done: {arguments.get('text', '')}")
