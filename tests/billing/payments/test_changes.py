"""Test changes of a subscription from the page: cancelled, kept after all, moved to another plan, and refused ones."""

import itertools
import json
import random
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.actor import Actor
from tertulia.accounts.models import UserRole
from tertulia.billing.models import PlanSource, UserPlan
from tertulia.billing.payments.access import end_due_plans
from tertulia.billing.payments.models import Payment, WebhookEvent
from tertulia.billing.payments.protocol import PaymentProviders
from tertulia.billing.payments.webhooks import store_delivery
from tertulia.billing.plans import create_plan, find_plan_id, has_due_plan, set_user_plan
from tertulia.billing.schemas import PlanCreate, ProductRef
from tests.conftest import SignIn
from tests.factories.payments import (
    GRACE,
    PRODUCT,
    deliver,
    event_of,
    make_polar,
    make_pro,
    make_stripe,
    plan_of,
    process_all,
)
from tests.fakes.live_server import Client, LiveServer
from tests.fakes.payment_servers import PaymentServer, sign_stripe
from tests.waiting import Listener, until

TEAM = "7b9a1d52-33c4-4d55-9a1b-0c2d3e4f5a6b"


def make_team(admin: Client) -> str:
    body = {
        "name": "Team",
        "is_offered": True,
        "products": [{"source": "polar", "product_id": TEAM}, {"source": "stripe", "product_id": "price_team"}],
    }
    return str(admin.api("POST", "/plans", json=body, expect=201)["id"])


def subscribe(ana: Client, server: LiveServer, polar: PaymentServer) -> Any:
    """Create a subscription to Pro at Polar, and return the subscription as the provider has it."""
    ends_at = (clock.now() + timedelta(days=20)).isoformat()
    started = (clock.now() - timedelta(days=10)).isoformat()
    body = event_of(ana.user["id"], 2, current_period_end=ends_at, modified_at=started)
    deliver(server, body)
    polar.subscriptions.append(json.loads(body)["data"])
    polar.products.add(TEAM)
    until(lambda: plan_of(ana) == "Pro")
    return polar.subscriptions[0]


def test_a_subscription_is_cancelled_and_kept_after_all(
    ana: Client, server: LiveServer, sign_in: SignIn, polar: PaymentServer
) -> None:
    make_pro(server, sign_in)
    path = f"/subscriptions/{subscribe(ana, server, polar)['id']}"
    listener = Listener(ana)
    (item,) = ana.api("PATCH", path, json={"cancel_at_period_end": True})["subscriptions"]
    assert (item["cancel_at_period_end"], item["has_access"], item["access_until"] is not None) == (True, True, True)
    assert polar.requests[-1][::2] == ("PATCH", {"cancel_at_period_end": True})
    listener.wait_for(lambda: ("plan", "updated") in listener.changes)
    assert plan_of(ana) == "Pro"
    (item,) = ana.api("PATCH", path, json={"cancel_at_period_end": False})["subscriptions"]
    assert (item["cancel_at_period_end"], item["access_until"]) == (False, None)


def test_a_subscription_is_moved_to_another_plan(
    ana: Client, server: LiveServer, sign_in: SignIn, polar: PaymentServer
) -> None:
    admin, _ = make_pro(server, sign_in)
    team = make_team(admin)
    path = f"/subscriptions/{subscribe(ana, server, polar)['id']}"
    changed = ana.api("PATCH", path, json={"plan_id": team})
    assert (changed["plan"]["plan_name"], changed["subscriptions"][0]["plan_name"]) == ("Team", "Team")
    assert polar.requests[-1][2] == {"product_id": TEAM, "proration_behavior": "invoice"}
    assert ana.api("PATCH", path, json={"plan_id": path[-36:]}, expect=409)["code"] == "not_for_sale"
    admin.api("PATCH", f"/plans/{team}", json={"is_offered": False})
    assert ana.api("PATCH", path, json={"plan_id": team}, expect=409)["code"] == "not_for_sale"


def test_a_plan_is_not_changed_while_a_payment_is_due(
    ana: Client, server: LiveServer, sign_in: SignIn, polar: PaymentServer
) -> None:
    admin, _ = make_pro(server, sign_in)
    team = make_team(admin)
    path = f"/subscriptions/{subscribe(ana, server, polar)['id']}"
    now = clock.now().isoformat()
    deliver(server, event_of(ana.user["id"], 10, past_due_at=now, modified_at=now), sender_id="msg_2")
    until(lambda: ana.api("GET", "/subscription")["subscriptions"][0]["status"] == "past_due")
    assert ana.api("PATCH", path, json={"plan_id": team}, expect=409)["code"] == "payment_is_due"


