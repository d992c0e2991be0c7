"""Questions that a running tool asks the user. They are stored, so that any device can answer through any process."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.actor import Actor
from tertulia.db import Database, rowcount, wake
from tertulia.ids import ToolExecutionId, new_id
from tertulia.realtime.models import Operation
from tertulia.runs.calls.reading import announce_call, check_decides, get_call, get_execution, owner_of
from tertulia.runs.lease import ClaimedRun, RunRef, with_lease
from tertulia.tools.errors import QuestionGone
from tertulia.tools.models import StoredQuestion, StoredReply, ToolExecution, ToolStatus
from tertulia.tools.protocol import Question, Reply
from tertulia.tools.schemas import AnswerQuestion, ToolExecutionRead
from tertulia.tools.validation import check_arguments

ANSWER_PREFIX = "answer:"  # prefix of a call id: the signal that its question was answered
ANSWERED_WITHIN_S = 600.0
MAX_QUESTIONS = 10  # per call
LOOK_S = 2.0  # between reads of the stored answer, because a signal of another process may be lost
_OPEN_PAGE = {"type": "object", "maxProperties": 0}


class CallClock:
    """The time limit of a call. It pauses during questions: at most ten minutes and ten questions in all."""

    def __init__(self, seconds: float) -> None:
        self.limit = asyncio.timeout(seconds)
        self.asking_left_s = ANSWERED_WITHIN_S
        self.questions_left = MAX_QUESTIONS

    @contextmanager
    def stopped(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        asked_at = loop.time()
        left = (self.limit.when() or asked_at) - asked_at
        self.limit.reschedule(None)
        self.questions_left -= 1
        try:
            yield
        finally:
            self.asking_left_s -= loop.time() - asked_at
            self.limit.reschedule(loop.time() + left)


class Questions:
    """The questions of the calls that this process executes."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._answered: dict[str, asyncio.Event] = {}
        db.on_wake(self._on_wake)

    async def ask(self, run: ClaimedRun, call_id: str, question: Question, within_s: float) -> Reply:
        """Ask the user who requested the call and wait for the answer. No answer in time counts as `cancel`. Raises LeaseLost."""
        stored_question = StoredQuestion(
            id=new_id(),
            message=question.message,
            form=dict(question.form) if question.form is not None else None,
            url=question.url,
            asked_at=clock.now(),
        )
        event = self._answered[call_id] = asyncio.Event()
        try:
            if not await self._db.write(with_lease, run, put_question, call_id, stored_question):
                return Reply("cancel")  # it was stopped meanwhile
            async with asyncio.timeout(within_s):
                while True:
                    reply = await self._db.read(_find_reply, call_id, stored_question.id)
                    if reply is not None:
                        return reply
                    event.clear()
                    try:
                        async with asyncio.timeout(LOOK_S):
                            await event.wait()
                    except TimeoutError:
                        continue
        except TimeoutError:
            await self._db.write(with_lease, run, remove_question, call_id, stored_question)
            # An answer may have been stored at the last moment.
            return await self._db.read(_find_reply, call_id, stored_question.id) or Reply("cancel")
        finally:
            del self._answered[call_id]

    def _on_wake(self, signal: str) -> None:
        if signal.startswith(ANSWER_PREFIX):
            event = self._answered.get(signal.removeprefix(ANSWER_PREFIX))
            if event is not None:
                event.set()


def put_question(session: Session, run_ref: RunRef, call_id: str, question: StoredQuestion) -> bool:
    """Store a question on an executing call. Return False if the call has ended."""
    return _change(session, run_ref.owner_id, call_id, question=question, reply=None)


def remove_question(session: Session, run_ref: RunRef, call_id: str, question: StoredQuestion) -> None:
    """Remove a question that was not answered in time."""
    stored = session.scalar(sa.select(ToolExecution.question).where(ToolExecution.id == call_id).with_for_update())
    if stored is not None and stored.id == question.id:
        _change(session, run_ref.owner_id, call_id, question=None)


def _change(session: Session, owner_id: str, call_id: str, **values: object) -> bool:
    moved = rowcount(
        session,
        sa.update(ToolExecution)
        .where(ToolExecution.id == call_id, ToolExecution.status == ToolStatus.EXECUTING)
        .values(updated_at=clock.now(), **values),
    )
    if moved:
        announce_call(session, call_id, Operation.UPDATED, owner_id=owner_id)
    return moved == 1


def answer_question(
    session: Session, actor: Actor, call_id: ToolExecutionId, answer: AnswerQuestion
) -> ToolExecutionRead:
    """Store the answer to a question and wake its call.

    Raises NotYoursToDecide, QuestionGone, and ArgumentsInvalid if the answer does not fit the form.
    """
    execution = get_execution(session, actor, call_id)
    check_decides(execution, actor=actor)
    question = execution.question
    if question is None or question.id != answer.question_id or execution.status is not ToolStatus.EXECUTING:
        raise QuestionGone
    content = None
    if answer.action == "accept":
        content = dict(answer.content or {})
        check_arguments(question.form or _OPEN_PAGE, content)
    moved = rowcount(
        session,
        sa.update(ToolExecution)
        # Compares the time of the last change, so that only one of two concurrent answers is stored.
        .where(
            ToolExecution.id == call_id,
            ToolExecution.status == ToolStatus.EXECUTING,
            ToolExecution.updated_at == execution.updated_at,
        )
        .values(
            question=None,
            reply=StoredReply(question_id=question.id, action=answer.action, content=content),
            updated_at=clock.now(),
        ),
    )
    if not moved:
        raise QuestionGone
    wake(session, ANSWER_PREFIX + call_id)
    announce_call(session, call_id, Operation.UPDATED, owner_id=owner_of(session, execution.chat_id))
    return get_call(session, actor, call_id)


def _find_reply(session: Session, call_id: str, question_id: str) -> Reply | None:
    stored = session.scalar(sa.select(ToolExecution.reply).where(ToolExecution.id == call_id))
    if stored is None or stored.question_id != question_id:
        return None
    return Reply(stored.action, stored.content)
