"""Request replies: send, edit, regenerate, continue, cancel. A request is committed before it is executed."""

from collections.abc import Callable
from dataclasses import dataclass, field

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.actor import Actor
from tertulia.accounts.row_limits import RowLimits
from tertulia.billing.counts import count_message
from tertulia.billing.ledger import lock_payer
from tertulia.billing.limits import Payer
from tertulia.billing.room import check_room
from tertulia.chat.access import may_write_chat
from tertulia.chat.errors import ChannelHasNoBranches
from tertulia.chat.indexing import index_stored
from tertulia.chat.messages import (
    LockedChat,
    ThreadPlace,
    announce_message,
    append_message,
    check_hand,
    edit_in_place,
    find_place,
    lock_chat,
    lock_place,
    post_message,
    with_files,
    written_parts,
)
from tertulia.chat.models import Chat, ChatKind, Message, MessageMetadata, MessageRole, MessageStatus
from tertulia.db import wake
from tertulia.drafts.proposals import finish_proposal, reopen_proposal
from tertulia.ids import ChatId, MessageId, RunId, new_id
from tertulia.providers.configs import split_key
from tertulia.providers.errors import ModelUnknown, PriceUnknown
from tertulia.providers.model_catalogue import KnownModels, ModelChoice
from tertulia.providers.pricing import Pricing, find_pricing
from tertulia.realtime.models import Operation
from tertulia.runs.calls.life import close_calls
from tertulia.runs.errors import NotAReply, NothingToContinue, RunNotFound, TooManyRuns
from tertulia.runs.model_choice import choose_model
from tertulia.runs.models import ReplyOptions, Run, RunStatus
from tertulia.runs.reading import RUNS, announce_run, read_run, wake_followers
from tertulia.runs.schemas import (
    Answer,
    MessageCreate,
    MessageEdit,
    ModelRef,
    Regenerate,
    RunRead,
    Sent,
)


@dataclass(frozen=True)
class RunOptions:
    """The models a user may choose, loaded only when needed, and their limits (None: unlimited)."""

    models: Callable[[Session, Actor], KnownModels]
    messages_per_day: int | None = None
    limits: RowLimits = field(default_factory=RowLimits)


MAX_QUEUED = 20


def send_message(session: Session, actor: Actor, chat_id: ChatId, new: MessageCreate, options: RunOptions) -> Sent:
    """Store a user's message, with an empty reply and a queued run for each chosen model."""
    parts = written_parts(new)
    chat = lock_chat(session, actor, chat_id)
    written = with_files(session, actor, chat, parts)
    replies = new.reply and chat.kind is not ChatKind.CHANNEL  # people talk there with one another
    count_message(session, actor.user_id, limit=options.messages_per_day)
    choices = _choose(session, actor, chat, options.models(session, actor), several=new.models) if replies else []
    previous = MessageId(new.previous_message_id) if new.previous_message_id else None
    parent = MessageId(new.parent_message_id) if new.parent_message_id else None
    message_id = post_message(session, actor, chat, written, previous_message_id=previous, parent_message_id=parent)
    sent = _answered(session, actor, chat, message_id, choices, new.options)
    if parent is not None:  # it has one reply more
        announce_message(session, chat.owner_id, parent, Operation.UPDATED, with_chat=False)
    return sent


def edit_message(session: Session, actor: Actor, message_id: MessageId, edit: MessageEdit, options: RunOptions) -> Sent:
    """Create a sibling with the new text, and a reply to it if a user wrote it; or change the message in place."""
    place, chat = lock_place(session, actor, message_id)
    written = with_files(session, actor, chat, written_parts(edit))
    if edit.in_place:
        check_hand(chat, place.author_id, actor=actor)
        edit_in_place(session, chat, message_id, written)
        return {
            "message": announce_message(session, chat.owner_id, message_id, Operation.UPDATED),
            "reply": None,
            "run": None,
            "others": [],
        }
    if place.role is MessageRole.USER:
        count_message(session, actor.user_id, limit=options.messages_per_day)
    if chat.kind is ChatKind.CHANNEL:
        raise ChannelHasNoBranches
    answered = edit.reply and place.role is MessageRole.USER
    choices = _choose(session, actor, chat, options.models(session, actor)) if answered else []
    sibling_id = append_message(
        session,
        chat,
        role=place.role,
        parts=written.parts,
        attached=written.attached,
        status=MessageStatus.SENT,
        previous_message_id=place.previous_message_id,
        author_id=actor.user_id,
        thread=place.thread,
    )
    sent = _answered(session, actor, chat, sibling_id, choices, edit.options)
    if place.parent_message_id is not None:
        announce_message(session, chat.owner_id, place.parent_message_id, Operation.UPDATED, with_chat=False)
    return sent


