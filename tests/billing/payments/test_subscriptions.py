"""Test what events give and take: the life of a subscription, odd values, and what a list of the provider mends."""

import itertools
import json
import random
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session, class_mapper

from tertulia import clock
from tertulia.accounts.actor import Actor
from tertulia.accounts.deletion import find_leftovers
from tertulia.accounts.models import DeletedUser, User, UserRole
from tertulia.billing.models import UserPlan
from tertulia.billing.payments.facts import EventFacts
from tertulia.billing.payments.models import MAX_TRIES, Payment, Subscription, WebhookEvent
from tertulia.billing.payments.polar import Polar
from tertulia.billing.payments.protocol import Listed, PaymentProviders
from tertulia.billing.payments.reconciling import mend
from tertulia.billing.payments.redaction import redact_events
from tertulia.billing.payments.webhooks import store_delivery
from tertulia.billing.plans import create_plan, find_plan_id
from tertulia.billing.schemas import PlanCreate
from tertulia.db.opening import plain_engine
from tertulia.ids import new_id
from tests.billing.payments.test_facts import SUBSCRIPTION
from tests.conftest import ServerMaker, SignIn
from tests.factories.accounts import make_admin, make_user
from tests.factories.payments import (
    GRACE,
    PRODUCT,
    SAMPLES,
    deliver,
    event_of,
    make_polar,
    make_pro,
    make_stripe,
    plan_of,
    process_all,
)
from tests.fakes.live_server import Client, LiveServer
from tests.fakes.payment_servers import (
    PaymentServer,
)
from tests.fakes.scripted_provider import ScriptedProvider
from tests.waiting import until


def test_access_follows_a_subscription_live(ana: Client, server: LiveServer, sign_in: SignIn) -> None:
    """Try each step of a life: bought, cancelled, past due, ended. The open window hears of it."""
    make_pro(server, sign_in)
    now = clock.now()
    ends_at = (now + timedelta(days=20)).isoformat()

    def step(number: int, **changes: Any) -> None:
        # Later events have later times; the samples are of the future and of the past.
        moment = {"modified_at": (clock.now()).isoformat(), "current_period_end": ends_at}
        deliver(server, event_of(ana.user["id"], number, **moment, **changes), sender_id=new_id())

    with ana.stream("GET", "/events") as stream:
        from tests.fakes.live_server import parse_events

        events = parse_events(stream, within_s=30)
        assert next(events)[1] == "ready"
        step(2)
        assert next(data for _, _, data in events if data.get("entity") == "plan")["operation"] == "updated"
    until(lambda: plan_of(ana) == "Pro")
    step(6, ends_at=ends_at)
    until(lambda: ana.api("GET", "/subscription")["subscriptions"][0]["cancel_at_period_end"])
    (item,) = ana.api("GET", "/subscription")["subscriptions"]
    assert (plan_of(ana), item["has_access"], item["access_until"][:10]) == ("Pro", True, ends_at[:10])
    step(10, past_due_at=now.isoformat())
    until(lambda: ana.api("GET", "/subscription")["subscriptions"][0]["status"] == "past_due")
    (item,) = ana.api("GET", "/subscription")["subscriptions"]
    assert (plan_of(ana), item["access_until"][:10]) == ("Pro", (now + GRACE).isoformat()[:10])
    step(7, ended_at=now.isoformat())
    until(lambda: plan_of(ana) is None)
    step(3)
    until(lambda: len(ana.api("GET", "/payments")["items"]) == 1)
    (payment,) = ana.api("GET", "/payments")["items"]
    assert (payment["total_amount"], payment["currency"], payment["invoice_number"]) == (1452, "eur", "TERTULIA-0001")


def test_a_payment_that_is_past_due_ends_access_after_the_grace_period(session: Session, alice: Actor) -> None:
    admin = replace(make_user(session, username="admin"), role=UserRole.ADMIN)
    products = [{"source": "polar", "product_id": PRODUCT}]
    pro = create_plan(session, admin, PlanCreate.model_validate({"name": "Pro", "products": products}))["id"]
    providers = PaymentProviders({"polar": make_polar()})
    since = clock.now()
    body = event_of(alice.user_id, 10, past_due_at=since.isoformat(), modified_at=since.isoformat())
    store_delivery(session, providers.by_source["polar"], "m1", body)
    process_all(session, providers)
    assert find_plan_id(session, alice.user_id) == pro
    with clock.frozen(since + GRACE + timedelta(seconds=1)):
        assert find_plan_id(session, alice.user_id) is None


