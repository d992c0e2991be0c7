"""Test the life of a subscription against shops that send webhooks in any order, twice, and late."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import ServerMaker, SignIn
from tests.factories.payments import PRODUCT, SAMPLES, make_pro, plan_of
from tests.fakes.live_server import Client, LiveServer
from tests.fakes.payment_servers import POLAR_SECRET, STRIPE_SECRET
from tests.fakes.payment_shops import PolarShop, Shop, StripeShop
from tests.waiting import until


@pytest.fixture
def polar() -> Iterator[PolarShop]:
    subscription, order = (json.loads(SAMPLES[number].read_bytes())["data"] for number in (1, 2))
    shop = PolarShop(products={PRODUCT}, templates={"subscription": subscription, "order": order})
    yield shop
    shop.close()


@pytest.fixture
def stripe() -> Iterator[StripeShop]:
    shop = StripeShop(products={"price_pro"})
    yield shop
    shop.close()


@pytest.fixture
def server(start_server: ServerMaker, polar: PolarShop, stripe: StripeShop) -> LiveServer:
    server = start_server(
        polar_url=polar.url,
        polar_access_token=polar.token,
        polar_webhook_secrets=(POLAR_SECRET,),
        stripe_url=stripe.url,
        stripe_access_token=stripe.token,
        stripe_webhook_secrets=(STRIPE_SECRET,),
        openai_models=(),
    )
    for shop in (polar, stripe):
        shop.receiver = f"{server.url}/api/v1/webhooks/{shop.kind}"
    return server


@pytest.fixture(params=["polar", "stripe"])
def shop(request: pytest.FixtureRequest, polar: PolarShop, stripe: StripeShop) -> Shop:
    return polar if request.param == "polar" else stripe


def subscription_of(client: Client) -> Any:
    (item,) = client.api("GET", "/subscription")["subscriptions"]
    return item


@pytest.mark.parametrize("seed", range(2))
def test_what_we_know_of_a_subscription_is_what_the_shop_knows(
    ana: Client, server: LiveServer, sign_in: SignIn, shop: Shop, seed: int
) -> None:
    shop.rng.seed(seed)
    admin, pro = make_pro(server, sign_in)
    order = {"plan_id": pro, "source": shop.kind}
    subscription = shop.pay(ana.api("POST", "/checkout", json=order)["url"])
    until(lambda: plan_of(ana) == "Pro")
    shop.wait()
    path = f"/subscriptions/{subscription['id']}"
    assert ana.api("PATCH", path, json={"cancel_at_period_end": True})["subscriptions"][0]["cancel_at_period_end"]
    assert not ana.api("PATCH", path, json={"cancel_at_period_end": False})["subscriptions"][0]["cancel_at_period_end"]
    shop.miss_payment(subscription)
    until(lambda: subscription_of(ana)["status"] == "past_due")
    assert plan_of(ana) == "Pro"  # the time of grace
    shop.take_payment(subscription)
    until(lambda: subscription_of(ana)["status"] == "active")

    # What is told while nothing arrives comes later.
    shop.is_cut_off = True
    shop.refund()
    shop.end(subscription)
    assert plan_of(ana) == "Pro"
    shop.is_cut_off = False
    until(lambda: plan_of(ana) is None)
    shop.wait()

    def first() -> Any:
        return ana.api("GET", "/payments")["items"][-1]  # the oldest is last

    until(lambda: first()["refunded_amount"] == 1452)
    amounts = ("subtotal_amount", "discount_amount", "net_amount", "tax_amount", "total_amount", "due_amount")
    assert [first()[name] for name in amounts] == [1200, 0, 1200, 252, 1452, 1452]
    payments = ana.api("GET", "/payments")["items"]
    assert (subscription_of(ana)["status"], len(payments)) == ("canceled", len(shop.payments))
    assert all(payment["is_paid"] or payment["refunded_amount"] for payment in payments)
    until(lambda: admin.api("GET", "/webhook-events", params={"failed": True})["items"] == [])
    events = admin.api("GET", "/webhook-events", params={"limit": 200})["items"]
    received = {event["sender_id"]: event["type"] for event in events if event["sender_id"] in shop.sent}
    assert received == shop.sent  # each once, none lost
    assert set(shop.answers) <= {200, 202}
    assert len(shop.answers) > len(shop.sent)  # some came twice


def test_an_invoice_is_made_when_it_is_asked_for(
    ana: Client, server: LiveServer, sign_in: SignIn, polar: PolarShop
) -> None:
    _, pro = make_pro(server, sign_in)
    polar.pay(ana.api("POST", "/checkout", json={"plan_id": pro, "source": "polar"})["url"])
    until(lambda: ana.api("GET", "/payments")["items"])
    (payment,) = ana.api("GET", "/payments")["items"]
    path = f"/payments/{payment['id']}/invoice"
    assert ana.api("POST", path)["url"] == f"{polar.url}/invoices/{payment['id']}.pdf"
    assert [method for method, path, _ in polar.requests if path.endswith("/invoice")] == ["GET", "POST", "GET", "GET"]
    assert ana.api("POST", path)["url"].endswith(".pdf")  # it is there now
    assert sign_in("bob").api("POST", path, expect=404)["code"] == "payment_not_found"
    polar.payments[0] |= {"billing_name": None}
    del polar.payments[0]["invoice_in"]
    refused = ana.api("POST", path, expect=409)
    assert (refused["code"], "name or address" in refused["detail"]) == ("invoice_missing", True)
    polar.payments[0] |= {"billing_name": "Ana"}
    polar.invoice_after = 100
    assert "Try again in a moment" in ana.api("POST", path, expect=409)["detail"]


def test_an_invoice_of_stripe_is_found(ana: Client, server: LiveServer, sign_in: SignIn, stripe: StripeShop) -> None:
    _, pro = make_pro(server, sign_in)
    stripe.pay(ana.api("POST", "/checkout", json={"plan_id": pro, "source": "stripe"})["url"])
    until(lambda: [payment["is_paid"] for payment in ana.api("GET", "/payments")["items"]] == [True])
    assert ana.api("POST", "/payments/in_1/invoice")["url"] == "https://invoice.stripe.example/i/1"
    stripe.payments.clear()
    assert ana.api("POST", "/payments/in_1/invoice", expect=409)["code"] == "invoice_missing"
