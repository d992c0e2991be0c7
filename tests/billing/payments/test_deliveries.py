"""Test the life of a subscription against a shop that sends webhooks in any order, twice, and late."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import ServerMaker, SignIn
from tests.factories.payments import PRODUCT, SAMPLES, make_pro, plan_of
from tests.fakes.live_server import Client, LiveServer
from tests.fakes.payment_servers import POLAR_SECRET
from tests.fakes.polar_shop import PolarShop
from tests.waiting import until


@pytest.fixture(params=range(2))
def shop(request: pytest.FixtureRequest) -> Iterator[PolarShop]:
    subscription, order = (json.loads(SAMPLES[number].read_bytes())["data"] for number in (1, 2))
    templates = {"subscription": subscription, "order": order}
    shop = PolarShop(products={PRODUCT}, templates=templates, seed=request.param)
    yield shop
    shop.close()


@pytest.fixture
def server(start_server: ServerMaker, shop: PolarShop) -> LiveServer:
    server = start_server(
        polar_url=shop.url, polar_access_token=shop.token, polar_webhook_secrets=(POLAR_SECRET,), openai_models=()
    )
    shop.receiver = f"{server.url}/api/v1/webhooks/polar"
    return server


def subscription_of(client: Client) -> Any:
    (item,) = client.api("GET", "/subscription")["subscriptions"]
    return item


def test_what_we_know_of_a_subscription_is_what_the_shop_knows(
    ana: Client, server: LiveServer, sign_in: SignIn, shop: PolarShop
) -> None:
    admin, pro = make_pro(server, sign_in)
    subscription = shop.pay(ana.api("POST", "/checkout", json={"plan_id": pro})["url"])
    until(lambda: plan_of(ana) == "Pro")
    shop.wait()
    path = f"/subscriptions/{subscription['id']}"
    ana.api("PATCH", path, json={"cancel_at_period_end": True})
    ana.api("PATCH", path, json={"cancel_at_period_end": False})
    shop.change(subscription, "subscription.past_due", status="past_due")
    until(lambda: subscription_of(ana)["status"] == "past_due")
    assert plan_of(ana) == "Pro"  # the time of grace
    shop.change(subscription, "subscription.active", status="active")
    until(lambda: subscription_of(ana)["status"] == "active")

    # What is told while nothing arrives comes later.
    shop.is_cut_off = True
    shop.change(shop.payments[0], "order.refunded", status="refunded", refunded_amount=1200)
    ended = {"status": "canceled", "ended_at": shop.now.isoformat(), "ends_at": shop.now.isoformat()}
    shop.change(subscription, "subscription.revoked", **ended)
    assert plan_of(ana) == "Pro"
    shop.is_cut_off = False
    until(lambda: plan_of(ana) is None)
    shop.wait()

    until(lambda: ana.api("GET", "/payments")["items"][0]["status"] == "refunded")
    assert (subscription_of(ana)["status"], len(ana.api("GET", "/payments")["items"])) == ("canceled", 1)
    until(lambda: admin.api("GET", "/webhook-events", params={"failed": True})["items"] == [])
    events = admin.api("GET", "/webhook-events", params={"limit": 200})["items"]
    received = {event["sender_id"]: event["type"] for event in events if event["sender_id"] in shop.sent}
    assert received == shop.sent  # each once, none lost
    assert set(shop.answers) <= {200, 202}
    assert len(shop.answers) > len(shop.sent)  # some came twice


def test_an_invoice_is_made_when_it_is_asked_for(
    ana: Client, server: LiveServer, sign_in: SignIn, shop: PolarShop
) -> None:
    _, pro = make_pro(server, sign_in)
    shop.pay(ana.api("POST", "/checkout", json={"plan_id": pro})["url"])
    until(lambda: ana.api("GET", "/payments")["items"])
    (payment,) = ana.api("GET", "/payments")["items"]
    path = f"/payments/{payment['id']}/invoice"
    assert ana.api("POST", path)["url"] == f"{shop.url}/invoices/{payment['id']}.pdf"
    assert [method for method, path, _ in shop.requests if path.endswith("/invoice")] == ["GET", "POST", "GET", "GET"]
    assert ana.api("POST", path)["url"].endswith(".pdf")  # it is there now
    assert sign_in("bob").api("POST", path, expect=404)["code"] == "payment_not_found"
    shop.payments[0] |= {"billing_name": None}
    del shop.payments[0]["invoice_in"]
    refused = ana.api("POST", path, expect=409)
    assert (refused["code"], "name or address" in refused["detail"]) == ("invoice_missing", True)
    shop.payments[0] |= {"billing_name": "Ana"}
    shop.invoice_after = 100
    assert "Try again in a moment" in ana.api("POST", path, expect=409)["detail"]
