"""Generate one reply: stream it from the model, save checkpoints, and execute the tool calls it asks for."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from tertulia import clock
from tertulia.billing.errors import QuotaReached
from tertulia.billing.models import PlanFeature
from tertulia.chat.models import FinishReason
from tertulia.chat.parts import ReasoningPart, RefusalPart, TextPart, storable
from tertulia.db import Database
from tertulia.errors import AppError, StorageUnavailable
from tertulia.providers.abilities import abilities_of
from tertulia.providers.configs import split_key
from tertulia.providers.errors import ContextTooLong, MalformedReply, PriceUnknown, ProviderError
from tertulia.providers.model_catalogue import ModelCatalogue, ResolvedModel
from tertulia.providers.protocol import (
    Citation,
    CountingProvider,
    FileOutput,
    Finish,
    ModelRequest,
    PicturesLeftOut,
    Provider,
    ProviderEvent,
    ReasoningDelta,
    Refusal,
    TextDelta,
    TextWasThought,
    ToolCall,
    TurnEcho,
    Usage,
)
from tertulia.runs.calls.life import count_calls, list_approved
from tertulia.runs.calls.proposing import MAX_CALLS, with_echo
from tertulia.runs.calls.runner import ToolRunner
from tertulia.runs.calls.sources import note_search
from tertulia.runs.compaction.summarizer import Summarizer
from tertulia.runs.engine.reply_files import ReplyFiles
from tertulia.runs.engine.steps import (
    Outcome,
    begin_streaming,
    checkpoint,
    end_step,
    suspend_run,
)
from tertulia.runs.engine.usage_counter import MAX_CITATIONS, AnswerBudget, UsageCounter
from tertulia.runs.errors import CancelRequested, FileLost, LeaseLost, TooManyToolCalls
from tertulia.runs.lease import ClaimedRun, with_lease
from tertulia.runs.live import LiveRun
from tertulia.runs.models import RunError
from tertulia.runs.request.build import sample_for_run, start_step
from tertulia.runs.request.excerpts import ExcerptFinder
from tertulia.runs.request.prepare import TargetModel, token_factor
from tertulia.tools.protocol import OfferedTool

# A crash may lose at most one second of text, and storing takes time too.
CHECKPOINT_S = 0.5
# With this many events at once the stream is fast: the next ones are read without a pause.
MANY_EVENTS = 64
COUNT_S = 5.0  # time limit of a tokenizer; after it the estimate is used
# Shares of the window to use after the provider rejected a request as too long: its token count differs from ours.
SHRINKS = (1.0, 0.6, 0.3)
# Pauses before retrying a busy or unavailable provider. It is not retried if it wants more than MAX_PAUSE_S.
RETRY_PAUSES_S = (0.5, 2.0)
MAX_PAUSE_S = 20.0
MAX_REFUSAL = 10_000  # characters
MAX_FILES = 20  # made in one step
UNEXPECTED = RunError(code="internal_error", detail="Something went wrong on the server. The text so far is kept.")
log = logging.getLogger(__name__)
T = TypeVar("T")


class Generation:
    """Generate the reply of one run: ask the model and execute its tool calls in turn until the reply is complete."""

    def __init__(
        self,
        db: Database,
        catalogue: ModelCatalogue,
        tools: ToolRunner,
        summarizer: Summarizer,
        files: ReplyFiles,
        excerpts: ExcerptFinder,
        run: ClaimedRun,
        live: LiveRun,
        usage: UsageCounter,
        *,
        pace_s: Callable[[], float],
    ) -> None:
        self._db = db
        self._catalogue = catalogue
        self._tools = tools
        self._summarizer = summarizer
        self._files = files
        self._excerpts = excerpts
        self._run = run
        self._live = live
        self._usage = usage
        self._pace_s = pace_s

    async def generate(self) -> Outcome | None:
        """Call the model and execute its tool calls in turn until the reply is complete. Failures become outcomes.

        Return None if the run was suspended to wait for a decision. Raises LeaseLost.
        """
        try:
            resolved = self._usage.resolved = await self._catalogue.resolve(
                self._run.payer_id, self._run.provider, self._run.model_name
            )
            while True:
                self._usage.is_executing_tools = self._live.has_calls
                if await self._wait_for_decisions():
                    return None
                if self._live.has_calls and await self._db.read(count_calls, self._run.id) > MAX_CALLS:
                    raise TooManyToolCalls(MAX_CALLS)
                self._usage.begin_step(self._live.text())
                # Loaded for each request: a changed tool description may have been accepted meanwhile.
                are_off = self._run.options.tools is False or not self._run.allowed.feature(PlanFeature.TOOLS)
                takes_tools = False if are_off else resolved.takes_tools
                offered = await self._tools.offered(
                    self._run,
                    takes_tools,
                    window=resolved.context_window,
                    can_read_on=resolved.surely_takes_tools and takes_tools is not False,
                )
                await self._ask(resolved, offered)
                if self._usage.is_from_web:
                    await self._db.write(with_lease, self._run, note_search)
                if not self._usage.calls:
                    return self._usage.completed_outcome(self._live.text())
                await self._add_calls(offered)
        except LeaseLost:
            raise
        except QuotaReached as reached:
            return self._usage.budget_outcome(
                RunError(code=reached.code, detail=reached.detail),
                self._live.text(),
                has_reply=bool(self._live.parts()),
            )
        except CancelRequested:
            return self._usage.early_outcome(["cancelled"], self._live.text())
        except AppError as error:
            return self._usage.failed_outcome(RunError(code=error.code, detail=error.detail), self._live.text())
        except Exception:
            log.exception("a run failed", extra={"run_id": self._run.id})
            return self._usage.failed_outcome(UNEXPECTED, self._live.text())

    async def _wait_for_decisions(self) -> bool:
        """Execute approved calls. Return True if others await a decision and the run was suspended."""
        while self._live.has_calls:
            await self._tools.run_approved(self._run, self._live)
            waiting = await self._db.write(suspend_run, self._run)
            if waiting:
                for call_id in waiting:
                    self._live.publish_call_event(
                        {"type": "approval.requested", "message_id": self._run.message_id, "tool_execution_id": call_id}
                    )
                return True
            if not await self._db.read(list_approved, self._run.id):
                break
        return False

    async def _add_calls(self, offered: Sequence[OfferedTool]) -> None:
        """Record the proposed calls, each decided by the rules or left pending."""
        prepared = await self._tools.prepare(self._run, self._usage.calls, offered)
        assert self._usage.resolved is not None
        target = self._usage.resolved.echo_target(self._run.model_name)
        proposed = with_echo(prepared, target, self._usage.turn_echo)
        self._live.flush()
        outcome = self._usage.step_outcome(self._live.text())
        for part in await self._db.write(end_step, self._run, self._live.parts(), proposed, outcome):
            self._live.add_part(part)
        self._usage.begin_step(self._live.text())  # the usage recorded above is not counted again

    async def _ask(self, resolved: ResolvedModel, offered: Sequence[OfferedTool]) -> None:
        """Send one model request. Retry it only where that is safe: before any part of the reply has arrived.

        A request that was too long is retried with fewer tokens, a busy or unavailable provider after a pause.
        """
        if resolved.pricing.is_refused:
            raise PriceUnknown(self._run.model_name)
        abilities = abilities_of(split_key(self._run.provider)[0], self._run.model_name)
        # If unknown, pictures are sent: a model that sees none refuses them, and gets a note instead.
        sees_pictures = resolved.sees_pictures is not False and not abilities.is_blind
        model = TargetModel(
            self._run.provider,
            self._run.model_name,
            resolved.context_window,
            sees_pictures,
            offered,
            self._run.payer_id,
            resolved.echo_target(self._run.model_name),
            abilities.inputs,
        )
        model = await self._with_token_factor(resolved, model)
        await self._summarizer.summarize_if_due(self._run, resolved, model)
        excerpts = await self._excerpts.find(self._run.chat_id, self._run.message_id, resolved.context_window)
        shrinks, pauses = list(SHRINKS), list(RETRY_PAUSES_S)
        while True:
            step = await self._db.write(
                start_step,
                self._run,
                model,
                continues_prefix=resolved.adapter.continues_prefix,
                shrink=shrinks[0],
                price=resolved.price,
                searches_cost=resolved.pricing.most_of_searches(),
                second_price=resolved.pricing.second_price,
                excerpts=excerpts,
            )
            self._usage.sent_tokens, self._usage.asked_at = step.estimated_tokens, clock.now()
            if step.most_tokens is None:
                self._usage.budget = None
            else:
                self._usage.budget = AnswerBudget(step.most_tokens, step.is_tight, step.words_at_end)
            try:
                await self._relay(resolved.adapter, await self._files.load(step.request), step.most_seconds)
                return
            except ContextTooLong:
                if self._usage.has_begun or len(shrinks) == 1:
                    raise
                shrinks.pop(0)
            except ProviderError as error:
                wait = max(pauses[0] if pauses else 0, error.retry_after_s or 0)
                if not error.is_safe or self._usage.has_begun or not pauses or wait > MAX_PAUSE_S:
                    raise
                pauses.pop(0)
                log.info("asking again in %.1f s: %s", wait, error.code, extra={"run_id": self._run.id})
                await asyncio.sleep(wait)

    async def _with_token_factor(self, resolved: ResolvedModel, model: TargetModel) -> TargetModel:
        """Return the model with a factor from the provider's tokenizer, if it has one and no usage is known yet."""
        counting = resolved.adapter
        if not isinstance(counting, CountingProvider):
            return model
        sample = await self._db.read(sample_for_run, self._run, model)
        if sample is None:
            return model
        try:
            async with asyncio.timeout(COUNT_S):
                return replace(
                    model, counted=token_factor(sample, await counting.count_tokens(self._run.model_name, sample))
                )
        except (AppError, TimeoutError) as error:
            log.info("tokens could not be counted: %s", type(error).__name__, extra={"run_id": self._run.id})
            return model

    async def _relay(self, provider: Provider, request: ModelRequest, most_seconds: int | None) -> None:
        """Forward the stream to all followers and save checkpoints. No transaction is open meanwhile.

        The reply ends after `most_seconds`, where its time costs and a quota limits it.
        """
        stream = provider.stream(request)
        timed = stream if most_seconds is None else until(stream, most_seconds)
        saving: asyncio.Task[None] | None = None
        ended = asyncio.Event()
        lost: AppError | None = None  # why a picture could not be kept; the rest of the reply is
        try:
            async for events in timed:
                has_room = True
                for event in events:
                    has_room = self._apply(event) and has_room
                    if self._usage.is_over_budget:
                        break
                    if isinstance(event, FileOutput):
                        self._usage.files += 1
                        if self._usage.files > MAX_FILES:
                            raise MalformedReply(f"The model made more than {MAX_FILES} files in one reply.")
                        lost = await self._keep(event) or lost
                self._live.flush()
                if saving is None:
                    saving = asyncio.create_task(self._save_checkpoints(ended))
                elif saving.done():
                    saving.result()  # raises LeaseLost
                if not has_room:
                    self._usage.finish_reason = FinishReason.LENGTH
                    break
                if self._usage.is_over_budget:
                    self._usage.finish_reason = self._usage.reason_at_end_of_budget
                    break
                if len(events) < MANY_EVENTS and self._usage.finish_reason is None:
                    await asyncio.sleep(self._pace_s())
            if lost is not None:
                raise FileLost(lost.detail)
        except OutOfTime:
            self._usage.finish_reason = FinishReason.BUDGET
            self._usage.has_begun = True  # its time costs, also if nothing was said
        finally:
            await _close(timed)
            await _close(stream)
            if saving is not None:
                ended.set()  # wait for a write in progress: the end of the run must come after it
                results = await asyncio.gather(saving, return_exceptions=True)
                if isinstance(results[0], LeaseLost):
                    raise results[0]
            for part in self._usage.cited_pages():
                self._live.add_part(part)

    async def _keep(self, output: FileOutput) -> AppError | None:
        """Add a picture or sound to the reply, or return why it cannot be stored. Raises LeaseLost."""
        try:
            self._live.add_part(await self._files.keep(self._run, output))
        except LeaseLost:
            raise
        except AppError as error:
            return error
        return None

    async def _save_checkpoints(self, ended: asyncio.Event) -> None:
        save = begin_streaming
        while True:
            try:
                await self._db.write(save, self._run, self._live.parts())
                save = checkpoint
            except StorageUnavailable as error:
                log.warning("a checkpoint failed: %s", error.detail, extra={"run_id": self._run.id})
            # All runs save at the same ticks, so that one commit serves them all.
            tick = CHECKPOINT_S - asyncio.get_running_loop().time() % CHECKPOINT_S
            try:
                async with asyncio.timeout(tick):
                    await ended.wait()
                return
            except TimeoutError:
                continue

    def _apply(self, event: ProviderEvent) -> bool:
        """Add one event to the reply. Return False if the reply is full."""
        self._usage.has_begun = True
        match event:
            case TextDelta(text):
                self._usage.has_words = True
                self._usage.spend(text)
                return self._live.append(TextPart, text)
            case PicturesLeftOut(count):
                self._usage.pictures_left_out = count
            case TextWasThought():
                self._usage.has_words = False
                self._live.turn_text_into_thoughts()
            case ReasoningDelta(text):
                self._usage.spend(text)
                return self._live.append(ReasoningPart, text)
            case Usage():
                self._usage.usage = event
            case Finish(reason):
                self._usage.finish_reason = FinishReason(reason)
            case TurnEcho(value):
                self._usage.turn_echo = value
            case Citation():
                self._usage.has_searched = True
                if len(self._usage.citations) < MAX_CITATIONS:
                    self._usage.citations.append(event)
            case FileOutput():
                self._usage.has_words = True  # the caller stores it
            case Refusal(text):
                self._usage.spend(text)
                if not self._usage.has_refused:
                    self._live.add_part(RefusalPart(text=storable(text[:MAX_REFUSAL])))
                self._usage.has_words = self._usage.has_refused = True
            case ToolCall():
                self._usage.spend(event.arguments)
                # Keep one call above the limit, so that it is refused with a message; drop later ones.
                if len(self._usage.calls) <= MAX_CALLS:
                    self._usage.calls.append(event)
        return True


class OutOfTime(Exception):
    """The time that a quota leaves for a reply is over."""


async def until(stream: AsyncIterator[T], seconds: float) -> AsyncIterator[T]:
    """Yield what a stream yields for so many seconds. Raises OutOfTime, also while it waits."""
    end = asyncio.get_running_loop().time() + seconds
    while True:
        try:
            async with asyncio.timeout_at(end):
                item = await anext(stream)
        except StopAsyncIteration:
            return
        except TimeoutError:
            if asyncio.get_running_loop().time() < end:
                raise  # the stream's own
            raise OutOfTime from None
        yield item


async def _close(stream: AsyncIterator[object]) -> None:
    aclose = getattr(stream, "aclose", None)
    if aclose is not None:
        await aclose()
