"""Test webhooks, subscriptions and checkout on a real server: what is stored, what it gives, and what is refused."""

import itertools
import json
import os
import random
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session, class_mapper

from tertulia import clock
from tertulia.accounts.actor import Actor
from tertulia.accounts.models import User, UserRole
from tertulia.billing.models import UserPlan
from tertulia.billing.payments.models import Payment, Subscription, WebhookEvent, WebhookRefusal
from tertulia.billing.payments.polar import Polar
from tertulia.billing.payments.protocol import Listed, PaymentProviders, Payments
from tertulia.billing.payments.reconciling import mend
from tertulia.billing.payments.stripe import Stripe
from tertulia.billing.payments.webhooks import MAX_TRIES, process_deliveries, store_delivery
from tertulia.billing.plans import create_plan, find_plan_id
from tertulia.billing.schemas import PlanCreate
from tertulia.db.opening import plain_engine
from tertulia.ids import new_id
from tertulia.settings import Settings
from tests.billing.test_payment_facts import SAMPLES, SUBSCRIPTION
from tests.conftest import ServerMaker, SignIn
from tests.factories.accounts import make_admin, make_user
from tests.fakes.live_server import Client, LiveServer
from tests.fakes.payment_servers import (
    POLAR_SECRET,
    STRIPE_SECRET,
    PaymentServer,
    sign_polar,
    sign_stripe,
)
from tests.fakes.scripted_provider import ScriptedProvider
from tests.waiting import until

GRACE = timedelta(days=7)
PRODUCT = "3d1f0c5a-7f0e-4e0b-8f53-6b1f7a2c9d02"  # of the samples


@pytest.fixture
def polar() -> Iterator[PaymentServer]:
    server = PaymentServer("polar", products={PRODUCT})
    yield server
    server.close()


@pytest.fixture
def stripe() -> Iterator[PaymentServer]:
    server = PaymentServer("stripe", products={"price_pro"})
    yield server
    server.close()


@pytest.fixture
def server(
    start_server: ServerMaker, provider: ScriptedProvider, polar: PaymentServer, stripe: PaymentServer
) -> LiveServer:
    return start_server(
        openai_base_url=provider.url,
        openai_models=("scripted",),
        polar_url=polar.url,
        polar_access_token=polar.token,
        polar_webhook_secrets=(POLAR_SECRET,),
        stripe_url=stripe.url,
        stripe_access_token=stripe.token,
        stripe_webhook_secrets=(STRIPE_SECRET,),
    )


def deliver(server: LiveServer, body: bytes, *, sender_id: str = "msg_1", **headers: str) -> Any:
    """Deliver an event as Polar does, and return the answer."""
    with Client(server.url) as sender:
        return sender.post(
            "/webhooks/polar",
            content=body,
            headers={"Content-Type": "application/json"} | sign_polar(body, sender_id=sender_id) | headers,
        )


def process_all(session: Session, providers: PaymentProviders) -> None:
    """Apply everything that is due. Each unit of work takes only a little."""
    while process_deliveries(session, providers, grace=GRACE):
        pass


def event_of(user_id: str, number: int, **changes: Any) -> bytes:
    """Return a sample event of a user, with changed fields of its subscription."""
    event = json.loads(SAMPLES[number - 1].read_bytes())
    if "customer" in event["data"]:
        event["data"]["customer"]["external_id"] = user_id
    else:
        event["data"]["external_id"] = user_id
    event["data"] |= changes
    return json.dumps(event).encode()


def make_pro(server: LiveServer, sign_in: SignIn) -> tuple[Client, str]:
    """Create a plan that Polar and Stripe sell, and return the administrator and its id."""
    admin = make_admin(server, sign_in)
    body = {
        "name": "Pro",
        "is_offered": True,
        "products": [
            {"source": "polar", "product_id": PRODUCT},
            {"source": "stripe", "product_id": "price_pro"},
        ],
    }
    return admin, str(admin.api("POST", "/plans", json=body, expect=201)["id"])


def plan_of(client: Client) -> Any:
    return client.api("GET", "/subscription")["plan"]["plan_name"]


# ---- receiving


def test_a_delivery_is_stored_once_and_applied(ana: Client, server: LiveServer, sign_in: SignIn) -> None:
    make_pro(server, sign_in)
    body = event_of(ana.user["id"], 2)
    answers = [deliver(server, body) for _ in range(3)]
    assert [(answer.status_code, answer.json()["repeated"]) for answer in answers] == [
        (202, False),
        (200, True),
        (200, True),
    ]
    until(lambda: plan_of(ana) == "Pro")
    (item,) = ana.api("GET", "/subscription")["subscriptions"]
    assert (item["status"], item["has_access"], item["amount"], item["currency"]) == ("active", True, 1200, "eur")


