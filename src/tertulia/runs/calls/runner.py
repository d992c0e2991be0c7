"""Execute tool calls within limits of time and size, in parallel where allowed, and stop cancelled ones."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Concatenate, ParamSpec, TypeVar

import httpx
import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia.accounts.actor import Actor
from tertulia.accounts.models import User
from tertulia.chat.message_files import has_long_file
from tertulia.chat.models import Chat
from tertulia.chat.state import declare_schema, may_declare
from tertulia.context.branch import smaller_window
from tertulia.db import Database
from tertulia.errors import AppError
from tertulia.ids import ChatId, UserId
from tertulia.providers.protocol import ToolCall
from tertulia.runs.calls.life import (
    CALL_PREFIX,
    CallOutcome,
    Ready,
    fail_approved,
    finish_execution,
    list_approved,
    start_execution,
)
from tertulia.runs.calls.proposing import ProposedCall, with_destination
from tertulia.runs.calls.questions import CallClock, Questions
from tertulia.runs.calls.sources import load_own_words
from tertulia.runs.lease import ClaimedRun, RunRef, with_lease
from tertulia.runs.live import LiveRun
from tertulia.tools.errors import ArgumentsInvalid
from tertulia.tools.models import ToolExecution, ToolStatus
from tertulia.tools.protocol import MAX_TIME_S, DryRun, OfferedTool, Question, Reply, ToolChanged
from tertulia.tools.results import as_cost, store_result
from tertulia.tools.servers.port import ServerFailed
from tertulia.tools.tool_catalogue import ToolCatalogue
from tertulia.tools.tool_set import check_call, estimated_cost
from tertulia.tools.validation import parse_arguments

P = ParamSpec("P")
T = TypeVar("T")
MAX_DRY_RUN_CHARACTERS = 5000  # characters of the text of a dry run
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CallContext:
    """What a call may use: the requester as actor, the database, and the guarded HTTP client."""

    db: Database
    actor: Actor
    chat_id: str
    message_id: str
    client: httpx.AsyncClient
    question_of: Callable[[Question], Awaitable[Reply]]

    async def ask(self, question: Question) -> Reply:
        return await self.question_of(question)

    async def read(self, work: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.db.read(work, *args, **kwargs)

    async def write(self, work: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.db.write(work, *args, **kwargs)


class ToolRunner:
    def __init__(self, db: Database, catalogue: ToolCatalogue, client: httpx.AsyncClient) -> None:
        """Use `client` for addresses that models name: it refuses internal addresses (http/outbound.py)."""
        self.catalogue = catalogue
        self._db = db
        self._client = client
        self._questions = Questions(db)
        self._working: dict[str, asyncio.Task[CallOutcome]] = {}
        db.on_wake(self._on_wake)

    async def offered(
        self, run: ClaimedRun, takes_tools: bool | None, *, window: int | None, can_read_on: bool
    ) -> list[OfferedTool]:
        """Return the chat's tools, if its model is not known to take none, and declare their state schema.

        They come from the payer's tools, so that other writers get none of the owner's. If a file of the chat may not fit
        the window, a model that surely takes tools (`can_read_on`) can also read on in it.
        """
        keys = None if takes_tools is False else await self._db.read_hot(_chosen, run.chat_id)
        if can_read_on and await self._db.read_hot(_has_long_file, run.chat_id, window):
            keys = [*(keys or ()), READ_ON]
        if not keys:
            return []
        offered = (await self.catalogue.of(run.payer_id)).chosen(keys)
        declared = next((tool.tool.state_schema for tool in offered if tool.tool.state_schema is not None), None)
        if declared is not None and await self._db.read(may_declare, run.chat_id, declared):
            await self._db.write(with_lease, run, _declare, declared)
        return offered

    async def prepare(
        self, run: ClaimedRun, calls: Sequence[ToolCall], offered: Sequence[OfferedTool]
    ) -> list[ProposedCall]:
        """Check proposed calls before the rules apply: validity, estimated cost, and whether the person named their destination."""
        by_name = {tool.wire_name: tool for tool in offered}
        # Not on the event loop: schemas and cost estimates come from third parties.
        proposed = await asyncio.to_thread(lambda: [_proposed_call(call, by_name.get(call.name)) for call in calls])
        if not any(call.offered is not None and call.offered.tool.sends_out for call in proposed):
            return proposed
        own_words = await self._db.read(load_own_words, run.chat_id, run.payer_id)
        return await asyncio.to_thread(lambda: [with_destination(call, own_words) for call in proposed])

    async def run_approved(self, run: ClaimedRun, live: LiveRun) -> None:
        """Execute the approved calls: in parallel where allowed, then the others in sequence. Raises LeaseLost."""
        ready = await self._db.read(list_approved, run.id)
        toolbox = await self.catalogue.of(run.payer_id)
        together: list[tuple[Ready, OfferedTool | None]] = []
        alone: list[tuple[Ready, OfferedTool | None]] = []
        for call in ready:
            tool = toolbox.find(call.tool_name, call.server)
            (together if tool is not None and tool.tool.is_parallel_safe else alone).append((call, tool))
        tasks = [asyncio.create_task(self._run_one(run, live, call, tool)) for call, tool in together]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
        for call, tool in alone:
            await self._run_one(run, live, call, tool)

    async def dry_run(self, execution: ToolExecution, edited: str | None, *, actor: Actor) -> str | None:
        """Describe what a call would do, with its own arguments or `edited` ones (JSON); None if its tool cannot tell.

        Raises ArgumentsInvalid, and what the tool raises.
        """
        offered = (await self.catalogue.of(actor.user_id)).find(execution.tool_name, execution.server)
        tool = offered.tool if offered is not None else None
        if offered is None or not isinstance(tool, DryRun):
            return None
        arguments = execution.parameters
        if edited is not None:
            arguments = parse_arguments(edited)
            check_call(offered, arguments)
        context = CallContext(self._db, actor, execution.chat_id, execution.message_id, self._client, _cancel_question)
        async with asyncio.timeout(MAX_TIME_S):
            return (await tool.dry_run(arguments, context))[:MAX_DRY_RUN_CHARACTERS]

    def _on_wake(self, signal: str) -> None:
        if signal.startswith(CALL_PREFIX):
            task = self._working.get(signal.removeprefix(CALL_PREFIX))
            if task is not None:
                task.cancel()

    async def _run_one(self, run: ClaimedRun, live: LiveRun, ready: Ready, offered: OfferedTool | None) -> None:
        if offered is None and self.catalogue.is_away(ready.server):
            message = f"{ready.server} has not listed its tools yet, or cannot be reached. Nothing was called."
            await self._db.write(with_lease, run, fail_approved, ready.id, "tool_server_failed", message)
        elif offered is None or offered.digest != ready.definition_digest:
            message = "The tool no longer exists." if offered is None else "The tool changed after it was approved."
            await self._db.write(with_lease, run, fail_approved, ready.id, "tool_gone", message)
        elif await self._db.write(with_lease, run, start_execution, ready.id):
            work = asyncio.create_task(self._call(run, ready, offered), name=f"call-{ready.id}")
            self._working[ready.id] = work
            try:
                # It may have been cancelled before it was registered here.
                if await self._db.read(_status_of, ready.id) is not ToolStatus.EXECUTING:
                    work.cancel()
                await asyncio.wait({work})
            finally:
                work.cancel()  # the run itself is stopped: its end records the outcome of its calls
                del self._working[ready.id]
            if not work.cancelled():
                await self._db.write(with_lease, run, finish_execution, ready.id, work.result())
        status = await self._db.read(_status_of, ready.id)
        live.publish_call_event(
            {
                "type": "tool.finished",
                "message_id": run.message_id,
                "tool_execution_id": ready.id,
                "status": status,
            }
        )

    async def _call(self, run: ClaimedRun, ready: Ready, offered: OfferedTool) -> CallOutcome:
        """Execute a call. Every failure becomes an outcome; error texts of tools are untrusted."""
        started = time.monotonic()
        limit = min(offered.tool.timeout_s, MAX_TIME_S)

        def took() -> int:
            return round((time.monotonic() - started) * 1000)

        try:
            actor = await self._db.read(_actor_of, run.payer_id)
            time_left = CallClock(limit)

            async def ask(question: Question) -> Reply:
                async with one_at_a_time:
                    if time_left.questions_left <= 0 or time_left.asking_left_s <= 0:
                        return Reply("cancel")
                    with time_left.stopped():
                        return await self._questions.ask(run, ready.id, question, time_left.asking_left_s)

            one_at_a_time = asyncio.Lock()
            context = CallContext(self._db, actor, run.chat_id, run.message_id, self._client, ask)
            async with time_left.limit:
                returned = await offered.tool.call(ready.arguments, context)
            result = await asyncio.to_thread(store_result, returned)
            sources = offered.default_sources if returned.sources is None else returned.sources
            cost = as_cost(returned.cost)
            is_absurd = returned.cost is not None and cost is None
            return CallOutcome(ToolStatus.COMPLETED, took(), result, cost, is_cost_invalid=is_absurd, sources=sources)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            message = "The tool stopped before it had a result."  # the tool raised it: this task was not cancelled
            return CallOutcome(ToolStatus.FAILED, took(), error_code="tool_failed", error_message=message)
        except TimeoutError:
            if not time_left.limit.expired():
                message = "The tool waited too long for something it needs."
                return CallOutcome(ToolStatus.TIMEOUT, took(), error_code="tool_timeout", error_message=message)
            message = f"It took longer than {limit:.0f} seconds and was stopped. It may have had its effect."
            return CallOutcome(ToolStatus.TIMEOUT, took(), error_code="tool_timeout", error_message=message)
        except AppError as error:
            message = error.detail.replace("\x00", "\ufffd")[:2000]
            # A call that was not made costs nothing.
            cost = Decimal(0) if isinstance(error, ServerFailed | ToolChanged) else None
            return CallOutcome(ToolStatus.FAILED, took(), cost=cost, error_code=error.code[:40], error_message=message)
        except Exception:
            log.exception("a tool failed", extra={"tool": offered.key})
            message = "The tool failed unexpectedly. The server's log has the details."
            return CallOutcome(ToolStatus.FAILED, took(), error_code="tool_failed", error_message=message)


async def _cancel_question(_question: Question) -> Reply:
    return Reply("cancel")


def _proposed_call(call: ToolCall, offered: OfferedTool | None) -> ProposedCall:
    try:
        arguments = parse_arguments(call.arguments)
    except ArgumentsInvalid as error:
        return ProposedCall(call, offered, {}, error.detail)
    if offered is None:
        return ProposedCall(call, None, arguments)
    try:
        check_call(offered, arguments)
    except ArgumentsInvalid as error:
        return ProposedCall(call, offered, arguments, error.detail)
    return ProposedCall(call, offered, arguments, estimated=estimated_cost(offered, arguments))


# Characters of a file for each token of the window from which on it counts as long: half of the window is for history.
LONG_FILE = 1.5
READ_ON = "read_attachment"


def _has_long_file(session: Session, chat_id: str, window: int | None) -> bool:
    chosen = session.scalars(sa.select(Chat.context_window_size).where(Chat.id == chat_id)).one()
    return has_long_file(session, chat_id, smaller_window(chosen, window) * LONG_FILE)


def _chosen(session: Session, chat_id: str) -> list[str] | None:
    return session.scalars(sa.select(Chat.settings).where(Chat.id == chat_id)).one().tools


def _declare(session: Session, run_ref: RunRef, schema: Mapping[str, Any]) -> None:
    declare_schema(session, _actor_of(session, run_ref.payer_id), ChatId(run_ref.chat_id), schema)


def _status_of(session: Session, call_id: str) -> ToolStatus | None:
    return session.scalar(sa.select(ToolExecution.status).where(ToolExecution.id == call_id))


def _actor_of(session: Session, user_id: str) -> Actor:
    """Return the user as an actor with their current role."""
    role = session.scalars(sa.select(User.role).where(User.id == user_id)).one()
    return Actor(UserId(user_id), role)