def _states(session: Session) -> tuple[Any, ...]:
    """Return all that follows from the events, without the times at which we wrote it."""
    session.expire_all()
    left_out = ("created_at", "updated_at")
    tables = (Subscription, Payment, UserPlan)
    return tuple(
        tuple(
            sorted(
                tuple(
                    str(getattr(row, column.key))
                    for column in class_mapper(table).column_attrs
                    if column.key not in left_out
                )
                for row in session.scalars(sa.select(table))
            )
        )
        for table in tables
    )


def test_all_samples_end_in_the_same_state_in_any_order(session: Session, alice: Actor) -> None:
    """Apply the samples in 30 orders, one by one, with repetitions, and compare every row."""
    admin = replace(make_user(session, username="admin"), role=UserRole.ADMIN)
    products = [{"source": "polar", "product_id": PRODUCT}]
    create_plan(session, admin, PlanCreate.model_validate({"name": "Pro", "products": products}))
    providers = PaymentProviders({"polar": make_polar()})
    polar = providers.by_source["polar"]
    rng = random.Random(3)
    states = set()
    for attempt in range(30):
        numbers = list(range(1, 11)) if attempt == 0 else rng.sample(range(1, 11), 10)
        for number in [*numbers, *rng.choices(numbers, k=3)]:
            store_delivery(session, polar, f"msg_{number}", event_of(alice.user_id, number))
            process_all(session, providers)
        states.add(_states(session))
        for table in (WebhookEvent, Subscription, Payment, UserPlan):
            session.execute(sa.delete(table))
    ((subscriptions, payments, _plans),) = states
    assert [(SUBSCRIPTION in row, "past_due" in row) for row in subscriptions] == [(True, True)]
    assert ["refunded" in row for row in payments] == [True]


def test_stripe_gives_and_takes_a_plan_too(session: Session, alice: Actor) -> None:
    admin = replace(make_user(session, username="admin"), role=UserRole.ADMIN)
    products = [{"source": "stripe", "product_id": "price_pro"}]
    pro = create_plan(session, admin, PlanCreate.model_validate({"name": "Pro", "products": products}))["id"]
    providers = PaymentProviders({"stripe": make_stripe()})
    price = {"id": "price_pro", "unit_amount": 1200, "currency": "eur", "recurring": {"interval": "month"}}
    subscription = {
        "id": "sub_1",
        "object": "subscription",
        "customer": "cus_1",
        "status": "active",
        "items": {"data": [{"price": price, "current_period_end": 4_000_000_000}]},
        "metadata": {},
    }
    session_done = {"id": "cs_1", "client_reference_id": alice.user_id, "subscription": "sub_1", "customer": "cus_1"}
    invoice = {
        "id": "in_1",
        "object": "invoice",
        "customer": "cus_1",
        "status": "paid",
        "total": 1452,
        "currency": "eur",
        "number": "A-1",
        "parent": {"subscription_details": {"subscription": "sub_1"}},
        "hosted_invoice_url": "https://pay.example/i",
    }
    events = [
        ("customer.subscription.created", 100, subscription | {"status": "incomplete"}),
        ("invoice.paid", 100, invoice),
        ("customer.subscription.updated", 101, subscription),
        ("checkout.session.completed", 101, session_done),
    ]
    for order in itertools.permutations(events):
        for number, (kind, created, data) in enumerate(order):
            body = json.dumps({"id": f"evt_{kind}", "type": kind, "created": created, "data": {"object": data}})
            assert store_delivery(session, providers.by_source["stripe"], f"evt_{kind}", body.encode()), number
            process_all(session, providers)
        assert find_plan_id(session, alice.user_id) == pro
        payment = session.get_one(Payment, "in_1")
        assert (payment.user_id, payment.total_amount, payment.is_paid) == (alice.user_id, 1452, True)
        for table in (WebhookEvent, Subscription, Payment, UserPlan):
            session.execute(sa.delete(table))
        session.expire_all()