@pytest.mark.parametrize(
    ("body", "headers", "status", "reason"),
    [
        (b'{"type": "x"}', {"webhook-signature": "v1,AAAA"}, 403, "wrong_signature"),
        (b'{"type": "x"}', {"webhook-timestamp": "1000"}, 403, "too_old"),
        (b'{"type": "x"}', {"webhook-id": ""}, 403, "no_id"),
        (b'{"type": "x"}', {"Content-Type": "text/plain"}, 415, "unsupported_type"),
        (b'{"type": "' + b"x" * (256 * 1024) + b'"}', {}, 413, "body_too_large"),
    ],
    ids=["forged", "old", "without id", "wrong type", "huge"],
)
def test_what_is_refused_leaves_nothing_but_a_count(
    server: LiveServer,
    sign_in: SignIn,
    settings: Settings,
    body: bytes,
    headers: dict[str, str],
    status: int,
    reason: str,
) -> None:
    admin = make_admin(server, sign_in)
    assert deliver(server, body, **headers).status_code == status
    refused = admin.api("GET", "/webhook-refusals")["items"]
    assert [(row["source"], row["reason"], row["count"]) for row in refused] == [("polar", reason, 1)]
    engine = plain_engine(settings)
    with Session(engine) as session:
        assert session.scalars(sa.select(WebhookEvent)).all() == []
        assert session.scalars(sa.select(WebhookRefusal.count)).all() == [1]
    engine.dispose()


def test_the_largest_body_is_taken(server: LiveServer) -> None:
    body = b'{"type": "x"}'.ljust(256 * 1024)
    assert deliver(server, body).status_code == 202


def test_a_body_that_was_cut_off_is_refused(server: LiveServer) -> None:
    body = b'{"type": "subscription.active"}'
    with Client(server.url) as sender:
        headers = {"Content-Type": "application/json"} | sign_polar(body)
        assert sender.post("/webhooks/polar", content=body[:-1], headers=headers).status_code == 403


def test_a_source_that_is_not_set_up_is_not_found(start_server: ServerMaker, provider: ScriptedProvider) -> None:
    server = start_server(openai_base_url=provider.url, openai_models=("scripted",))
    with Client(server.url) as sender:
        for source in ("polar", "paypal"):
            answer = sender.post(f"/webhooks/{source}", content=b"{}", headers={"Content-Type": "application/json"})
            assert (answer.status_code, answer.json()["code"]) == (404, "payment_source_unknown")


def test_unknown_and_unreadable_events_are_kept_and_shown(server: LiveServer, sign_in: SignIn) -> None:
    admin = make_admin(server, sign_in)
    for number, body in enumerate((b'{"type": "benefit.updated", "data": {"id": "b"}}', b"not json")):
        assert deliver(server, body, sender_id=f"msg_{number}").status_code == 202
    until(lambda: all(event["processed_at"] for event in admin.api("GET", "/webhook-events")["items"]))
    unreadable, unknown = admin.api("GET", "/webhook-events")["items"]
    assert (unknown["type"], unknown["error"]) == ("benefit.updated", None)
    assert (unreadable["type"], unreadable["body"]) == (None, "not json")
    assert admin.api("GET", "/webhook-events?failed=true")["items"] == []


def test_the_same_id_from_two_senders_is_two_events(server: LiveServer, sign_in: SignIn) -> None:
    admin = make_admin(server, sign_in)
    body = b'{"id": "evt_1", "type": "ping", "created": 1}'
    assert deliver(server, body, sender_id="evt_1").status_code == 202
    with Client(server.url) as sender:
        headers = {"Content-Type": "application/json"} | sign_stripe(body)
        assert sender.post("/webhooks/stripe", content=body, headers=headers).status_code == 202
    assert {event["source"] for event in admin.api("GET", "/webhook-events")["items"]} == {"polar", "stripe"}


def test_only_administrators_see_and_replay_events(ana: Client, server: LiveServer, sign_in: SignIn) -> None:
    admin, _ = make_pro(server, sign_in)
    deliver(server, event_of(ana.user["id"], 2))
    until(lambda: plan_of(ana) == "Pro")
    (event,) = admin.api("GET", "/webhook-events")["items"]
    assert ana.api("GET", "/webhook-events", expect=403)["code"] == "admin_only"
    assert ana.api("POST", f"/webhook-events/{event['id']}/replay", expect=403)["code"] == "admin_only"
    assert admin.api("POST", f"/webhook-events/{event['id']}/replay")["processed_at"] is None
    until(lambda: admin.api("GET", "/webhook-events")["items"][0]["processed_at"] is not None)
    assert admin.api("POST", f"/webhook-events/{new_id()}/replay", expect=404)["code"] == "webhook_event_not_found"


