"""Set limits, and spend within them."""

from decimal import Decimal
from typing import Any

from sqlalchemy.orm import Session

from tertulia.accounts.actor import Actor
from tertulia.accounts.models import ApiToken
from tertulia.billing.ledger import Reason, RequestUsage, record_usage, reserve_request
from tertulia.billing.limits import Need, Payer
from tertulia.billing.models import QuotaSubject
from tertulia.billing.quotas import ChatOwnership, create_quota
from tertulia.billing.schemas import QuotaCreate
from tertulia.chat.service import is_own_chat
from tertulia.ids import new_id

CHATS = ChatOwnership(is_own_chat)


def limit(session: Session, actor: Actor, kind: str, subject_id: str, **values: Any) -> str:
    fields: dict[str, Any] = {"window": "month", "max_cost": "1"} | values
    new = QuotaCreate(subject_kind=QuotaSubject(kind), subject_id=subject_id, **fields)
    return create_quota(session, actor, new, CHATS)["id"]


def spend(session: Session, payer: Payer, cost: str = "0.30", *, answer: int = 20) -> None:
    """Reserve and settle a request of 10 tokens and an answer, at a cost."""
    need = Need(10, answer, price=lambda *_: Decimal(cost))
    granted = reserve_request(
        session, payer, Reason(), need, provider="openai", model_name="gpt", longest_answer=answer
    )
    used = RequestUsage("openai", "gpt", 10, answer, 0, is_estimated=False, cost=Decimal(cost))
    record_usage(session, used, payer, Reason(), reservation_id=granted.reservation_id)


def make_token(session: Session, user: Actor) -> str:
    token = ApiToken(user_id=user.user_id, name="script", token_hash=new_id().encode()[:32], prefix="p")
    session.add(token)
    session.flush()
    return token.id
