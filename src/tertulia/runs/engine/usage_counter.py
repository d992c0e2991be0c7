"""Count the usage of a reply while it is generated, and build its outcome however it ends."""

import re
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

from tertulia import clock
from tertulia.chat.models import FinishReason, TokenCount
from tertulia.chat.parts import MAX_PASSAGES, SourcePart, storable
from tertulia.context.messages import estimate_tokens
from tertulia.providers.model_catalogue import ResolvedModel
from tertulia.providers.protocol import Citation, ToolCall, Usage
from tertulia.runs.engine.steps import Outcome
from tertulia.runs.models import RunError, RunStatus

MAX_URL, MAX_TITLE, MAX_PAGES = 2000, 500, 200
MAX_PASSAGE, MAX_PASSAGES_BYTES = 2000, 100_000  # characters of one passage, and of all of a step
MAX_CITATIONS = 2000
Ending = Literal[RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED, RunStatus.INTERRUPTED]


# Why a reply can be empty, by the reason to finish.
EMPTY: dict[FinishReason | None, str] = {
    FinishReason.CONTENT_FILTER: "The provider blocked the reply by its rules.",
    FinishReason.LENGTH: "The model used the whole length of its reply for thinking. Raise the limit, or choose less effort.",
}


@dataclass
class AnswerBudget:
    """The tokens that are left for an answer, where a quota limits it.

    The provider is asked to stop there. This also stops a provider that does not, by our own count. `is_tight`: the
    answer gets less than it could need, so that its end there is the end of the budget.
    """

    left: int
    is_tight: bool
    words_at_end: str | None = None  # which limit it is, and what to do
    uncounted: list[str] = field(default_factory=list)
    characters: int = 0  # uncounted

    def spend(self, text: str) -> None:
        self.uncounted.append(text)
        self.characters += len(text)
        # At most as many characters are left uncounted as tokens are left, so that nothing is passed unnoticed.
        if self.characters >= min(COUNTED_AT_ONCE, self.left):
            self.left -= estimate_tokens("".join(self.uncounted))
            self.uncounted, self.characters = [], 0


COUNTED_AT_ONCE = 200  # characters: single tokens would be counted too high
BUDGET_REACHED = RunError(
    code="quota_reached",
    detail="The answer stopped where a limit of your use is reached. Its text is kept. Raise the limit, or wait until it "
    "resets, and continue.",
)


