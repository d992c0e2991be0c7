"""Test what the ledger sets aside and settles, and whose messages are counted."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.actor import Actor
from tertulia.accounts.models import UserRole
from tertulia.billing.counts import count_message, get_message_count
from tertulia.billing.errors import TooManyGroups
from tertulia.billing.ledger import Reason, RequestUsage, record_usage, release, reserve_request
from tertulia.billing.limits import Need, Payer
from tertulia.billing.models import QuotaNotice, UsageLog, UsageStatus
from tertulia.billing.tool_ledger import ToolPayment, reserve_tool, settle, spent_on_tools
from tertulia.billing.usage import ChatTitles, UsageQuery, group_usage, sum_usage
from tertulia.ids import UserId, new_id
from tertulia.providers.protocol import ToolCall
from tertulia.runs.calls.proposing import ProposedCall, record_calls
from tertulia.runs.lease import RunRef
from tertulia.runs.models import Run
from tertulia.tools.protocol import OfferedTool
from tests.factories.chats import add_message, make_chat
from tests.factories.quotas import limit
from tests.fakes.tools import Recorder

USED = RequestUsage("openai", "gpt", 10, 20, 0, is_estimated=False, cost=Decimal("0.30"))


@pytest.fixture
def payment(session: Session, alice: Actor) -> ToolPayment:
    return make_payment(session, alice)


def make_payment(session: Session, user: Actor, run_id: str | None = None) -> ToolPayment:
    """Create a tool call, in a new run or an earlier one, and return how it is paid."""
    chat_id = make_chat(session, owner=user)
    message_id = add_message(session, chat_id, "", owner=user, is_reply=True)
    if run_id is None:
        run = {"id": new_id(), "chat_id": chat_id, "message_id": message_id, "requested_by": user.user_id}
        session.add(Run(**run, provider="p", model_name="m"))
        session.flush()
        run_id = str(run["id"])
    ref = RunRef(chat_id, message_id, run_id, user.user_id, user.user_id)
    proposed = ProposedCall(ToolCall(new_id(), "record", "{}"), OfferedTool(Recorder()), {})
    (part,) = record_calls(session, ref, 1, [proposed])
    return ToolPayment(user.user_id, chat_id, message_id, run_id, part.tool_execution_id)


def set_aside(session: Session, payment: ToolPayment, amount: str = "0.50", **changes: Any) -> bool:
    """Reserve an amount for a tool call."""
    options: dict[str, Any] = {"limit": Decimal(1), "since": clock.now() - timedelta(hours=1)} | changes
    return reserve_tool(session, Decimal(amount), payment, tool_name="record", **options)


def reserve(session: Session, payment: ToolPayment, amount: str = "0.50") -> None:
    """Reserve an amount for a model request that reads the result of a tool call."""
    need = Need(10, 20, price=lambda *_: Decimal(amount))
    reserve_request(
        session, payment.payer, payment.reason, need, provider="openai", model_name="gpt", longest_answer=100
    )


def record(session: Session, payment: ToolPayment, **changes: Any) -> None:
    record_usage(session, USED, payment.payer, replace(payment.reason, **changes))


def rows(session: Session) -> list[tuple[UsageStatus, Decimal | None]]:
    session.expire_all()
    return [(row.status, row.cost) for row in session.scalars(sa.select(UsageLog).order_by(UsageLog.id))]


def spent(session: Session, payment: ToolPayment) -> Decimal:
    return spent_on_tools(session, payment.user_id, since=clock.now() - timedelta(hours=1))


def test_the_request_that_reads_a_result_replaces_what_was_set_aside(session: Session, payment: ToolPayment) -> None:
    reserve(session, payment)
    record(session, payment)
    assert rows(session) == [(UsageStatus.SETTLED, Decimal("0.30"))]
    assert spent(session, payment) == Decimal("0.30")


def test_the_request_that_reads_a_free_result_is_recorded_too(session: Session, payment: ToolPayment) -> None:
    record(session, payment)
    assert rows(session) == [(UsageStatus.SETTLED, Decimal("0.30"))]
    assert spent(session, payment) == Decimal("0.30")


def test_a_request_of_another_run_leaves_what_was_set_aside(session: Session, payment: ToolPayment) -> None:
    reserve(session, payment)
    record(session, payment, run_id=None)
    assert rows(session) == [(UsageStatus.RESERVED, None), (UsageStatus.SETTLED, Decimal("0.30"))]


def test_another_attempt_replaces_what_was_set_aside(session: Session, payment: ToolPayment) -> None:
    for _ in range(2):
        reserve(session, payment)
    assert rows(session) == [(UsageStatus.RELEASED, None), (UsageStatus.RESERVED, None)]
    assert spent(session, payment) == Decimal("0.50")


def test_releasing_leaves_other_runs_and_tools(session: Session, payment: ToolPayment, alice: Actor) -> None:
    other = make_payment(session, alice)
    reserve(session, payment, "0.10")
    reserve(session, other, "0.10")
    assert set_aside(session, payment, "0.10")
    release(session, payment.run_id)
    assert [status for status, _ in rows(session)] == [
        UsageStatus.RELEASED,
        UsageStatus.RESERVED,
        UsageStatus.RESERVED,
    ]
    assert spent(session, payment) == Decimal("0.20")


@pytest.mark.parametrize(("amount", "fits"), [("0.50", True), ("0.51", False)])
def test_the_limit_may_be_reached_and_not_passed(
    session: Session, payment: ToolPayment, amount: str, fits: bool
) -> None:
    assert set_aside(session, payment, "0.50")
    assert set_aside(session, payment, amount) is fits
    assert len(rows(session)) == 1 + fits


def test_what_was_spent_at_the_first_moment_counts(session: Session, payment: ToolPayment) -> None:
    now = clock.now()
    with clock.frozen(now):
        assert set_aside(session, payment)
    assert spent_on_tools(session, payment.user_id, since=now) == Decimal("0.50")
    assert spent_on_tools(session, payment.user_id, since=now + timedelta(microseconds=1)) == 0


def test_nothing_is_set_aside_for_what_is_free(session: Session, payment: ToolPayment) -> None:
    assert set_aside(session, payment, "1.00")
    assert set_aside(session, payment, "0")
    assert len(rows(session)) == 1


def test_what_others_spent_and_what_was_long_ago_do_not_count(
    session: Session, payment: ToolPayment, bob: Actor
) -> None:
    others = make_payment(session, bob)
    assert set_aside(session, others, "1.00")
    assert set_aside(session, payment, "0.60")
    session.execute(
        sa.update(UsageLog)
        .where(UsageLog.user_id == payment.user_id)
        .values(created_at=clock.now() - timedelta(minutes=61))
    )
    assert set_aside(session, payment, "1.00")


@pytest.mark.parametrize(("cost", "count"), [("0.01", 1), ("0", 0)])
def test_a_cost_without_a_reservation_is_recorded(
    session: Session, payment: ToolPayment, cost: str, count: int
) -> None:
    settle(session, payment, Decimal(cost), tool_name="record")
    assert rows(session) == [(UsageStatus.SETTLED, Decimal(cost))] * count


def test_settling_changes_only_the_reservation_of_the_call(
    session: Session, payment: ToolPayment, alice: Actor
) -> None:
    other = make_payment(session, alice, payment.run_id)
    for part in (payment, other):
        assert set_aside(session, part, "0.20")
    reserve(session, payment, "0.20")  # for the model that reads the result
    settle(session, payment, Decimal("0.05"), tool_name="record")
    assert sorted(rows(session), key=str) == sorted(
        [(UsageStatus.SETTLED, Decimal("0.05")), (UsageStatus.RESERVED, None), (UsageStatus.RESERVED, None)], key=str
    )
    assert spent(session, payment) == Decimal("0.45")
    settle(session, payment, Decimal("0.07"), tool_name="record")  # a second result is another cost
    assert spent(session, payment) == Decimal("0.52")


def test_messages_are_counted_for_their_author_alone(session: Session, alice: Actor, bob: Actor) -> None:
    for _ in range(2):
        count_message(session, alice.user_id, limit=None)
    count_message(session, bob.user_id, limit=1)
    counts = [get_message_count(session, actor, limit=None)["count"] for actor in (alice, bob)]
    assert counts == [2, 1]


def test_what_is_written_to_a_cache_and_what_it_saved_is_summed(session: Session, payment: ToolPayment) -> None:
    saved = replace(USED, cache_write_tokens=5, cache_savings=Decimal("0.02"))
    for used in (saved, replace(saved, cache_savings=Decimal("-0.005")), replace(saved, cache_savings=None)):
        record_usage(session, used, payment.payer, Reason())
    hour = timedelta(hours=1)
    actor = Actor(UserId(payment.user_id), UserRole.USER)
    total = sum_usage(session, actor, UsageQuery(clock.now() - hour, clock.now() + hour))
    assert (total["cache_write_tokens"], total["cache_savings"]) == (15, Decimal("0.015"))


@pytest.mark.parametrize(("groups", "is_refused"), [(3, False), (4, True)])
def test_a_sum_has_at_most_the_groups_of_the_limit(
    session: Session, alice: Actor, groups: int, is_refused: bool
) -> None:
    for number in range(groups):
        payment = make_payment(session, alice)
        used = replace(USED, model_name=f"model-{number}")
        record_usage(session, used, payment.payer, Reason(payment.message_id, payment.run_id))
    hour = timedelta(hours=1)
    since, until = clock.now() - hour, clock.now() + hour

    def group() -> int:
        titles = ChatTitles(lambda _session, _ids: {})
        return len(group_usage(session, alice, UsageQuery(since, until, ["model"], most=3), chat_titles=titles))

    if is_refused:
        with pytest.raises(TooManyGroups):
            group()
    else:
        assert group() == groups


def test_a_tool_call_near_a_limit_lets_other_requests_notify(
    session: Session, alice: Actor, payment: ToolPayment
) -> None:
    """Reserve a request while much is left, then a tool call that leaves little, and let the request end last."""
    limit(session, alice, "user", alice.user_id)
    payer, need = Payer(alice.user_id), Need(10, 20, price=lambda *_: Decimal("0.45"))
    granted = reserve_request(session, payer, Reason(), need, provider="openai", model_name="gpt", longest_answer=20)
    assert set_aside(session, payment, "0.40")
    settle(session, payment, Decimal("0.40"), tool_name="record")
    used = replace(USED, cost=Decimal("0.45"))
    record_usage(session, used, payer, Reason(), reservation_id=granted.reservation_id)
    assert session.scalars(sa.select(QuotaNotice.percent)).all() == [80]
