"""Test the checkout, the portal and what people see of their payments."""

from tertulia.ids import new_id
from tests.conftest import SignIn
from tests.factories.payments import PRODUCT, deliver, event_of, make_pro, plan_of
from tests.fakes.live_server import Client, LiveServer
from tests.fakes.payment_servers import (
    PaymentServer,
)
from tests.waiting import until


def test_a_second_subscription_is_not_sold(ana: Client, server: LiveServer, sign_in: SignIn) -> None:
    _, pro = make_pro(server, sign_in)
    deliver(server, event_of(ana.user["id"], 2))
    until(lambda: plan_of(ana) == "Pro")
    assert ana.api("POST", "/checkout", json={"plan_id": pro}, expect=409)["code"] == "already_subscribed"


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