class Unreadable(Polar):
    """A provider with one subscription that cannot be read, as if its format had changed."""

    def parse(self, body: bytes) -> EventFacts:
        facts = super().parse(body)
        if facts.object_id == "odd":
            raise RuntimeError("no")
        return facts


def test_an_event_that_cannot_be_applied_holds_up_no_other(session: Session, alice: Actor) -> None:
    polar = make_polar()
    providers = PaymentProviders({"polar": Unreadable(httpx.AsyncClient(), "http://127.0.0.1:9", None, ())})
    store_delivery(session, polar, "bad", event_of(alice.user_id, 1, id="odd"))
    store_delivery(session, polar, "good", event_of(alice.user_id, 2))
    moment = clock.now()
    for attempt in range(MAX_TRIES + 2):
        with clock.frozen(moment + timedelta(hours=7 * attempt)):
            process_all(session, providers)
    bad, good = session.scalars(sa.select(WebhookEvent).order_by(WebhookEvent.id)).all()
    assert (bad.tries, bad.error, bad.processed_at) == (MAX_TRIES, "Failed with RuntimeError.", None)
    assert good.processed_at is not None


def test_payments_and_subscriptions_outlive_their_user(session: Session, alice: Actor) -> None:
    providers = PaymentProviders({"polar": make_polar()})
    for number in (2, 3):
        store_delivery(session, providers.by_source["polar"], f"m{number}", event_of(alice.user_id, number))
    process_all(session, providers)
    assert session.scalars(sa.select(Payment.user_id)).all() == [alice.user_id]
    session.execute(sa.delete(User).where(User.id == alice.user_id))
    session.expire_all()
    assert session.scalars(sa.select(Payment.user_id)).all() == [None]
    assert session.scalars(sa.select(Subscription.user_id)).all() == [None]
    # A late event of a user who is gone is kept, and gives nothing.
    store_delivery(session, providers.by_source["polar"], "m5", event_of(alice.user_id, 5))
    process_all(session, providers)
    assert session.scalars(sa.select(WebhookEvent.error)).all() == [None] * 3


def test_a_product_gives_its_plan_also_after_it_was_bought(ana: Client, server: LiveServer, sign_in: SignIn) -> None:
    admin = make_admin(server, sign_in)
    deliver(server, event_of(ana.user["id"], 2))
    until(lambda: len(ana.api("GET", "/subscription")["subscriptions"]) == 1)
    assert plan_of(ana) is None
    products = [{"source": "polar", "product_id": PRODUCT}]
    pro = admin.api("POST", "/plans", json={"name": "Pro", "products": products}, expect=201)
    assert plan_of(ana) == "Pro"
    admin.api("PATCH", f"/plans/{pro['id']}", json={"products": []})
    assert plan_of(ana) is None
    admin.api("PATCH", f"/plans/{pro['id']}", json={"products": products})
    assert plan_of(ana) == "Pro"
    assert admin.api("DELETE", f"/plans/{pro['id']}", expect=409)["code"] == "plan_in_use"
    admin.api("PATCH", f"/plans/{pro['id']}", json={"products": []})
    admin.api("DELETE", f"/plans/{pro['id']}", expect=204)


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "x" * 500},
        {"currency": "usdc"},
        {"recurring_interval": "x" * 50, "recurring_interval_count": 2**31},
        {"metadata": {"a": "b\x00", "c\x00": [1, {"d": "\x00"}]}},
        {"metadata": [[[[[]]]]]},
        {"customer_cancellation_comment": "a\x00b" * 3000},
        {"past_due_at": "9999-12-31T23:59:59Z", "status": "past_due"},
        {"current_period_end": 1e300, "ends_at": "soon", "amount": 2**70},
        {"customer_id": "c\x00", "product_id": "p" * 200},
    ],
)
def test_an_odd_value_holds_nothing_up(session: Session, alice: Actor, changes: dict[str, Any]) -> None:
    providers = PaymentProviders({"polar": make_polar()})
    polar = providers.by_source["polar"]
    store_delivery(session, polar, "odd", event_of(alice.user_id, 2, **changes))
    store_delivery(session, polar, "good", event_of(alice.user_id, 3))
    process_all(session, providers)
    errors = session.scalars(sa.select(WebhookEvent.error).order_by(WebhookEvent.id)).all()
    assert errors == [None, None]
    assert session.scalars(sa.select(Payment.total_amount)).all() == [1452]


