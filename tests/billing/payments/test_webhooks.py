"""Test deliveries: what is stored, what is refused, and that a killed process loses nothing."""

import os
import random
import signal
import time

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia.billing.payments.models import Subscription, WebhookEvent, WebhookRefusal
from tertulia.billing.payments.protocol import PaymentProviders
from tertulia.billing.payments.webhooks import process_deliveries, store_delivery
from tertulia.db.opening import plain_engine
from tertulia.ids import new_id
from tertulia.settings import Settings
from tests.conftest import ServerMaker, SignIn
from tests.factories.accounts import make_admin, make_user
from tests.factories.payments import GRACE, deliver, event_of, make_polar, make_pro, plan_of
from tests.fakes.live_server import Client, LiveServer
from tests.fakes.payment_servers import sign_polar, sign_stripe
from tests.fakes.scripted_provider import ScriptedProvider
from tests.waiting import until


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


def test_a_process_killed_between_receipt_and_effect_loses_nothing(settings: Settings) -> None:
    """Kill a process a hundred times at any moment after it acknowledged a delivery, and process the rest."""
    engine = plain_engine(settings)
    with Session(engine) as session, session.begin():
        user_id = make_user(session, username="buyer").user_id
    engine.dispose()
    rng = random.Random(1)
    providers = PaymentProviders({"polar": make_polar()})
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
