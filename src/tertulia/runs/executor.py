"""Executing runs on the server: claimed under a lease, streamed, checkpointed each second, ended in one transaction."""

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import datetime
from decimal import Decimal

from tertulia import clock
from tertulia.chat.models import FinishReason, TokenCount
from tertulia.chat.parts import ReasoningPart, TextPart
from tertulia.db import Database
from tertulia.errors import AppError, StorageUnavailable
from tertulia.providers.catalogue import ModelCatalogue
from tertulia.providers.errors import ContextTooLong
from tertulia.providers.protocol import Finish, ModelRequest, Provider, ReasoningDelta, TextDelta, Usage
from tertulia.runs.errors import LeaseLost
from tertulia.runs.live import LiveRun
from tertulia.runs.models import RunError, RunStatus
from tertulia.runs.service import RUNS
from tertulia.runs.steps import (
    Claimed,
    Outcome,
    begin_streaming,
    checkpoint,
    claim_runs,
    finish_run,
    has_queued_runs,
    interrupt_abandoned,
    renew_leases,
    start_step,
)

CHECKPOINT_S = 1.0
RENEW_S = 2.0
DRAIN_S = 10.0
# A follower that lost its connection at the very end finds the last events here; later it gets the stored message.
KEEP_FINISHED_S = 60.0
# How much of the window is used when the provider found the request before too long: its count differs from ours.
SHRINKS = (1.0, 0.6, 0.3)
_UNEXPECTED = RunError(code="internal_error", detail="Something went wrong on the server. What came is kept.")
log = logging.getLogger(__name__)