def regenerate_message(
    session: Session, actor: Actor, message_id: MessageId, request: Regenerate, options: RunOptions
) -> Sent:
    """Add another reply to the same message, or one for each named model. Raises NotAReply."""
    place, chat = lock_place(session, actor, message_id)
    if place.role is not MessageRole.ASSISTANT or place.previous_message_id is None:
        raise NotAReply
    choices = _choose(session, actor, chat, options.models(session, actor), requested=request, several=request.models)
    answers = _add_replies(session, actor, chat, place.previous_message_id, choices, request.options)
    message = announce_message(session, chat.owner_id, place.previous_message_id, Operation.UPDATED, with_chat=False)
    return {"message": message, **answers[0], "others": answers[1:]}


def continue_message(session: Session, actor: Actor, message_id: MessageId, options: RunOptions) -> Sent:
    """Queue a run that appends to an interrupted or failed reply. Raises NothingToContinue."""
    place, chat = lock_place(session, actor, message_id)
    if place.role is not MessageRole.ASSISTANT or place.status not in (
        MessageStatus.INTERRUPTED,
        MessageStatus.ERROR,
    ):
        raise NothingToContinue
    details = session.scalars(sa.select(Message.details).where(Message.id == message_id)).one()
    options_before = session.scalars(
        sa.select(Run.options).where(Run.message_id == message_id).order_by(Run.id.desc()).limit(1)
    ).first()
    request = Regenerate(provider=details.provider, model_name=details.model)
    run_id = _queue_run(
        session,
        actor,
        chat,
        message_id,
        _choose(session, actor, chat, options.models(session, actor), requested=request)[0],
        continues=True,
        options=options_before,
    )
    session.execute(
        sa.update(Message)
        .where(Message.id == message_id)
        .values(status=MessageStatus.SENDING, details=details.model_copy(update={"run_id": run_id, "error": None}))
    )
    reopen_proposal(session, message_id)
    message = announce_message(session, chat.owner_id, message_id, Operation.UPDATED)
    return {
        "message": message,
        "reply": message,
        "run": announce_run(session, chat.owner_id, run_id, Operation.CREATED),
        "others": [],
    }


def request_cancel(session: Session, actor: Actor, run_id: RunId) -> RunRead:
    """Ask a run to stop. A queued or waiting run ends at once, and an ended run does not change. Text is kept."""
    run = session.scalars(
        sa.select(Run)
        .join(Chat, Chat.id == Run.chat_id)
        .where(Run.id == run_id, may_write_chat(Chat.id, Chat.user_id))
        .with_for_update(of=Run),
        {"actor_id": actor.user_id},
    ).one_or_none()
    if run is None:
        raise RunNotFound
    owner_id = session.scalars(sa.select(Chat.user_id).where(Chat.id == run.chat_id)).one()
    if run.status in (RunStatus.QUEUED, RunStatus.AWAITING_APPROVAL):
        return end_queued(session, run, owner_id)
    if run.status is RunStatus.RUNNING:
        run.cancel_requested_at = run.cancel_requested_at or clock.now()
        session.flush()
        return announce_run(session, owner_id, RunId(run.id), Operation.UPDATED)
    return read_run(run)


def end_queued(session: Session, run: Run, chat_owner_id: str) -> RunRead:
    """Cancel a run that is queued or awaits approval. Its message is kept as interrupted."""
    run.status, run.ended_at = RunStatus.CANCELLED, clock.now()
    session.flush()
    close_calls(session, run.id, chat_owner_id, was_cancelled=True)
    session.execute(sa.update(Message).where(Message.id == run.message_id).values(status=MessageStatus.INTERRUPTED))
    index_stored(session, [run.message_id])
    finish_proposal(session, run.message_id, is_whole=False)
    announce_message(session, chat_owner_id, MessageId(run.message_id), Operation.UPDATED)
    wake_followers(session, run.id)
    return announce_run(session, chat_owner_id, RunId(run.id), Operation.UPDATED)