# ---- a life of a subscription


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
    providers = PaymentProviders({"polar": _polar()})
    since = clock.now()
    body = event_of(alice.user_id, 10, past_due_at=since.isoformat(), modified_at=since.isoformat())
    store_delivery(session, providers.by_source["polar"], "m1", body)
    process_all(session, providers)
    assert find_plan_id(session, alice.user_id) == pro
    with clock.frozen(since + GRACE + timedelta(seconds=1)):
        assert find_plan_id(session, alice.user_id) is None


def _polar(url: str = "http://127.0.0.1:9") -> Payments:
    import httpx

    return Polar(httpx.AsyncClient(), url, None, (POLAR_SECRET,))


def _stripe() -> Payments:
    import httpx

    return Stripe(httpx.AsyncClient(), "http://127.0.0.1:9", None, (STRIPE_SECRET,))


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
    providers = PaymentProviders({"polar": _polar()})
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
    providers = PaymentProviders({"stripe": _stripe()})
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


def test_an_event_that_cannot_be_applied_holds_up_no_other(
    session: Session, alice: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tertulia.billing.payments import webhooks

    providers = PaymentProviders({"polar": _polar()})
    polar = providers.by_source["polar"]
    apply = webhooks.apply_event

    def fail_once(session: Session, event: WebhookEvent, *args: Any, **kwargs: Any) -> None:
        if event.sender_id == "bad":
            raise RuntimeError("no")
        apply(session, event, *args, **kwargs)

    monkeypatch.setattr(webhooks, "apply_event", fail_once)
    store_delivery(session, polar, "bad", event_of(alice.user_id, 1))
    store_delivery(session, polar, "good", event_of(alice.user_id, 2))
    moment = clock.now()
    for attempt in range(MAX_TRIES + 2):
        with clock.frozen(moment + timedelta(hours=7 * attempt)):
            process_all(session, providers)
    bad, good = session.scalars(sa.select(WebhookEvent).order_by(WebhookEvent.id)).all()
    assert (bad.tries, bad.error, bad.processed_at) == (MAX_TRIES, "Failed with RuntimeError.", None)
    assert good.processed_at is not None


def test_payments_and_subscriptions_outlive_their_user(session: Session, alice: Actor) -> None:
    providers = PaymentProviders({"polar": _polar()})
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


# ---- a killed process


def test_a_process_killed_between_receipt_and_effect_loses_nothing(settings: Settings) -> None:
    """Kill a process a hundred times at any moment after it acknowledged a delivery, and process the rest."""
    engine = plain_engine(settings)
    with Session(engine) as session, session.begin():
        user_id = make_user(session, username="buyer").user_id
    engine.dispose()
    rng = random.Random(1)
    providers = PaymentProviders({"polar": _polar()})
    for number in range(100):
        body = event_of(user_id, 2, id=f"sub_{number}")
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:  # pragma: no cover - it is killed
            try:
                os.close(reading)
                own = plain_engine(settings)
                with Session(own) as session, session.begin():
                    store_delivery(session, providers.by_source["polar"], f"m{number}", body)
                os.write(writing, b"1")  # acknowledged
                with Session(own) as session, session.begin():
                    process_deliveries(session, providers, grace=GRACE)
                time.sleep(30)
            finally:
                os._exit(0)
        os.close(writing)
        assert os.read(reading, 1) == b"1"
        os.close(reading)
        time.sleep(rng.random() * 0.008)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    engine = plain_engine(settings)
    with Session(engine) as session, session.begin():
        until(lambda: process_deliveries(session, providers, grace=GRACE) == 0)
        assert len(session.scalars(sa.select(WebhookEvent.id)).all()) == 100
        assert session.scalars(sa.select(WebhookEvent.id).where(WebhookEvent.processed_at.is_(None))).all() == []
        states = session.execute(sa.select(Subscription.status, Subscription.user_id)).all()
        assert [tuple(state) for state in states] == [("active", user_id)] * 100
    engine.dispose()


# ---- odd values


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
    providers = PaymentProviders({"polar": _polar()})
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
    assert store_delivery(session, _polar(), "odd", body.encode())
    assert session.scalars(sa.select(WebhookEvent.body)).all() == [body.encode()]


def test_ids_of_two_sources_are_not_mixed_up(session: Session, alice: Actor, bob: Actor) -> None:
    providers = PaymentProviders({"polar": _polar(), "stripe": _stripe()})
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
    providers = PaymentProviders({"polar": _polar()})
    for name in ("Pro", "Basic"):
        body = event_of(alice.user_id, 2, id=f"sub_{name}", product_id=name)
        store_delivery(session, providers.by_source["polar"], name, body)
    process_all(session, providers)
    assert find_plan_id(session, alice.user_id) == ids["Pro"]


def test_what_was_told_after_a_list_was_read_is_newer(session: Session, alice: Actor) -> None:
    providers = PaymentProviders({"polar": _polar()})
    polar = providers.by_source["polar"]
    active = json.loads(event_of(alice.user_id, 2))["data"]
    read_at = clock.now() - timedelta(seconds=1)
    store_delivery(session, polar, "m7", event_of(alice.user_id, 7))
    process_all(session, providers)
    assert not mend(session, polar, Listed("subscription.reconciled", active, read_at))
    assert session.get_one(Subscription, SUBSCRIPTION).status == "canceled"


def test_a_second_subscription_is_not_sold(ana: Client, server: LiveServer, sign_in: SignIn) -> None:
    _, pro = make_pro(server, sign_in)
    deliver(server, event_of(ana.user["id"], 2))
    until(lambda: plan_of(ana) == "Pro")
    assert ana.api("POST", "/checkout", json={"plan_id": pro}, expect=409)["code"] == "already_subscribed"


# ---- buying and managing


def test_a_plan_is_bought_at_polar(ana: Client, server: LiveServer, sign_in: SignIn, polar: PaymentServer) -> None:
    _, pro = make_pro(server, sign_in)
    assert [plan["name"] for plan in ana.api("GET", "/plans")["items"]] == ["Pro"]
    link = ana.api("POST", "/checkout", json={"plan_id": pro})
    assert link["url"].startswith(f"{polar.url}/checkout/")
    method, path, fields = polar.requests[-1]
    assert (method, path, fields["products"], fields["external_customer_id"]) == (
        "POST",
        "/v1/checkouts/",
        [PRODUCT],
        ana.user["id"],
    )
    assert fields["success_url"] == f"{server.url.removesuffix('/api/v1')}/settings/plan?bought=1"
    deliver(server, event_of(ana.user["id"], 2))
    until(lambda: ana.api("GET", "/subscription")["can_manage"])
    portal = ana.api("POST", "/customer-portal")
    assert portal["url"].startswith(f"{polar.url}/portal/")


def test_a_plan_is_bought_at_stripe(ana: Client, server: LiveServer, sign_in: SignIn, stripe: PaymentServer) -> None:
    _, pro = make_pro(server, sign_in)
    link = ana.api("POST", "/checkout", json={"plan_id": pro, "source": "stripe"})
    assert link["url"].startswith(f"{stripe.url}/c/")
    _, _, fields = stripe.requests[-1]
    assert fields["client_reference_id"] == fields["subscription_data[metadata][user_id]"] == ana.user["id"]


def test_what_is_not_for_sale_cannot_be_bought(ana: Client, server: LiveServer, sign_in: SignIn) -> None:
    admin, pro = make_pro(server, sign_in)
    admin.api("PATCH", f"/plans/{pro}", json={"is_offered": False})
    for plan_id in (pro, new_id()):
        assert ana.api("POST", "/checkout", json={"plan_id": plan_id}, expect=409)["code"] == "not_for_sale"
    assert ana.api("POST", "/customer-portal", expect=409)["code"] == "nothing_bought"


def test_a_payment_provider_that_does_not_answer_is_said(
    ana: Client, server: LiveServer, sign_in: SignIn, polar: PaymentServer
) -> None:
    _, pro = make_pro(server, sign_in)
    polar.is_broken = True
    problem = ana.api("POST", "/checkout", json={"plan_id": pro}, expect=503)
    assert (problem["code"], "Nothing was charged" in problem["detail"]) == ("payment_provider_error", True)
    polar.is_broken, polar.products = False, set()
    assert ana.api("POST", "/checkout", json={"plan_id": pro}, expect=503)["code"] == "payment_provider_error"


def test_people_see_only_their_own_payments(ana: Client, server: LiveServer, sign_in: SignIn) -> None:
    deliver(server, event_of(ana.user["id"], 3))
    until(lambda: len(ana.api("GET", "/payments")["items"]) == 1)
    assert sign_in("bob").api("GET", "/payments")["items"] == []
    assert sign_in("bob").api("GET", "/subscription")["subscriptions"] == []


# ---- reconciliation


def test_a_missed_event_is_mended_from_the_list_of_the_provider(session: Session, alice: Actor) -> None:
    providers = PaymentProviders({"polar": _polar()})
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