class RunExecutor:
    """The runs of this process. What it does survives it: see steps.py."""

    def __init__(self, db: Database, catalogue: ModelCatalogue, *, boot: str, at_once: int) -> None:
        self._db = db
        self._catalogue = catalogue
        self._boot = boot
        self._at_once = at_once
        self._live: dict[str, LiveRun] = {}
        self._working: dict[str, tuple[asyncio.Task[Outcome], list[str]]] = {}  # with why it is stopped, once it is
        self._executing: set[asyncio.Task[None]] = set()
        self._unwanted: set[str] = set()
        self._loops: list[asyncio.Task[None]] = []
        self._woken = asyncio.Event()
        self._changed = asyncio.Event()
        self._is_draining = False
        db.on_wake(self._on_wake)

    async def start(self) -> None:
        """Take over: on SQLite no other process can be running anything, so whatever is marked so was left behind."""
        await self._db.write(interrupt_abandoned, everything=self._db.dialect_name == "sqlite")
        self._woken.set()
        self._loops = [
            asyncio.create_task(self._dispatch_forever(), name="dispatch-runs"),
            asyncio.create_task(self._renew_forever(), name="renew-leases"),
        ]

    async def drain(self) -> None:
        """Let running replies end for up to ten seconds, then store what there is of the others."""
        self._is_draining = True
        self._woken.set()
        dispatching, renewing = self._loops
        await asyncio.wait({dispatching}, timeout=5)
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(dispatching, renewing, return_exceptions=True)
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
        """Stop a run of this process now, and wait a moment until its end is stored; others hear of it by their lease."""
        live = self._live.get(run_id)
        if live is None:
            # Claimed a moment ago and not begun yet, perhaps: then it is stopped as it begins.
            self._unwanted.add(run_id)
            asyncio.get_running_loop().call_later(KEEP_FINISHED_S, self._unwanted.discard, run_id)
            return
        if live.is_finished:
            return
        self._stop(run_id, "cancelled")
        try:
            async with asyncio.timeout(2):
                while not live.is_finished:
                    await self.changed()
        except TimeoutError:
            log.info("run is still stopping", extra={"run_id": run_id})

    async def changed(self) -> None:
        """Wait until some run here began or ended, a second at most."""
        try:
            async with asyncio.timeout(1):
                await self._changed.wait()
        except TimeoutError:
            return

    def _on_wake(self, signal: str) -> None:
        if signal == RUNS:
            self._woken.set()
            self._tell_changed()

    def _tell_changed(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _stop(self, run_id: str, why: str) -> None:
        if run_id in self._working:
            task, reasons = self._working[run_id]
            reasons.append(why)
            task.cancel()

    async def _dispatch_forever(self) -> None:
        """Until draining begins; what was claimed by then is begun, so that no run is left without anybody."""
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
                    for claimed in await self._db.write(claim_runs, owner=self._boot, at_once=self._at_once):
                        self._begin(claimed)
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
        self._tell_changed()

    async def _renew_forever(self) -> None:
        """Keep the leases, hear of cancellations from elsewhere, and end what other processes left behind."""
        while True:
            await asyncio.sleep(RENEW_S)
            try:
                if self._working:
                    held, unwanted = await self._db.write(renew_leases, list(self._working), owner=self._boot)
                    for run_id in list(self._working):
                        if run_id not in held:
                            self._stop(run_id, "lost")
                        elif run_id in unwanted:
                            self._stop(run_id, "cancelled")
                if self._db.dialect_name == "postgresql" and not self._is_draining:
                    await self._db.write(interrupt_abandoned, everything=False)
            except AppError as error:
                log.warning("leases cannot be renewed: %s", error.detail)
            except Exception:
                log.exception("renewing leases failed once; trying again")

    async def _execute(self, run: Claimed) -> None:
        live = self._live[run.id]
        started_at = clock.now()
        work = asyncio.create_task(self._generate(run, live))
        reasons: list[str] = []
        self._working[run.id] = (work, reasons)
        if run.id in self._unwanted:
            self._stop(run.id, "cancelled")
        try:
            await asyncio.wait({work})
            if work.cancelled() and reasons and reasons[0] == "lost":
                raise LeaseLost
            outcome = _ended_early(reasons) if work.cancelled() else work.result()
            try:
                await self._finish(run, live, outcome, started_at)
            except (LeaseLost, StorageUnavailable):
                raise
            except Exception:
                # Whatever it is about this end that cannot be stored, the run must not stay "running" for ever.
                log.exception("the end of a run could not be stored as it was", extra={"run_id": run.id})
                await self._finish(run, live, Outcome(RunStatus.FAILED, FinishReason.ERROR, _UNEXPECTED), started_at)
        except LeaseLost:
            log.warning("a run was lost to another process, or deleted", extra={"run_id": run.id})
        except Exception:
            log.exception("the end of a run could not be stored", extra={"run_id": run.id})
        finally:
            del self._working[run.id]
            if live.is_finished:
                asyncio.get_running_loop().call_later(KEEP_FINISHED_S, self._live.pop, run.id, None)
            else:  # its end is not stored, or not by us: those who follow turn to what is stored
                self._live.pop(run.id, None)
                live.finish()
            self._woken.set()
            self._tell_changed()

    async def _finish(self, run: Claimed, live: LiveRun, outcome: Outcome, started_at: datetime) -> None:
        """Store the end, trying for as long as the lease may be ours, and only then tell it."""
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

    async def _generate(self, run: Claimed, live: LiveRun) -> Outcome:
        """Ask the provider and gather its reply; every failure becomes an outcome."""
        tally = _Tally()
        try:
            provider = self._catalogue.provider(run.provider)
            window = next(
                (
                    m.context_window
                    for m in self._catalogue.known().models
                    if (m.provider, m.model_name) == (run.provider, run.model_name)
                ),
                None,
            )
            for shrink in SHRINKS:
                request = await self._db.write(
                    start_step,
                    run,
                    model_window=window,
                    continues_prefix=provider.continues_prefix,
                    shrink=shrink,
                )
                try:
                    await self._relay(run, live, provider, request, tally)
                    break
                except ContextTooLong:
                    if tally.has_words or shrink == SHRINKS[-1]:
                        raise
            return tally.outcome(local=run.provider == "local")
        except LeaseLost:
            raise
        except AppError as error:
            return tally.failed(RunError(code=error.code, detail=error.detail), local=run.provider == "local")
        except Exception:
            log.exception("a run failed", extra={"run_id": run.id})
            return tally.failed(_UNEXPECTED, local=run.provider == "local")

    async def _relay(
        self, run: Claimed, live: LiveRun, provider: Provider, request: ModelRequest, tally: "_Tally"
    ) -> None:
        """Pass the stream on to all who follow, with a checkpoint beside it; no transaction is open meanwhile."""
        stream = provider.stream(request)
        saving: asyncio.Task[None] | None = None
        ended = asyncio.Event()
        try:
            async for event in stream:
                has_room = True
                match event:
                    case TextDelta(text):
                        has_room = live.append(TextPart, text)
                        tally.has_words = True
                    case ReasoningDelta(text):
                        has_room = live.append(ReasoningPart, text)
                    case Usage():
                        tally.usage = event
                    case Finish(reason):
                        tally.finish_reason = FinishReason(reason)
                if saving is None:
                    saving = asyncio.create_task(self._save_each_second(run, live, ended))
                elif saving.done():
                    saving.result()  # raises LeaseLost
                if not has_room:
                    tally.finish_reason = FinishReason.LENGTH
                    break
        finally:
            await _close(stream)
            if saving is not None:
                ended.set()  # a write under way is waited for: the end of the run must come after it
                results = await asyncio.gather(saving, return_exceptions=True)
                if isinstance(results[0], LeaseLost):
                    raise results[0]

    async def _save_each_second(self, run: Claimed, live: LiveRun, ended: asyncio.Event) -> None:
        save = begin_streaming
        while True:
            try:
                await self._db.write(save, run, live.parts())
                save = checkpoint
            except StorageUnavailable as error:
                log.warning("a checkpoint failed: %s", error.detail, extra={"run_id": run.id})
            try:
                async with asyncio.timeout(CHECKPOINT_S):
                    await ended.wait()
                return
            except TimeoutError:
                continue


class _Tally:
    """What a reply told of itself on its way."""

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.finish_reason: FinishReason | None = None
        self.has_words = False

    def outcome(self, *, local: bool) -> Outcome:
        if not self.has_words:
            detail = "The model answered with nothing. Try again, or ask in other words."
            return self.failed(RunError(code="empty_reply", detail=detail), local=local)
        return Outcome(RunStatus.COMPLETED, self.finish_reason, None, self._tokens(), _cost(local))

    def failed(self, error: RunError, *, local: bool) -> Outcome:
        return Outcome(RunStatus.FAILED, FinishReason.ERROR, error, self._tokens(), _cost(local))

    def _tokens(self) -> TokenCount | None:
        if self.usage is None:
            return None
        total = self.usage.input_tokens + self.usage.output_tokens
        return TokenCount(prompt=self.usage.input_tokens, completion=self.usage.output_tokens, total=total)


def _cost(local: bool) -> Decimal | None:
    """The built-in model costs nothing; what others cost is unknown until prices are there, and unknown is not 0."""
    return Decimal(0) if local else None


def _ended_early(reasons: list[str]) -> Outcome:
    return Outcome(RunStatus.CANCELLED if "cancelled" in reasons else RunStatus.INTERRUPTED, FinishReason.INTERRUPTED)


async def _close(stream: AsyncIterator[object]) -> None:
    aclose = getattr(stream, "aclose", None)
    if aclose is not None:
        await aclose()
