"""Following a run from anywhere, whole: live where it is written, from the stored message elsewhere and afterwards."""

from collections.abc import AsyncIterator, Mapping

from sqlalchemy.orm import Session

from tertulia.accounts.actor import Actor
from tertulia.chat.models import Message
from tertulia.chat.parts import Part, ReasoningPart, TextPart
from tertulia.chat.schemas import MessageRead
from tertulia.chat.service import get_message
from tertulia.db import Database
from tertulia.http.sse import KEEP_ALIVE, sse
from tertulia.ids import MessageId, RunId
from tertulia.runs.executor import RunExecutor
from tertulia.runs.models import RunStatus
from tertulia.runs.schemas import RunRead
from tertulia.runs.service import get_run

ENDED = (RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED, RunStatus.INTERRUPTED)
KEEP_ALIVE_ROUNDS = 15


def read_run_and_message(session: Session, run_id: RunId, *, actor: Actor) -> tuple[RunRead, MessageRead, list[Part]]:
    run = get_run(session, run_id, actor=actor)
    message = get_message(session, MessageId(run["message_id"]), actor=actor)
    return run, message, session.get_one(Message, run["message_id"]).parts


async def follow_run(
    db: Database, executor: RunExecutor, run_id: RunId, last_event_id: str | None, *, actor: Actor
) -> AsyncIterator[bytes]:
    """Every event of a run, ending with its end. The caller has checked that the actor may read it."""
    sent = _StoredStream(run_id)
    rounds = 0
    if last_event_id and executor.find_live(run_id) is None:
        run, _, _ = await db.read(read_run_and_message, run_id, actor=actor)
        yield sent.reset(run["message_id"])
    while True:
        live = executor.find_live(run_id)
        if live is not None:
            async for chunk in live.follow(last_event_id if not sent.has_begun else "elsewhere-0"):
                yield chunk
            return
        run, message, parts = await db.read(read_run_and_message, run_id, actor=actor)
        if run["status"] in ENDED:
            yield sent.grow(run, parts) + sent.end(run, message)
            return
        if run["status"] is not RunStatus.QUEUED and rounds > 0:  # at first it may be just about to begin here
            yield sent.grow(run, parts)
        rounds += 1
        if rounds % KEEP_ALIVE_ROUNDS == 0:
            yield KEEP_ALIVE
        await executor.changed()


class _StoredStream:
    """Events made from what is stored, for a run that another process writes, or that is over."""

    def __init__(self, run_id: str) -> None:
        self._id = f"stored{run_id[:8]}-0"  # nothing can be resumed after these: a reader that returns starts again
        self._lengths: list[int] = []
        self.has_begun = False

    def reset(self, message_id: str) -> bytes:
        return self._event({"type": "message.reset", "message_id": message_id})

    def grow(self, run: RunRead, parts: list[Part]) -> bytes:
        """What has come since the last look; stored text only ever grows."""
        chunks = []
        if not self.has_begun:
            self.has_begun = True
            started = {name: run[name] for name in ("chat_id", "message_id")}
            chunks.append(self._event({"type": "run.started", "run_id": run["id"], **started}))
        for index, part in enumerate(parts):
            if not isinstance(part, TextPart | ReasoningPart):
                continue
            self._lengths += [0] * (index + 1 - len(self._lengths))
            if len(part.text) > self._lengths[index]:
                kind = "reasoning.delta" if isinstance(part, ReasoningPart) else "text.delta"
                text = part.text[self._lengths[index] :]
                chunks.append(
                    self._event({"type": kind, "message_id": run["message_id"], "part_index": index, "text": text})
                )
                self._lengths[index] = len(part.text)
        return b"".join(chunks)

    def end(self, run: RunRead, message: MessageRead) -> bytes:
        finished = self._event({"type": "message.finished", "message": message})
        if run["status"] is RunStatus.FAILED and run["error"] is not None:
            return finished + self._event({"type": "run.failed", **run["error"]})
        last = {"type": "run.finished", "status": run["status"], "usage": run["usage"], "cost": run["cost"]}
        return finished + self._event(last)

    def _event(self, event: Mapping[str, object]) -> bytes:
        return sse(str(event["type"]), event, self._id)
