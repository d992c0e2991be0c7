"""Execute runs on the server: claim them under a lease, stream, save checkpoints, and end in one transaction."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime

from tertulia import clock
from tertulia.chat.models import FinishReason
from tertulia.chat.parts import ReasoningPart, TextPart
from tertulia.context.messages import estimate_tokens
from tertulia.db import Database
from tertulia.errors import AppError, StorageUnavailable
from tertulia.providers.catalogue import ModelCatalogue, Resolved
from tertulia.providers.errors import ContextTooLong, ProviderError
from tertulia.providers.protocol import (
    CountingProvider,
    Finish,
    ModelRequest,
    Provider,
    ProviderEvent,
    ReasoningDelta,
    TextDelta,
    ToolCall,
    Usage,
)
from tertulia.runs.calls.life import count_calls, list_approved
from tertulia.runs.calls.proposing import MAX_CALLS
from tertulia.runs.calls.runner import ToolRunner
from tertulia.runs.compaction.summarizer import Summarizer
from tertulia.runs.engine.abandoned import has_abandoned, interrupt_abandoned
from tertulia.runs.engine.claims import MAX_CLAIMED, Claimed, claim_runs, has_queued_runs, renew_leases
from tertulia.runs.engine.steps import (
    Outcome,
    begin_streaming,
    checkpoint,
    end_step,
    finish_run,
    release_run,
    suspend_run,
)
from tertulia.runs.engine.usage_counter import UsageCounter
from tertulia.runs.errors import CancelRequested, LeaseLost, TooManyToolCalls
from tertulia.runs.live import LiveRun
from tertulia.runs.models import RunError, RunStatus
from tertulia.runs.request.build import sample_for_run, start_step
from tertulia.runs.request.prepare import TargetModel, token_factor
from tertulia.runs.service import RUN_PREFIX, RUNS
from tertulia.tools.protocol import OfferedTool

# A crash may lose at most one second of text, and storing takes time too.
CHECKPOINT_S = 0.5
# Events are read and published at this pace: a person sees no difference, and several tokens share the work.
PACE_S = 0.04
PACE_OF_EACH_S = 0.001
MAX_PACE_S = 0.2
# With this many events at once the stream is fast: the next ones are read without a pause.
MANY_EVENTS = 64
RENEW_S = 2.0
# Seconds between checks for expired leases. With a lease of 8 s, a dead process is noticed within 10 s.
WATCH_S = 1.0
DRAIN_S = 10.0
COUNT_S = 5.0  # time limit of a tokenizer; after it the estimate is used
# A follower that reconnects within this time gets the last events; later it gets the stored message.
KEEP_FINISHED_S = 60.0
# Shares of the window to use after the provider rejected a request as too long: its token count differs from ours.
SHRINKS = (1.0, 0.6, 0.3)
# Pauses before retrying a busy or unavailable provider. It is not retried if it wants more than MAX_PAUSE_S.
RETRY_PAUSES_S = (0.5, 2.0)
MAX_PAUSE_S = 20.0
_UNEXPECTED = RunError(code="internal_error", detail="Something went wrong on the server. The text so far is kept.")
log = logging.getLogger(__name__)


class RunExecutor:
    """The runs that this process executes. Their stored state survives the process (steps.py)."""

    def __init__(
        self,
        db: Database,
        catalogue: ModelCatalogue,
        tools: ToolRunner,
        summarizer: Summarizer,
        *,
        process_id: str,
        at_once: int,
    ) -> None:
        self._db = db
        self._catalogue = catalogue
        self._tools = tools
        self._summarizer = summarizer
        self._boot = process_id
        self._at_once = at_once
        self._live: dict[str, LiveRun] = {}
        self._working: dict[str, tuple[asyncio.Task[Outcome | None], list[str]]] = {}  # and the reasons for stopping it
        self._executing: set[asyncio.Task[None]] = set()
        self._cancelled_early: set[str] = set()
        self._loops: list[asyncio.Task[None]] = []
        self._woken = asyncio.Event()
        self._watched: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._is_draining = False
        db.on_wake(self._on_wake)

    async def start(self) -> None:
        """Interrupt abandoned runs and start the loops. On SQLite, the only process, all running runs are abandoned."""
        await self._db.write(interrupt_abandoned, everything=self._db.dialect_name == "sqlite")
        self._woken.set()
        self._loops = [
            asyncio.create_task(self._dispatch_forever(), name="dispatch-runs"),
            asyncio.create_task(self._renew_forever(), name="renew-leases"),
            asyncio.create_task(self._watch_forever(), name="watch-leases"),
        ]

    async def close(self) -> None:
        """Let running replies end for up to ten seconds, then store what the others have."""
        self._is_draining = True
        self._woken.set()
        if not self._loops:
            return  # it was not started
        dispatching, *others = self._loops
        await asyncio.wait({dispatching}, timeout=5)
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(dispatching, *others, return_exceptions=True)
        if self._executing:
            renewing = asyncio.create_task(self._renew_forever())
            await asyncio.wait(self._executing, timeout=DRAIN_S)
            for run_id in list(self._working):
                self._stop(run_id, "interrupted")
            if self._executing:
                await asyncio.wait(self._executing, timeout=5)
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)

    def find_live(self, run_id: str) -> LiveRun | None:
        return self._live.get(run_id)

    async def cancel(self, run_id: str) -> None:
        """Stop a run of this process and wait up to two seconds for its end. Ignores runs of other processes."""
        live = self._live.get(run_id)
        if live is None:
            # It may be claimed but not begun: then it is stopped when it begins.
            self._cancelled_early.add(run_id)
            asyncio.get_running_loop().call_later(KEEP_FINISHED_S, self._cancelled_early.discard, run_id)
            return
        if live.is_finished:
            return
        self._stop(run_id, "cancelled")
        ended = asyncio.Event()
        with self.watch(run_id, ended):
            try:
                async with asyncio.timeout(2):
                    while not live.is_finished:
                        await ended.wait()
                        ended.clear()
            except TimeoutError:
                log.info("run is still stopping", extra={"run_id": run_id})

    @contextmanager
    def watch(self, run_id: str, event: asyncio.Event) -> Iterator[None]:
        """Set the event when the run begins here, or when it is suspended, resumed or ended anywhere."""
        self._watched[run_id].add(event)
        try:
            yield
        finally:
            self._watched[run_id].discard(event)
            if not self._watched[run_id]:
                del self._watched[run_id]

    def _on_wake(self, signal: str) -> None:
        if signal == RUNS:
            self._woken.set()
        elif signal.startswith(RUN_PREFIX):
            self._notify_watchers(signal.removeprefix(RUN_PREFIX))

    def _notify_watchers(self, run_id: str) -> None:
        for event in self._watched.get(run_id, ()):
            event.set()

    def _stop(self, run_id: str, reason: str) -> None:
        if run_id in self._working:
            task, reasons = self._working[run_id]
            reasons.append(reason)
            task.cancel()

    async def _dispatch_forever(self) -> None:
        """Claim and begin queued runs until draining starts. Every claimed run is begun, so that none is left over."""
        while not self._is_draining:
            try:
                async with asyncio.timeout(RENEW_S):
                    await self._woken.wait()
            except TimeoutError:
                if self._db.dialect_name == "sqlite":
                    continue
            self._woken.clear()
            try:
                if not self._is_draining and await self._db.read(has_queued_runs):
                    claimed = await self._db.write(claim_runs, owner=self._boot, at_once=self._at_once)
                    if len(claimed) == MAX_CLAIMED:
                        self._woken.set()  # there may be more, and no other signal may arrive
                    for run in claimed:
                        self._begin(run)
            except Exception as error:
                level = logging.WARNING if isinstance(error, AppError) else logging.ERROR
                log.log(level, "runs cannot be started; trying again", exc_info=error)
                self._woken.set()
                await asyncio.sleep(0.5)

    def _begin(self, claimed: Claimed) -> None:
        self._live[claimed.id] = LiveRun(self._boot, claimed.id, claimed.chat_id, claimed.message_id, claimed.parts)
        task = asyncio.create_task(self._execute(claimed), name=f"run-{claimed.id}")
        self._executing.add(task)
        task.add_done_callback(self._executing.discard)
        self._notify_watchers(claimed.id)

    async def _renew_forever(self) -> None:
        """Renew the leases, and stop the runs that were lost, or cancelled through another process."""
        while True:
            await asyncio.sleep(RENEW_S)
            try:
                run_ids = list(self._working)  # a run that begins meanwhile is not included, and not lost
                if run_ids:
                    held, unwanted = await self._db.write(renew_leases, run_ids, owner=self._boot)
                    for run_id in run_ids:
                        if run_id not in held:
                            self._stop(run_id, "lost")
                        elif run_id in unwanted:
                            self._stop(run_id, "cancelled")
            except AppError as error:
                log.warning("leases cannot be renewed: %s", error.detail)
            except Exception:
                log.exception("renewing leases failed once; trying again")

    async def _watch_forever(self) -> None:
        """Interrupt runs of processes that died, and runs whose end this process could not store."""
        while True:
            await asyncio.sleep(WATCH_S)
            try:
                if not self._is_draining and await self._db.read_hot(has_abandoned):
                    await self._db.write(interrupt_abandoned, everything=False, but=set(self._working))
            except AppError as error:
                log.warning("abandoned runs cannot be checked: %s", error.detail)
            except Exception:
                log.exception("checking for abandoned runs failed once; trying again")

    async def _execute(self, run: Claimed) -> None:
        live = self._live[run.id]
        started_at = clock.now()
        tally = UsageCounter(run.model_name, earlier_tokens=estimate_tokens(live.written()) if run.parts else 0)
        work = asyncio.create_task(self._generate(run, live, tally))
        reasons: list[str] = []
        self._working[run.id] = (work, reasons)
        if run.id in self._cancelled_early:
            self._stop(run.id, "cancelled")
        try:
            await asyncio.wait({work})
            if work.cancelled() and reasons and reasons[0] == "lost":
                raise LeaseLost
            outcome = tally.early_outcome(reasons, live.written()) if work.cancelled() else work.result()
            if outcome is None:
                return
            if work.cancelled() and outcome.status is RunStatus.INTERRUPTED and tally.is_executing_tools:
                await self._db.write(release_run, run)  # another process continues from here
                return
            try:
                await self._finish(run, live, outcome, started_at)
            except (LeaseLost, StorageUnavailable):
                raise
            except Exception:
                # Even if this outcome cannot be stored, the run must not stay "running" for ever.
                log.exception("the outcome of a run could not be stored; storing a failure", extra={"run_id": run.id})
                await self._finish(run, live, Outcome(RunStatus.FAILED, FinishReason.ERROR, _UNEXPECTED), started_at)
        except LeaseLost:
            log.warning("a run was taken over by another process, or deleted", extra={"run_id": run.id})
        except Exception:
            log.exception("the end of a run could not be stored", extra={"run_id": run.id})
        finally:
            # A suspended run may have been claimed again by this process.
            if self._working[run.id][0] is work:
                del self._working[run.id]
            if live.is_finished:
                asyncio.get_running_loop().call_later(KEEP_FINISHED_S, self._live.pop, run.id, None)
            else:  # this process has not stored its end: followers switch to the stored message
                if self._live.get(run.id) is live:
                    del self._live[run.id]
                live.suspend()
            self._woken.set()
            self._notify_watchers(run.id)

    async def _finish(self, run: Claimed, live: LiveRun, outcome: Outcome, started_at: datetime) -> None:
        """Store the end, retrying while the lease may still be held, and only then publish it."""
        live.flush()
        for pause in (0.1, 0.3, 1.0, 3.0, 5.0, None):
            try:
                message, read = await self._db.write(finish_run, run, live.parts(), outcome, started_at=started_at)
                break
            except StorageUnavailable:
                if pause is None:
                    raise
                await asyncio.sleep(pause)
        finished = {"type": "message.finished", "message": message}
        if outcome.error is not None:
            live.finish(finished, {"type": "run.failed", "code": outcome.error.code, "detail": outcome.error.detail})
        else:
            end = {
                "type": "run.finished",
                "status": outcome.status,
                "usage": read["usage"],
                "cost": read["cost"],
            }
            live.finish(finished, end)

    async def _generate(self, run: Claimed, live: LiveRun, tally: UsageCounter) -> Outcome | None:
        """Call the model and execute its tool calls in turn until the reply is complete. Failures become outcomes.

        Return None if the run was suspended to wait for a decision. Raises LeaseLost.
        """
        try:
            resolved = tally.resolved = await self._catalogue.resolve(run.payer_id, run.provider, run.model_name)
            while True:
                tally.is_executing_tools = live.has_calls
                if await self._wait_for_decisions(run, live):
                    return None
                if live.has_calls and await self._db.read(count_calls, run.id) > MAX_CALLS:
                    raise TooManyToolCalls(MAX_CALLS)
                tally.begin_step(live.written())
                # Loaded for each request: a changed tool description may have been accepted meanwhile.
                offered = await self._tools.offered(run, resolved.takes_tools)
                await self._ask(run, live, resolved, tally, offered)
                if not tally.calls:
                    return tally.completed(live.written())
                await self._add_calls(run, live, tally, offered)
        except LeaseLost:
            raise
        except CancelRequested:
            return tally.early_outcome(["cancelled"], live.written())
        except AppError as error:
            return tally.failed(RunError(code=error.code, detail=error.detail), live.written())
        except Exception:
            log.exception("a run failed", extra={"run_id": run.id})
            return tally.failed(_UNEXPECTED, live.written())

    async def _wait_for_decisions(self, run: Claimed, live: LiveRun) -> bool:
        """Execute approved calls. Return True if others await a decision and the run was suspended."""
        while live.has_calls:
            await self._tools.run_approved(run, live)
            waiting = await self._db.write(suspend_run, run)
            if waiting:
                for call_id in waiting:
                    live.publish_call_event(
                        {"type": "approval.requested", "message_id": run.message_id, "tool_execution_id": call_id}
                    )
                return True
            if not await self._db.read(list_approved, run.id):
                break
        return False

    async def _add_calls(
        self, run: Claimed, live: LiveRun, tally: UsageCounter, offered: Sequence[OfferedTool]
    ) -> None:
        """Record the proposed calls, each decided by the rules or left pending."""
        proposed = await self._tools.prepare(run, tally.calls, offered)
        live.flush()
        outcome = tally.stepped(live.written())
        for part in await self._db.write(end_step, run, live.parts(), proposed, outcome):
            live.add_call(part)
        tally.begin_step(live.written())  # the usage recorded above is not counted again

    async def _ask(
        self, run: Claimed, live: LiveRun, resolved: Resolved, tally: UsageCounter, offered: Sequence[OfferedTool]
    ) -> None:
        """Send one model request. Retry it only where that is safe: before any part of the reply has arrived.

        A request that was too long is retried with fewer tokens, a busy or unavailable provider after a pause.
        """
        # If unknown, pictures are sent: a model that cannot read them returns an error.
        sees_pictures = resolved.sees_pictures is not False
        model = TargetModel(run.provider, run.model_name, resolved.context_window, sees_pictures, offered, run.payer_id)
        model = await self._with_token_factor(run, resolved, model)
        await self._summarizer.summarize_if_due(run, resolved, model)
        shrinks, pauses = list(SHRINKS), list(RETRY_PAUSES_S)
        while True:
            step = await self._db.write(
                start_step,
                run,
                model,
                continues_prefix=resolved.adapter.continues_prefix,
                shrink=shrinks[0],
                price=resolved.price(run.model_name),
            )
            tally.sent_tokens = step.estimated_tokens
            try:
                await self._relay(run, live, resolved.adapter, step.request, tally)
                return
            except ContextTooLong:
                if tally.has_begun or len(shrinks) == 1:
                    raise
                shrinks.pop(0)
            except ProviderError as error:
                wait = max(pauses[0] if pauses else 0, error.retry_after_s or 0)
                if not error.is_safe or tally.has_begun or not pauses or wait > MAX_PAUSE_S:
                    raise
                pauses.pop(0)
                log.info("asking again in %.1f s: %s", wait, error.code, extra={"run_id": run.id})
                await asyncio.sleep(wait)

    async def _with_token_factor(self, run: Claimed, resolved: Resolved, model: TargetModel) -> TargetModel:
        """Return the model with a factor from the provider's tokenizer, if it has one and no usage is known yet."""
        counting = resolved.adapter
        if not isinstance(counting, CountingProvider):
            return model
        sample = await self._db.read(sample_for_run, run, model)
        if sample is None:
            return model
        try:
            async with asyncio.timeout(COUNT_S):
                return replace(model, counted=token_factor(sample, await counting.count_tokens(run.model_name, sample)))
        except (AppError, TimeoutError) as error:
            log.info("tokens could not be counted: %s", type(error).__name__, extra={"run_id": run.id})
            return model

    async def _relay(
        self, run: Claimed, live: LiveRun, provider: Provider, request: ModelRequest, tally: UsageCounter
    ) -> None:
        """Forward the stream to all followers and save checkpoints. No transaction is open meanwhile."""
        stream = provider.stream(request)
        saving: asyncio.Task[None] | None = None
        ended = asyncio.Event()
        try:
            async for events in stream:
                has_room = all([_take(event, live, tally) for event in events])
                live.flush()
                if saving is None:
                    saving = asyncio.create_task(self._save_each_second(run, live, ended))
                elif saving.done():
                    saving.result()  # raises LeaseLost
                if not has_room:
                    tally.finish_reason = FinishReason.LENGTH
                    break
                if len(events) < MANY_EVENTS and tally.finish_reason is None:
                    await asyncio.sleep(self._pace())
        finally:
            await _close(stream)
            if saving is not None:
                ended.set()  # wait for a write in progress: the end of the run must come after it
                results = await asyncio.gather(saving, return_exceptions=True)
                if isinstance(results[0], LeaseLost):
                    raise results[0]

    def _pace(self) -> float:
        """Return the seconds to collect events before publishing them; longer with more concurrent runs."""
        return min(MAX_PACE_S, PACE_S + PACE_OF_EACH_S * len(self._working))

    async def _save_each_second(self, run: Claimed, live: LiveRun, ended: asyncio.Event) -> None:
        save = begin_streaming
        while True:
            try:
                await self._db.write(save, run, live.parts())
                save = checkpoint
            except StorageUnavailable as error:
                log.warning("a checkpoint failed: %s", error.detail, extra={"run_id": run.id})
            # All runs save at the same ticks, so that one commit serves them all.
            tick = CHECKPOINT_S - asyncio.get_running_loop().time() % CHECKPOINT_S
            try:
                async with asyncio.timeout(tick):
                    await ended.wait()
                return
            except TimeoutError:
                continue


def _take(event: ProviderEvent, live: LiveRun, tally: UsageCounter) -> bool:
    """Add one event to the reply. Return False if the reply is full."""
    tally.has_begun = True
    match event:
        case TextDelta(text):
            tally.has_words = True
            return live.append(TextPart, text)
        case ReasoningDelta(text):
            return live.append(ReasoningPart, text)
        case Usage():
            tally.usage = event
        case Finish(reason):
            tally.finish_reason = FinishReason(reason)
        case ToolCall():
            # Keep one call above the limit, so that it is refused with a message; drop later ones.
            if len(tally.calls) <= MAX_CALLS:
                tally.calls.append(event)
    return True


async def _close(stream: AsyncIterator[object]) -> None:
    aclose = getattr(stream, "aclose", None)
    if aclose is not None:
        await aclose()
