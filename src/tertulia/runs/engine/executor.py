"""Execute runs on the server: claim them under a lease, renew it, stop them, and end each in one transaction."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import NamedTuple

from tertulia import clock
from tertulia.chat.models import FinishReason
from tertulia.context.messages import estimate_tokens
from tertulia.db import Database
from tertulia.errors import AppError, StorageUnavailable
from tertulia.providers.model_catalogue import ModelCatalogue
from tertulia.runs.calls.runner import ToolRunner
from tertulia.runs.compaction.summarizer import Summarizer
from tertulia.runs.engine.abandoned import has_abandoned, interrupt_abandoned
from tertulia.runs.engine.claims import MAX_CLAIMED, claim_runs, has_queued_runs, renew_leases
from tertulia.runs.engine.generation import UNEXPECTED, Generation
from tertulia.runs.engine.reply_files import ReplyFiles
from tertulia.runs.engine.steps import (
    Outcome,
    finish_run,
    release_run,
)
from tertulia.runs.engine.usage_counter import UsageCounter
from tertulia.runs.errors import LeaseLost
from tertulia.runs.lease import ClaimedRun
from tertulia.runs.live import LiveRun
from tertulia.runs.models import RunStatus
from tertulia.runs.reading import RUN_PREFIX, RUNS
from tertulia.runs.request.excerpts import ExcerptFinder

# Events are read and published at this pace: a person sees no difference, and several tokens share the work.
PACE_S = 0.04
PACE_OF_EACH_S = 0.001
MAX_PACE_S = 0.2
RENEW_S = 2.0
# Seconds between checks for expired leases. With a lease of 8 s, a dead process is noticed within 10 s.
WATCH_S = 1.0
DRAIN_S = 10.0
# A follower that reconnects within this time gets the last events; later it gets the stored message.
KEEP_FINISHED_S = 60.0
log = logging.getLogger(__name__)


class _Work(NamedTuple):
    """A run that is being executed, with the reasons for stopping it."""

    task: asyncio.Task[Outcome | None]
    reasons: list[str]
    run: ClaimedRun


class RunExecutor:
    """The runs that this process executes. Their stored state survives the process (steps.py)."""

    def __init__(
        self,
        db: Database,
        catalogue: ModelCatalogue,
        tools: ToolRunner,
        summarizer: Summarizer,
        files: ReplyFiles,
        excerpts: ExcerptFinder,
        *,
        process_id: str,
        at_once: int,
    ) -> None:
        self._db = db
        self._catalogue = catalogue
        self._tools = tools
        self._summarizer = summarizer
        self._files = files
        self._excerpts = excerpts
        self._process_id = process_id
        self._at_once = at_once
        self._live: dict[str, LiveRun] = {}
        self._working: dict[str, _Work] = {}
        self._executing: set[asyncio.Task[None]] = set()
        self._cancelled_early: set[str] = set()
        self._loops: list[asyncio.Task[None]] = []
        self._woken = asyncio.Event()
        self._watched: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._is_draining = False
        db.on_wake(self._on_wake)

    async def start(self) -> None:
        """Interrupt abandoned runs and start the loops. On SQLite, the only process, all running runs are abandoned."""
        while await self._db.write(interrupt_abandoned, everything=self._db.dialect_name == "sqlite"):
            pass  # one after the other
        self._woken.set()
        self._loops = [
            asyncio.create_task(self._dispatch_forever(), name="dispatch-runs"),
            asyncio.create_task(self._renew_forever(), name="renew-leases"),
            asyncio.create_task(self._watch_forever(), name="watch-leases"),
        ]

    def stop(self) -> None:
        """Claim no more runs."""
        self._is_draining = True
        self._woken.set()

    async def close(self) -> None:
        """Let running replies end for up to ten seconds, then store what the others have."""
        self.stop()
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
            self._working[run_id].reasons.append(reason)
            self._working[run_id].task.cancel()

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
                    claimed = await self._db.write(claim_runs, owner=self._process_id, at_once=self._at_once)
                    if len(claimed) == MAX_CLAIMED:
                        self._woken.set()  # there may be more, and no other signal may arrive
                    for run in claimed:
                        self._begin(run)
            except Exception as error:
                level = logging.WARNING if isinstance(error, AppError) else logging.ERROR
                log.log(level, "runs cannot be started; trying again", exc_info=error)
                self._woken.set()
                await asyncio.sleep(0.5)

    def _begin(self, claimed: ClaimedRun) -> None:
        self._live[claimed.id] = LiveRun(
            self._process_id, claimed.id, claimed.chat_id, claimed.message_id, claimed.parts
        )
        task = asyncio.create_task(self._execute(claimed), name=f"run-{claimed.id}")
        self._executing.add(task)
        task.add_done_callback(self._executing.discard)
        self._notify_watchers(claimed.id)

    async def _renew_forever(self) -> None:
        """Renew the leases, and stop the runs that were lost, or cancelled through another process."""
        while True:
            await asyncio.sleep(RENEW_S)
            try:
                # A run that begins meanwhile is not included, and not lost.
                runs = [work.run for work in self._working.values()]
                if runs:
                    held, unwanted = await self._db.write(renew_leases, runs)
                    for run in runs:
                        work = self._working.get(run.id)
                        if work is None or work.run is not run:
                            continue  # it ended meanwhile, or was claimed again
                        if run.id not in held:
                            self._stop(run.id, "lost")
                        elif run.id in unwanted:
                            self._stop(run.id, "cancelled")
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
                    while await self._db.write(interrupt_abandoned, everything=False, but=set(self._working)):
                        pass  # one after the other
            except AppError as error:
                log.warning("abandoned runs cannot be checked: %s", error.detail)
            except Exception:
                log.exception("checking for abandoned runs failed once; trying again")

    async def _execute(self, run: ClaimedRun) -> None:
        live = self._live[run.id]
        started_at = clock.now()
        usage = UsageCounter(run.model_name, earlier_tokens=estimate_tokens(live.text()) if run.parts else 0)
        generation = Generation(
            self._db,
            self._catalogue,
            self._tools,
            self._summarizer,
            self._files,
            self._excerpts,
            run,
            live,
            usage,
            pace_s=self._pace,
        )
        work = asyncio.create_task(generation.generate())
        reasons: list[str] = []
        self._working[run.id] = _Work(work, reasons, run)
        if run.id in self._cancelled_early:
            self._stop(run.id, "cancelled")
        try:
            await asyncio.wait({work})
            if work.cancelled() and reasons and reasons[0] == "lost":
                raise LeaseLost
            outcome = usage.early_outcome(reasons, live.text()) if work.cancelled() else work.result()
            if outcome is None:
                return
            if work.cancelled() and outcome.status is RunStatus.INTERRUPTED and usage.is_executing_tools:
                await self._db.write(release_run, run)  # another process continues from here
                return
            try:
                await self._finish(run, live, outcome, started_at)
            except (LeaseLost, StorageUnavailable):
                raise
            except Exception:
                # Even if this outcome cannot be stored, the run must not stay "running" for ever.
                log.exception("the outcome of a run could not be stored; storing a failure", extra={"run_id": run.id})
                await self._finish(run, live, Outcome(RunStatus.FAILED, FinishReason.ERROR, UNEXPECTED), started_at)
        except LeaseLost:
            log.warning("a run was taken over by another process, or deleted", extra={"run_id": run.id})
        except Exception:
            log.exception("the end of a run could not be stored", extra={"run_id": run.id})
        finally:
            # A suspended run may have been claimed again by this process.
            if self._working[run.id].task is work:
                del self._working[run.id]
            if live.is_finished:
                asyncio.get_running_loop().call_later(KEEP_FINISHED_S, self._live.pop, run.id, None)
            else:  # this process has not stored its end: followers switch to the stored message
                if self._live.get(run.id) is live:
                    del self._live[run.id]
                live.suspend()
            self._woken.set()
            self._notify_watchers(run.id)

    async def _finish(self, run: ClaimedRun, live: LiveRun, outcome: Outcome, started_at: datetime) -> None:
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

    def _pace(self) -> float:
        """Return the seconds to collect events before publishing them; longer with more concurrent runs."""
        return min(MAX_PACE_S, PACE_S + PACE_OF_EACH_S * len(self._working))