def _choose(
    session: Session,
    actor: Actor,
    chat: LockedChat,
    known: KnownModels,
    *,
    requested: Regenerate | None = None,
    several: list[ModelRef] | None = None,
) -> list[ModelChoice]:
    if several:
        return [known.choose(wanted.provider, wanted.model_name, None) for wanted in several]
    if requested is not None and (requested.provider or requested.model_name):
        return [known.choose(requested.provider, requested.model_name, None)]
    try:
        return [choose_model(session, actor, known, chat.project_id, chat.provider, chat.model_name)]
    except ModelUnknown:
        if actor.user_id == chat.owner_id:
            raise
        # The chat's model belongs to its owner. Other writers use their own default model.
        return [choose_model(session, actor, known, chat.project_id)]


def _answered(
    session: Session,
    actor: Actor,
    chat: LockedChat,
    message_id: MessageId,
    choices: list[ModelChoice],
    options: ReplyOptions | None,
) -> Sent:
    """Announce a new message, then add a reply of each chosen model and announce it."""
    message = announce_message(session, chat.owner_id, message_id, Operation.CREATED, with_chat=not choices)
    if not choices:
        return {"message": message, "reply": None, "run": None, "others": []}
    answers = _add_replies(session, actor, chat, message_id, choices, options)
    return {"message": message, **answers[0], "others": answers[1:]}


def _add_replies(
    session: Session,
    actor: Actor,
    chat: LockedChat,
    previous_message_id: MessageId,
    choices: list[ModelChoice],
    options: ReplyOptions | None,
) -> list[Answer]:
    """Add a reply of each model; the first is the one shown. All exist before any is announced, so each sees all."""
    thread = find_place(session, previous_message_id).thread
    replies = [_add_reply(session, actor, chat, previous_message_id, choice, thread, options) for choice in choices]
    if len(replies) > 1 and thread is None:
        session.execute(sa.update(Chat).where(Chat.id == chat.id).values(head_message_id=replies[0][0]))
    answers: list[Answer] = []
    for reply_id, run_id in replies:
        reply = announce_message(
            session, chat.owner_id, reply_id, Operation.CREATED, with_chat=reply_id is replies[-1][0]
        )
        answers.append({"reply": reply, "run": announce_run(session, chat.owner_id, run_id, Operation.CREATED)})
    return answers


def _add_reply(
    session: Session,
    actor: Actor,
    chat: LockedChat,
    previous_message_id: MessageId,
    choice: ModelChoice,
    thread: ThreadPlace | None,
    options: ReplyOptions | None,
) -> tuple[MessageId, RunId]:
    """Add an empty reply to a message, and queue the run that will write it."""
    run_id = RunId(new_id())
    reply_id = append_message(
        session,
        chat,
        role=MessageRole.ASSISTANT,
        parts=[],
        status=MessageStatus.SENDING,
        previous_message_id=previous_message_id,
        metadata=MessageMetadata(provider=choice.provider, model=choice.model_name, run_id=run_id),
        thread=thread,
    )
    _queue_run(session, actor, chat, reply_id, choice, run_id=run_id, options=options)
    return reply_id, run_id


def _pricing_of(session: Session, choice: ModelChoice) -> Pricing:
    """Return how a model is priced. Raises PriceUnknown if the administrator refuses models without one."""
    pricing = find_pricing(session, split_key(choice.provider)[0], choice.model_name)
    if pricing.is_refused:
        raise PriceUnknown(choice.model_name)
    return pricing


def _queue_run(
    session: Session,
    actor: Actor,
    chat: LockedChat,
    message_id: MessageId,
    choice: ModelChoice,
    *,
    run_id: RunId | None = None,
    continues: bool = False,
    options: ReplyOptions | None = None,
) -> RunId:
    """Queue a run for a reply. Raises TooManyRuns. Locks the user's row, so that the count is exact."""
    lock_payer(session, actor.user_id)
    waiting = session.scalar(
        sa.select(sa.func.count()).where(Run.requested_by == actor.user_id, Run.status == RunStatus.QUEUED)
    )
    if waiting is not None and waiting >= MAX_QUEUED:
        raise TooManyRuns(MAX_QUEUED)
    pricing = _pricing_of(session, choice)
    check_room(session, Payer(actor.user_id, chat.id, actor.token_id), pricing.most, pricing.second_price)
    run_id = run_id or RunId(new_id())
    session.add(
        Run(
            id=run_id,
            chat_id=chat.id,
            message_id=message_id,
            requested_by=actor.user_id,
            api_token_id=actor.token_id,
            provider=choice.provider,
            model_name=choice.model_name,
            continues=continues,
            options=options,
        )
    )
    session.flush()
    wake(session, RUNS)
    return run_id
