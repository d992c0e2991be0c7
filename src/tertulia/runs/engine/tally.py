"""What a reply told of itself on its way, and how it is counted however it ends."""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

from tertulia import clock
from tertulia.chat.models import FinishReason, TokenCount
from tertulia.context.messages import estimate_tokens
from tertulia.providers.catalogue import Resolved
from tertulia.providers.prices import cost_of
from tertulia.providers.protocol import ToolCall, Usage
from tertulia.runs.engine.steps import Outcome
from tertulia.runs.models import RunError, RunStatus

Ending = Literal[RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED, RunStatus.INTERRUPTED]


@dataclass
class Tally:
    """Filled while a run is generated. What the provider never said is estimated, if it did anything at all."""

    model_name: str
    earlier_tokens: int = 0  # of a reply that is continued: counted by the run that wrote them
    resolved: Resolved | None = None
    usage: Usage | None = None
    finish_reason: FinishReason | None = None
    has_begun: bool = False  # the provider sent something for this request
    has_words: bool = False
    sent_tokens: int = 0  # our own count of the request
    calls: list[ToolCall] = field(default_factory=list)  # what the model asked for in this step
    is_at_tools: bool = False  # its last request is answered and counted; what it asked for is decided about or runs

    def begin_step(self, written: str) -> None:
        """The next request of the same reply, which is counted by itself."""
        self.earlier_tokens = estimate_tokens(written) if written else 0
        self.usage, self.finish_reason, self.has_begun, self.sent_tokens = None, None, False, 0
        self.calls, self.is_at_tools = [], False

    def stepped(self, written: str) -> Outcome:
        """The model asks for tools: what this step used, while the reply goes on."""
        return self._outcome(RunStatus.COMPLETED, FinishReason.TOOL_CALLS, None, written)

    def completed(self, written: str) -> Outcome:
        if not self.has_words:
            detail = "The model answered with nothing. Try again, or ask in other words."
            return self.failed(RunError(code="empty_reply", detail=detail), written)
        return self._outcome(RunStatus.COMPLETED, self.finish_reason, None, written)

    def failed(self, error: RunError, written: str) -> Outcome:
        return self._outcome(RunStatus.FAILED, FinishReason.ERROR, error, written)

    def ended_early(self, reasons: list[str], written: str) -> Outcome:
        status: Ending = RunStatus.CANCELLED if "cancelled" in reasons else RunStatus.INTERRUPTED
        return self._outcome(status, FinishReason.INTERRUPTED, None, written)

    def _outcome(self, status: Ending, reason: FinishReason | None, error: RunError | None, written: str) -> Outcome:
        tokens, cost = self._count(written)
        return Outcome(status, reason, error, tokens, cost, self.resolved.config_id if self.resolved else None)

    def _count(self, written: str) -> tuple[TokenCount | None, Decimal | None]:
        if self.resolved is None or not (self.has_begun or self.usage):
            return None, None
        usage = self.usage
        estimated = usage is None or not usage.is_final
        if usage is None or not usage.is_final:
            # Cut off before the count came: what was sent, and what was written of the answer.
            told = usage or Usage(self.sent_tokens, 0)
            output = max(told.output_tokens, estimate_tokens(written) - self.earlier_tokens)
            usage = Usage(told.input_tokens, output, told.cached_tokens, told.cache_write_tokens)
        tokens = TokenCount(
            prompt=usage.input_tokens,
            completion=usage.output_tokens,
            total=usage.input_tokens + usage.output_tokens,
            cached=usage.cached_tokens,
            estimated=estimated,
        )
        return tokens, cost_of(self.resolved.vendor, self.model_name, usage, at=clock.now())