def test_a_change_is_refused_in_words_and_changes_nothing(
    ana: Client, server: LiveServer, sign_in: SignIn, polar: PaymentServer
) -> None:
    make_pro(server, sign_in)
    subscription = subscribe(ana, server, polar)
    path = f"/subscriptions/{subscription['id']}"
    polar.subscriptions.clear()
    problem = ana.api("PATCH", path, json={"cancel_at_period_end": True}, expect=503)
    assert (problem["code"], "nothing was changed" in problem["detail"]) == ("subscription_not_changed", True)
    polar.is_broken = True
    problem = ana.api("PATCH", path, json={"cancel_at_period_end": True}, expect=503)
    assert "did not confirm" in problem["detail"]
    assert not ana.api("GET", "/subscription")["subscriptions"][0]["cancel_at_period_end"]
    for body in ({}, {"cancel_at_period_end": True, "plan_id": path[-36:]}, {"cancel_at_period_end": None}):
        ana.api("PATCH", path, json=body, expect=422)


def test_nobody_else_changes_a_subscription(
    ana: Client, server: LiveServer, sign_in: SignIn, polar: PaymentServer
) -> None:
    admin, _ = make_pro(server, sign_in)
    path = f"/subscriptions/{subscribe(ana, server, polar)['id']}"
    for client in (sign_in("bob"), admin):
        problem = client.api("PATCH", path, json={"cancel_at_period_end": True}, expect=404)
        assert problem["code"] == "subscription_not_found"
    assert "PATCH" not in [method for method, _, _ in polar.requests]


def test_an_account_is_not_deleted_while_its_subscription_renews(
    ana: Client, server: LiveServer, sign_in: SignIn, polar: PaymentServer
) -> None:
    make_pro(server, sign_in)
    path = f"/subscriptions/{subscribe(ana, server, polar)['id']}"
    password = {"password": "correct horse battery"}
    assert ana.api("DELETE", "/me", json=password, expect=409)["code"] == "subscription_renews"
    ana.api("PATCH", path, json={"cancel_at_period_end": True})
    assert ana.api("DELETE", "/me", json=password)["deletes_at"] is not None


@pytest.mark.parametrize("status", ["paused", "unpaid"])
def test_a_subscription_that_can_resume_is_in_the_way_of_another_and_of_deletion(
    ana: Client, server: LiveServer, sign_in: SignIn, polar: PaymentServer, status: str
) -> None:
    _, pro = make_pro(server, sign_in)
    deliver(server, event_of(ana.user["id"], 2, status=status))
    until(lambda: ana.api("GET", "/subscription")["subscriptions"])
    assert ana.api("POST", "/checkout", json={"plan_id": pro}, expect=409)["code"] == "already_subscribed"
    refused = ana.api("DELETE", "/me", json={"password": "correct horse battery"}, expect=409)
    assert refused["code"] == "subscription_renews"


def test_nothing_is_bought_or_kept_for_an_account_that_will_be_deleted(
    ana: Client, server: LiveServer, sign_in: SignIn, polar: PaymentServer
) -> None:
    _, pro = make_pro(server, sign_in)
    path = f"/subscriptions/{subscribe(ana, server, polar)['id']}"
    ana.api("PATCH", path, json={"cancel_at_period_end": True})
    ana.api("DELETE", "/me", json={"password": "correct horse battery"})
    assert ana.api("PATCH", path, json={"cancel_at_period_end": False}, expect=409)["code"] == "account_ends"
    assert ana.api("POST", "/checkout", json={"plan_id": pro}, expect=409)["code"] == "account_ends"
    ana.api("POST", "/me/restore")
    ana.api("PATCH", path, json={"cancel_at_period_end": False})


def test_stripe_changes_a_subscription_too(
    ana: Client, server: LiveServer, sign_in: SignIn, stripe: PaymentServer
) -> None:
    admin, _ = make_pro(server, sign_in)
    team = make_team(admin)
    stripe.products.add("price_team")
    price = {"id": "price_pro", "unit_amount": 1200, "currency": "eur", "recurring": {"interval": "month"}}
    item = {"id": "si_1", "price": price, "current_period_end": int(clock.now().timestamp()) + 86400}
    subscription = {
        "id": "sub_1",
        "object": "subscription",
        "customer": "cus_1",
        "status": "active",
        "cancel_at_period_end": False,
        "items": {"data": [item]},
        "metadata": {"user_id": ana.user["id"]},
    }
    event = {
        "id": "evt_1",
        "type": "customer.subscription.created",
        "created": int(clock.now().timestamp()) - 60,
        "data": {"object": subscription},
    }
    body = json.dumps(event).encode()
    with Client(server.url) as sender:
        sender.post("/webhooks/stripe", content=body, headers={"Content-Type": "application/json"} | sign_stripe(body))
    stripe.subscriptions.append(subscription)
    until(lambda: plan_of(ana) == "Pro")
    (shown,) = ana.api("PATCH", "/subscriptions/sub_1", json={"cancel_at_period_end": True})["subscriptions"]
    assert (shown["cancel_at_period_end"], shown["has_access"]) == (True, True)
    (shown,) = ana.api("PATCH", "/subscriptions/sub_1", json={"cancel_at_period_end": False})["subscriptions"]
    assert not shown["cancel_at_period_end"]
    assert ana.api("PATCH", "/subscriptions/sub_1", json={"plan_id": team})["plan"]["plan_name"] == "Team"


