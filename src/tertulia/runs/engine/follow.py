"""Follow a run from any process: live where it is executed, elsewhere and afterwards from the stored message."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping

from sqlalchemy.orm import Session

from tertulia.accounts.actor import Actor
from tertulia.chat.models import Message
from tertulia.chat.parts import CodePart, Part, ReasoningPart, TextPart
from tertulia.chat.schemas import MessageRead
from tertulia.chat.service import get_message
from tertulia.db import Database
from tertulia.http.sse import KEEP_ALIVE, KEEP_ALIVE_S, sse
from tertulia.ids import MessageId, RunId
from tertulia.runs.engine.executor import RunExecutor
from tertulia.runs.engine.remote import Piece, RemoteRuns
from tertulia.runs.live import added
from tertulia.runs.models import RunStatus
from tertulia.runs.reading import get_run
from tertulia.runs.schemas import RunRead

ENDED = (RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED, RunStatus.INTERRUPTED)
LOOK_EVERY_S = 1.0  # between reads of the stored message
BEGIN_S = 0.1


def read_run_and_message(session: Session, actor: Actor, run_id: RunId) -> tuple[RunRead, MessageRead, list[Part]]:
    run = get_run(session, actor, run_id)
    message = get_message(session, actor, MessageId(run["message_id"]))
    return run, message, session.get_one(Message, run["message_id"]).parts


async def follow_run(
    db: Database,
    executor: RunExecutor,
    remote: RemoteRuns,
    run_id: RunId,
    last_event_id: str | None,
    *,
    actor: Actor,
) -> AsyncIterator[bytes]:
    """Yield all events of a run until its end. The caller has checked that the actor may read it.

    A run that waits for a decision is not executed. When it resumes, here or elsewhere, following continues.
    """
    after = last_event_id
    while True:
        sent = _StoredStream(run_id)
        if executor.find_live(run_id) is None and after:
            run, _, _ = await db.read(read_run_and_message, actor, run_id)
            yield sent.reset(run["message_id"])
        if executor.find_live(run_id) is None:
            async for chunk in _follow_stored(db, executor, remote, run_id, sent, actor=actor):
                yield chunk
        if sent.has_ended:
            return
        live = executor.find_live(run_id)
        if live is not None:
            async for chunk in live.follow(after if not sent.has_begun else "elsewhere-0"):
                yield chunk
            if not live.is_suspended:
                return
        after = "elsewhere-0"


async def _follow_stored(
    db: Database, executor: RunExecutor, remote: RemoteRuns, run_id: RunId, sent: "_StoredStream", *, actor: Actor
) -> AsyncIterator[bytes]:
    """Follow a run that is not executed here, until it ends or begins in this process."""
    looked_at, keep_alive_at = 0.0, time.monotonic()
    is_begun_elsewhere = False
    with remote.follow(run_id) as followed, executor.watch(run_id, followed.woken):
        while executor.find_live(run_id) is None:
            pieces = followed.take()
            if not pieces or not sent.has_begun or time.monotonic() - looked_at >= LOOK_EVERY_S:
                looked_at = time.monotonic()
                run, message, parts = await db.read(read_run_and_message, actor, run_id)
                if run["status"] in ENDED:
                    yield sent.grow(run, parts) + sent.end(run, message)
                    return
                if run["status"] is not RunStatus.QUEUED and is_begun_elsewhere:
                    yield sent.grow(run, parts)
                elif run["status"] is RunStatus.AWAITING_APPROVAL:
                    yield sent.grow(run, parts)
                    await _wait(followed.woken, KEEP_ALIVE_S)
                    yield KEEP_ALIVE
                    continue
                elif run["status"] is not RunStatus.QUEUED:
                    # It was claimed a moment ago and may begin in this process, which has different event ids.
                    is_begun_elsewhere = True
                    await _wait(followed.woken, BEGIN_S)
                    continue
            fresh = b"".join(map(sent.add, pieces)) if sent.has_begun else b""
            if fresh:
                yield fresh
            if time.monotonic() - keep_alive_at >= KEEP_ALIVE_S:
                keep_alive_at = time.monotonic()
                yield KEEP_ALIVE
            await _wait(followed.woken, LOOK_EVERY_S)


async def _wait(event: asyncio.Event, limit_s: float) -> None:
    try:
        async with asyncio.timeout(limit_s):
            await event.wait()
    except TimeoutError:
        return


class _StoredStream:
    """Events built from the stored message, for a run that another process executes or that has ended."""

    def __init__(self, run_id: str) -> None:
        self._id = f"stored{run_id[:8]}-0"  # no stream resumes after this id: a reader that reconnects starts again
        self._lengths: list[int] = []
        self._kinds: dict[int, str] = {}  # of the parts that were sent
        self._message_id = ""
        self.has_begun = False
        self.has_ended = False

    def reset(self, message_id: str) -> bytes:
        return self._event({"type": "message.reset", "message_id": message_id})

    def grow(self, run: RunRead, parts: list[Part]) -> bytes:
        """Return events for what was stored since the last call. Stored text only ever grows."""
        chunks = []
        self._message_id = run["message_id"]
        if not self.has_begun:
            self.has_begun = True
            started = {name: run[name] for name in ("chat_id", "message_id")}
            chunks.append(self._event({"type": "run.started", "run_id": run["id"], **started}))
        for index, part in enumerate(parts):
            self._lengths += [0] * (index + 1 - len(self._lengths))
            if self._kinds.setdefault(index, part.type) != part.type:  # its text turned out to be thoughts
                self._kinds, self._lengths = {}, []
                return b"".join((*chunks, self.reset(run["message_id"]), self.grow(run, parts)))
            if isinstance(part, CodePart):
                continue
            if not isinstance(part, TextPart | ReasoningPart):
                if self._lengths[index] == 0:
                    chunks.append(self._event(added(run["message_id"], index, part)))
                self._lengths[index] = 1
                continue
            if len(part.text) > self._lengths[index]:
                kind = "reasoning.delta" if isinstance(part, ReasoningPart) else "text.delta"
                text = part.text[self._lengths[index] :]
                chunks.append(
                    self._event({"type": kind, "message_id": run["message_id"], "part_index": index, "text": text})
                )
                self._lengths[index] = len(part.text)
        return b"".join(chunks)

    def add(self, piece: Piece) -> bytes:
        """Return an event for text from another process. Text after a gap is dropped: the checkpoint contains it."""
        self._lengths += [0] * (piece.part_index + 1 - len(self._lengths))
        sent = self._lengths[piece.part_index]
        if not piece.offset <= sent < piece.offset + len(piece.text):
            return b""
        text = piece.text[sent - piece.offset :]
        self._lengths[piece.part_index] += len(text)
        kind = "reasoning.delta" if piece.is_reasoning else "text.delta"
        return self._event({"type": kind, "message_id": self._message_id, "part_index": piece.part_index, "text": text})

    def end(self, run: RunRead, message: MessageRead) -> bytes:
        self.has_ended = True
        finished = self._event({"type": "message.finished", "message": message})
        if run["status"] is RunStatus.FAILED and run["error"] is not None:
            return finished + self._event({"type": "run.failed", **run["error"]})
        last = {"type": "run.finished", "status": run["status"], "usage": run["usage"], "cost": run["cost"]}
        return finished + self._event(last)

    def _event(self, event: Mapping[str, object]) -> bytes:
        return sse(str(event["type"]), event, self._id)
