"""The lease under which a process executes a run. Every write of a run renews it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.allowances import Allowed
from tertulia.billing.limits import Payer
from tertulia.chat.parts import Part
from tertulia.db import Prepared, seconds_from_now
from tertulia.ids import ChatId, MessageId, RunId
from tertulia.runs.errors import LeaseLost
from tertulia.runs.models import ReplyOptions, Run, RunStatus


@dataclass(frozen=True)
class RunRef:
    """The run that tool calls belong to, and its users."""

    chat_id: str
    message_id: str
    run_id: str
    owner_id: str  # of the chat
    payer_id: str
    api_token_id: str | None = None

    @property
    def payer(self) -> Payer:
        return Payer(self.payer_id, self.chat_id, self.api_token_id)


LEASE_S = 8
EVERYTHING = Allowed()


@dataclass(frozen=True)
class ClaimedRun:
    """A run that this process executes, with the lease under which it writes."""

    id: RunId
    chat_id: ChatId
    message_id: MessageId
    owner_id: str  # of the chat
    provider: str
    model_name: str
    continues: bool
    payer_id: str  # who requested it; their API key, money and limits are used
    lease_owner: str
    lease_number: int
    parts: tuple[Part, ...]  # already stored in the message
    options: ReplyOptions
    api_token_id: str | None = None
    allowed: Allowed = EVERYTHING  # by the payer's plan

    @property
    def ref(self) -> RunRef:
        """Return the run and users on whose behalf tools are called."""
        return RunRef(self.chat_id, self.message_id, self.id, self.owner_id, self.payer_id, self.api_token_id)


T = TypeVar("T")


# Every run executes it at each checkpoint.
_RENEW = Prepared(
    sa.update(Run)
    .where(
        Run.id == sa.bindparam("the_run", type_=Run.id.type),
        Run.lease_owner == sa.bindparam("owner", type_=sa.String()),
        Run.lease_number == sa.bindparam("number", type_=sa.Integer()),
        Run.status == RunStatus.RUNNING,
    )
    .values(
        lease_expires_at=seconds_from_now(LEASE_S),
        updated_at=sa.bindparam("moment", type_=Run.created_at.type),
    )
)


def with_lease(session: Session, run: ClaimedRun, work: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Run `work` only if this process holds the lease of the run. Raises LeaseLost."""
    hold_lease(session, run)
    return work(session, run.ref, *args, **kwargs)


def hold_lease(session: Session, run: ClaimedRun) -> None:
    """Renew the lease, or raise LeaseLost if it is not held. On PostgreSQL this also locks the run's row."""
    held = _RENEW.run(
        session,
        the_run=run.id,
        owner=run.lease_owner,
        number=run.lease_number,
        moment=clock.now(),
    )
    if held != 1:
        raise LeaseLost