def test_windows_hear_when_a_plan_ends_by_time(session: Session, alice: Actor) -> None:
    now = clock.now()
    admin = replace(alice, role=UserRole.ADMIN)
    pro = create_plan(session, admin, PlanCreate(name="Pro"))["id"]
    set_user_plan(session, alice.user_id, PlanSource.SUBSCRIPTION, pro, until=now + timedelta(hours=1))
    set_user_plan(session, alice.user_id, PlanSource.HAND, pro)
    with clock.frozen(now + timedelta(minutes=59)):
        assert not has_due_plan(session)
    with clock.frozen(now + timedelta(hours=1)):
        assert has_due_plan(session)
        assert end_due_plans(session, grace=GRACE) == 1
        assert not has_due_plan(session)
    assert session.scalars(sa.select(UserPlan.source)).all() == [PlanSource.HAND]


def test_when_a_plan_ends_by_time_another_subscription_gives_its_own(session: Session, alice: Actor) -> None:
    """Cancel the more expensive of two subscriptions. The other one goes on."""
    admin = replace(alice, role=UserRole.ADMIN)
    plans = {}
    for name, product, price in (("Pro", PRODUCT, 2000), ("Basic", "prod_basic", 500)):
        products = [ProductRef(source="polar", product_id=product)]
        sold = PlanCreate(name=name, price_minor=price, currency="eur", products=products)
        plans[name] = create_plan(session, admin, sold)["id"]
    now = clock.now()
    ends_at = (now + timedelta(days=5)).isoformat()
    later = {"current_period_end": ends_at, "modified_at": now.isoformat()}
    providers = PaymentProviders({"polar": make_polar()})
    ending: dict[str, Any] = later | {"cancel_at_period_end": True, "ends_at": ends_at}
    going_on: dict[str, Any] = {"id": "sub_basic", "product_id": "prod_basic", **later}
    for number, changes in enumerate((ending, going_on)):
        store_delivery(session, providers.by_source["polar"], f"m{number}", event_of(alice.user_id, 2, **changes))
    process_all(session, providers)
    assert find_plan_id(session, alice.user_id) == plans["Pro"]
    with clock.frozen(now + timedelta(days=5)):
        assert end_due_plans(session, grace=GRACE) == 1
        assert find_plan_id(session, alice.user_id) == plans["Basic"]


INVOICE = {
    "id": "in_1",
    "object": "invoice",
    "customer": "cus_1",
    "status": "paid",
    "total": 1452,
    "currency": "eur",
}


def _paid_with(number: int) -> dict[str, Any]:
    return {
        "id": f"inpay_{number}",
        "object": "invoice_payment",
        "invoice": "in_1",
        "payment": {"type": "payment_intent", "payment_intent": f"pi_{number}"},
    }


def _refund(number: int, amount: int) -> dict[str, Any]:
    """Return a charge as Stripe sends it since 2025-03-31: it does not name its invoice."""
    return {"id": f"ch_{number}", "object": "charge", "payment_intent": f"pi_{number}", "amount_refunded": amount}


def test_refunds_of_stripe_reach_their_invoice_in_any_order(session: Session) -> None:
    """Try 40 of the 720 orders, every second one with repetitions."""
    providers = PaymentProviders({"stripe": make_stripe()})
    events = [
        ("invoice.paid", 100, INVOICE),
        ("invoice_payment.paid", 100, _paid_with(1)),
        ("invoice_payment.paid", 100, _paid_with(2)),
        ("charge.refunded", 110, _refund(1, 200)),
        ("charge.refunded", 120, _refund(1, 500)),  # in all, with the first
        ("charge.refunded", 130, _refund(2, 100)),
    ]
    orders = random.Random(5).sample(list(itertools.permutations(enumerate(events))), 40)
    for attempt, order in enumerate(orders):
        now = clock.now()
        for step, (number, (kind, created, data)) in enumerate(order * (1 + attempt % 2)):
            body = json.dumps({"id": f"evt_{number}", "type": kind, "created": created, "data": {"object": data}})
            store_delivery(session, providers.by_source["stripe"], f"evt_{number}", body.encode())
            with clock.frozen(now + timedelta(seconds=step)):
                process_all(session, providers)
        payment = session.get_one(Payment, "in_1")
        assert (payment.refunded_amount, payment.total_amount, payment.is_paid) == (600, 1452, True)
        for table in (WebhookEvent, Payment):
            session.execute(sa.delete(table))
        session.expire_all()


def test_a_refund_of_an_unknown_invoice_is_kept_and_says_what_is_missing(session: Session) -> None:
    providers = PaymentProviders({"stripe": make_stripe()})
    event = {"id": "evt_1", "type": "charge.refunded", "created": 110, "data": {"object": _refund(1, 200)}}
    store_delivery(session, providers.by_source["stripe"], "evt_1", json.dumps(event).encode())
    process_all(session, providers)
    stored = session.scalars(sa.select(WebhookEvent)).one()
    assert stored.processed_at is None
    assert "invoice_payment.paid" in str(stored.error)
