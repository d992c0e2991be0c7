"""End runs whose process died. Their stored text is kept, and the tokens the provider spent on them are counted."""

from collections.abc import Collection

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.billing.ledger import release
from tertulia.chat.indexing import index_stored
from tertulia.chat.messages import announce_message
from tertulia.chat.models import Chat, FinishReason, Message, MessageStatus, TokenCount
from tertulia.chat.parts import written_text
from tertulia.chat.service import lock_accounts
from tertulia.context.messages import estimate_tokens
from tertulia.db import utc_now
from tertulia.drafts.proposals import finish_proposal
from tertulia.ids import MessageId, RunId
from tertulia.providers.configs import split_key
from tertulia.providers.pricing import find_pricing
from tertulia.providers.protocol import Usage
from tertulia.realtime.models import Operation
from tertulia.runs.calls.life import close_calls
from tertulia.runs.engine.steps import release_at_tool_calls
from tertulia.runs.models import Run, RunStatus, Step
from tertulia.runs.reading import announce_run, wake_followers
from tertulia.runs.spending import count_usage


def has_abandoned(session: Session) -> bool:
    """Return whether any run has an expired lease. Reads an index and locks nothing."""
    query = sa.select(Run.id).where(Run.status == RunStatus.RUNNING, Run.lease_expires_at < utc_now())
    return session.scalar(query.limit(1)) is not None


def interrupt_abandoned(session: Session, *, everything: bool, but: Collection[str] = ()) -> int:
    """End the oldest run whose process died, and return 1, or 0 if there is none. Call it until it returns 0.

    Runs have died whose lease has expired, or all if `everything`. Each is a unit of work: the locks of several chats
    and payers, taken one after the other, could block others who take them in another order.

    Set `everything` if this is the only process. `but` holds the ids of runs that this process executes: it renews
    their leases itself, also after the machine has slept.
    """
    abandoned = sa.select(Run).where(Run.status == RunStatus.RUNNING, Run.id.not_in(list(but)))
    if not everything:
        abandoned = abandoned.where(Run.lease_expires_at < utc_now())
    rows = session.scalars(abandoned.order_by(Run.id).limit(1).with_for_update(skip_locked=True)).all()
    for run in rows:
        owner_id = session.scalars(sa.select(Chat.user_id).where(Chat.id == run.chat_id)).one()
        _interrupt(session, run, owner_id)
        wake_followers(session, run.id)
    return len(rows)


def _interrupt(session: Session, run: Run, owner_id: str) -> None:
    """Mark a run as interrupted, keep its stored text and count what the provider has written.

    If its last step ended with tool calls, the run is released for another process instead.
    """
    message = session.get_one(Message, run.message_id)
    step = session.scalars(sa.select(Step).where(Step.run_id == run.id).order_by(Step.number.desc()).limit(1)).first()
    if step is not None and step.ended_at is not None and step.finish_reason is FinishReason.TOOL_CALLS:
        release_at_tool_calls(session, run, owner_id)
        return
    request = step.request if step is not None else None
    # Before the first checkpoint it is unknown whether the provider was reached.
    if request is not None and message.status is MessageStatus.STREAMING:
        earlier = message.details.tokens.completion if message.details.tokens else 0
        written = max(0, estimate_tokens(written_text(message.parts)) - earlier)
        tokens = TokenCount(
            prompt=request.estimated_tokens,
            completion=written,
            total=request.estimated_tokens + written,
            estimated=True,
        )
        usage = Usage(tokens.prompt, tokens.completion)
        pricing = find_pricing(session, split_key(run.provider)[0], run.model_name)
        now = clock.now()
        seconds = (now - step.created_at).total_seconds() if step is not None else 0
        cost = pricing.cost(usage, at=now, seconds=seconds)
        payer_id = run.requested_by or owner_id
        lock_accounts(session, run.chat_id, payer_id)
        count_usage(session, run, payer_id, tokens, cost)
    release(session, run.id)
    close_calls(session, run.id, owner_id, was_cancelled=False)
    run.status, run.ended_at, run.lease_number = RunStatus.INTERRUPTED, clock.now(), run.lease_number + 1
    message.status = MessageStatus.INTERRUPTED
    index_stored(session, [message.id])
    finish_proposal(session, message.id, is_whole=False)
    announce_message(session, owner_id, MessageId(run.message_id), Operation.UPDATED)
    announce_run(session, owner_id, RunId(run.id), Operation.UPDATED)