@pytest.mark.parametrize("name", ["type", "id"])
def test_a_text_that_cannot_be_stored_is_no_reason_to_lose_an_event(session: Session, name: str) -> None:
    body = json.dumps({"type": "subscription.active", "data": {"id": "s", "status": "active"}} | {name: "a\x00b"})
    assert store_delivery(session, make_polar(), "odd", body.encode())
    assert session.scalars(sa.select(WebhookEvent.body)).all() == [body.encode()]


def test_ids_of_two_sources_are_not_mixed_up(session: Session, alice: Actor, bob: Actor) -> None:
    providers = PaymentProviders({"polar": make_polar(), "stripe": make_stripe()})
    store_delivery(session, providers.by_source["polar"], "m", event_of(alice.user_id, 2, id="sub_1"))
    process_all(session, providers)
    data = {"id": "sub_1", "customer": "c", "status": "canceled", "metadata": {"user_id": bob.user_id}}
    body = json.dumps({"id": "e", "type": "customer.subscription.deleted", "created": 9, "data": {"object": data}})
    store_delivery(session, providers.by_source["stripe"], "e", body.encode())
    process_all(session, providers)
    row = session.get_one(Subscription, "sub_1", populate_existing=True)
    assert (row.source, row.status, row.user_id) == ("polar", "active", alice.user_id)
    assert "polar has a subscription with the same id." in session.scalars(sa.select(WebhookEvent.error)).all()


def test_the_most_expensive_plan_counts(session: Session, alice: Actor) -> None:
    admin = replace(make_user(session, username="admin"), role=UserRole.ADMIN)
    ids = {}
    for name, price in (("Pro", 1200), ("Basic", 500)):
        products = [{"source": "polar", "product_id": name}]
        new = PlanCreate.model_validate({"name": name, "price_minor": price, "products": products})
        ids[name] = create_plan(session, admin, new)["id"]
    providers = PaymentProviders({"polar": make_polar()})
    for name in ("Pro", "Basic"):
        body = event_of(alice.user_id, 2, id=f"sub_{name}", product_id=name)
        store_delivery(session, providers.by_source["polar"], name, body)
    process_all(session, providers)
    assert find_plan_id(session, alice.user_id) == ids["Pro"]


def test_what_was_told_after_a_list_was_read_is_newer(session: Session, alice: Actor) -> None:
    providers = PaymentProviders({"polar": make_polar()})
    polar = providers.by_source["polar"]
    active = json.loads(event_of(alice.user_id, 2))["data"]
    read_at = clock.now() - timedelta(seconds=1)
    store_delivery(session, polar, "m7", event_of(alice.user_id, 7))
    process_all(session, providers)
    assert not mend(session, polar, Listed("subscription.reconciled", active, read_at))
    assert session.get_one(Subscription, SUBSCRIPTION).status == "canceled"


def test_a_missed_event_is_mended_from_the_list_of_the_provider(session: Session, alice: Actor) -> None:
    providers = PaymentProviders({"polar": make_polar()})
    polar = providers.by_source["polar"]
    store_delivery(session, polar, "m2", event_of(alice.user_id, 2))
    process_all(session, providers)
    revoked = json.loads(event_of(alice.user_id, 7))["data"]
    order = json.loads(event_of(alice.user_id, 3))["data"]
    read_at = clock.now() + timedelta(days=365)  # the samples are of the future
    listed = [Listed("subscription.reconciled", revoked, read_at), Listed("order.reconciled", order, read_at)]
    assert [mend(session, polar, each) for each in listed] == [True, True]
    process_all(session, providers)
    assert session.get_one(Subscription, SUBSCRIPTION, populate_existing=True).status == "canceled"
    assert session.scalars(sa.select(Payment.total_amount)).all() == [1452]
    assert not mend(session, polar, listed[0])
    # The event that was late changes nothing any more.
    before = _states(session)
    store_delivery(session, polar, "m7", event_of(alice.user_id, 7))
    process_all(session, providers)
    assert _states(session) == before
    kinds = session.scalars(sa.select(WebhookEvent.type).order_by(WebhookEvent.id)).all()
    assert kinds == ["subscription.active", "subscription.reconciled", "order.reconciled", "subscription.revoked"]