@dataclass
class UsageCounter:
    """The usage of a run, filled while it is generated. It is estimated if the provider began but reported none."""

    model_name: str
    earlier_tokens: int = 0  # of a continued reply: already counted before
    resolved: ResolvedModel | None = None
    usage: Usage | None = None
    finish_reason: FinishReason | None = None
    has_begun: bool = False  # the provider sent something for this request
    has_words: bool = False
    sent_tokens: int = 0  # our estimate for the request
    calls: list[ToolCall] = field(default_factory=list)  # proposed by the model in this step
    turn_echo: Any = None  # what the vendor requires back with this step
    citations: list[Citation] = field(default_factory=list)  # of this step, in order
    has_refused: bool = False
    has_searched: bool = False  # the vendor's search brought something into the reply
    files: int = 0  # made in this step
    asked_at: datetime | None = None  # when this step was asked for
    budget: AnswerBudget | None = None  # of this step; None: nothing limits it
    pictures_left_out: int = 0  # because the model refused them
    is_executing_tools: bool = False  # the last request is counted; its calls are being decided or executed

    def begin_step(self, written: str) -> None:
        """Reset the counters for the next request of the same reply, which is counted separately."""
        self.earlier_tokens = estimate_tokens(written) if written else 0
        self.usage, self.finish_reason, self.has_begun, self.sent_tokens = None, None, False, 0
        self.calls, self.turn_echo, self.is_executing_tools = [], None, False
        self.citations, self.has_refused, self.files, self.budget = [], False, 0, None

    def spend(self, text: str) -> None:
        if self.budget is not None:
            self.budget.spend(text)

    @property
    def is_over_budget(self) -> bool:
        return self.budget is not None and self.budget.left <= 0

    @property
    def _stopped_at_budget(self) -> bool:
        """Return whether the answer ended because of a quota: here, or at the length that the provider was asked for."""
        return self.finish_reason is FinishReason.BUDGET or (
            self.budget is not None and self.budget.is_tight and self.finish_reason is FinishReason.LENGTH
        )

    @property
    def reason_at_end_of_budget(self) -> FinishReason:
        return FinishReason.BUDGET if self.budget is not None and self.budget.is_tight else FinishReason.LENGTH

    def cited_pages(self) -> list[SourcePart]:
        """Return the pages that this step cites, each once, with the passages that cite it. Return them only once."""
        pages: dict[str, SourcePart] = {}
        left = MAX_PASSAGES_BYTES
        for citation in self.citations:
            url = storable(citation.url)
            if not re.match("https?://", url) or len(url) > MAX_URL:
                continue
            if url not in pages and len(pages) == MAX_PAGES:
                break
            title = storable(citation.title[:MAX_TITLE]) if citation.title else None
            page = pages.setdefault(url, SourcePart(url=url, title=title))
            text = citation.text
            fits = 0 < len(text) <= min(MAX_PASSAGE, left) and len(page.passages) < MAX_PASSAGES
            if fits and (passage := storable(text)) not in page.passages:
                page.passages.append(passage)
                left -= len(passage)
        self.citations = []
        return list(pages.values())

    @property
    def is_from_web(self) -> bool:
        return self.has_searched or (self.usage is not None and self.usage.web_searches > 0)

    def step_outcome(self, written: str) -> Outcome:
        """Return the outcome of a step that ended with tool calls. The reply continues."""
        return self._outcome(RunStatus.COMPLETED, FinishReason.TOOL_CALLS, None, written)

    def budget_outcome(self, error: RunError, written: str, *, has_reply: bool) -> Outcome:
        """Return the outcome of a reply that a quota stopped: interrupted if some of it is there, failed otherwise."""
        status: Ending = RunStatus.INTERRUPTED if has_reply else RunStatus.FAILED
        return self._outcome(status, FinishReason.BUDGET, error, written)

    def completed_outcome(self, written: str) -> Outcome:
        if self._stopped_at_budget:
            words = self.budget.words_at_end if self.budget is not None else None
            error = BUDGET_REACHED if words is None else RunError(code=BUDGET_REACHED.code, detail=words)
            return self.budget_outcome(error, written, has_reply=self.has_words)
        if not self.has_words:
            detail = EMPTY.get(self.finish_reason, "The model returned an empty reply.")
            detail += " Try again, or rephrase your message."
            return self.failed_outcome(RunError(code="empty_reply", detail=detail), written)
        outcome = self._outcome(RunStatus.COMPLETED, self.finish_reason, None, written)
        if self.resolved is None or self.turn_echo is None:
            return outcome
        return replace(outcome, echo=self.resolved.echo_target(self.model_name).mark(self.turn_echo))

    def failed_outcome(self, error: RunError, written: str) -> Outcome:
        return self._outcome(RunStatus.FAILED, FinishReason.ERROR, error, written)

    def early_outcome(self, reasons: list[str], written: str) -> Outcome:
        status: Ending = RunStatus.CANCELLED if "cancelled" in reasons else RunStatus.INTERRUPTED
        return self._outcome(status, FinishReason.INTERRUPTED, None, written)

    def _outcome(self, status: Ending, reason: FinishReason | None, error: RunError | None, written: str) -> Outcome:
        tokens, cost = self._count(written)
        config_id = self.resolved.config_id if self.resolved else None
        return Outcome(status, reason, error, tokens, cost, config_id, pictures_left_out=self.pictures_left_out)

    def _count(self, written: str) -> tuple[TokenCount | None, Decimal | None]:
        if self.resolved is None or not (self.has_begun or self.usage):
            return None, None
        usage = self.usage
        estimated = usage is None or not usage.is_final
        if usage is None or not usage.is_final:
            # It ended before the final usage arrived: count the request and the text written so far.
            partial = usage or Usage(self.sent_tokens, 0)
            output = max(partial.output_tokens, estimate_tokens(written) - self.earlier_tokens)
            # What drew its pictures may not be in the counts, and nothing says so before the end.
            usage = replace(partial, output_tokens=output, cost=None, is_unpriced=self.files > 0)
        now = clock.now()
        seconds = (now - self.asked_at).total_seconds() if self.asked_at else 0
        cost = self.resolved.pricing.cost(usage, at=now, seconds=seconds)
        tokens = TokenCount(
            prompt=usage.input_tokens,
            completion=usage.output_tokens,
            total=usage.input_tokens + usage.output_tokens,
            cached=usage.cached_tokens,
            thinking=min(usage.thinking_tokens, usage.output_tokens),
            cache_written=usage.cache_write_tokens,
            web_searches=usage.web_searches,
            cache_savings=self.resolved.pricing.savings(usage, cost, at=now),
            estimated=estimated,
        )
        return tokens, cost