def test_everything_is_compared_over_all_pages(
    start_server: ServerMaker, provider: ScriptedProvider, polar: PaymentServer, stripe: PaymentServer
) -> None:
    """Start a server after 270 subscriptions were missed: its first comparison finds them all."""
    polar.subscriptions = [json.loads(event_of(new_id(), 2, id=f"sub_{n}"))["data"] for n in range(150)]
    stripe.subscriptions = [
        {"id": f"sub_s{n}", "customer": "c", "status": "canceled", "items": {"data": []}} for n in range(120)
    ]
    server = start_server(
        openai_base_url=provider.url,
        openai_models=("scripted",),
        polar_url=polar.url,
        polar_access_token=polar.token,
        stripe_url=stripe.url,
        stripe_access_token=stripe.token,
    )
    engine = plain_engine(server.settings)

    def count() -> int:
        with Session(engine) as session:
            return session.scalar(sa.select(sa.func.count()).select_from(Subscription)) or 0

    until(lambda: count() == 270)
    engine.dispose()


def test_payment_events_say_no_more_who_a_deleted_person_was(session: Session, alice: Actor) -> None:
    providers = PaymentProviders({"polar": make_polar()})
    for number in range(1, len(SAMPLES) + 1):
        store_delivery(session, providers.by_source["polar"], f"m{number}", event_of(alice.user_id, number))
    process_all(session, providers)

    def states() -> list[tuple[Any, ...]]:
        subscriptions = session.execute(sa.select(Subscription.status, Subscription.current_period_end)).all()
        payments = session.execute(sa.select(Payment.status, Payment.total_amount, Payment.refunded_amount)).all()
        return [tuple(row) for row in (*subscriptions, *payments)]

    before = states()
    while redact_events(session, alice.user_id):
        pass
    bodies = b"".join(session.scalars(sa.select(WebhookEvent.body)))
    for word in (alice.user_id, "lucia@example.com", "Luc", "Calle Mayor", "Romero"):
        assert word.encode() not in bodies, word
    # What they say of money and states is as it was, also when they are read again.
    for event in session.scalars(sa.select(WebhookEvent)).all():
        event.processed_at = None
    session.flush()
    process_all(session, providers)
    assert states() == before
    session.add(DeletedUser(id=alice.user_id))
    session.flush()
    store_delivery(session, providers.by_source["polar"], "late", event_of(alice.user_id, 10, id="sub_late"))
    process_all(session, providers)
    (late,) = session.scalars(sa.select(WebhookEvent.body).where(WebhookEvent.sender_id == "late"))
    assert b"lucia@example.com" not in late
    assert not any(finding.startswith("webhook_event") for finding in find_leftovers(session))


def test_a_person_who_never_paid_is_taken_out_of_payment_events_too(session: Session, alice: Actor) -> None:
    providers = PaymentProviders({"polar": make_polar(), "stripe": make_stripe()})
    email = {"email": "lucia@example.com"}
    events = [
        {"type": "customer.created", "data": {"id": "c1", "external_id": alice.user_id} | email},
        {
            "type": "checkout.created",
            "data": {"id": "k1", "external_customer_id": alice.user_id, "customer_email": "l@x.y"},
        },
    ]
    for number, event in enumerate(events):
        store_delivery(session, providers.by_source["polar"], f"m{number}", json.dumps(event).encode())
    store_delivery(session, providers.by_source["polar"], "state", event_of(alice.user_id, 8))
    process_all(session, providers)
    while redact_events(session, alice.user_id):
        pass
    bodies = b"".join(session.scalars(sa.select(WebhookEvent.body)))
    for word in (alice.user_id, "lucia@example.com", "l@x.y"):
        assert word.encode() not in bodies
