"""Plans that are sold, and events of payment providers about them."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy.orm import Session

from tertulia.billing.payments.polar import Polar
from tertulia.billing.payments.protocol import PaymentProviders, Payments
from tertulia.billing.payments.stripe import Stripe
from tertulia.billing.payments.webhooks import process_deliveries
from tests.conftest import SignIn
from tests.factories.accounts import make_admin
from tests.fakes.live_server import Client, LiveServer
from tests.fakes.payment_servers import POLAR_SECRET, STRIPE_SECRET, sign_polar

GRACE = timedelta(days=7)
PRODUCT = "3d1f0c5a-7f0e-4e0b-8f53-6b1f7a2c9d02"  # of the samples
SAMPLES = sorted((Path(__file__).parents[1] / "billing/payments/polar").glob("*.json"))


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


def make_polar(url: str = "http://127.0.0.1:9") -> Payments:
    return Polar(httpx.AsyncClient(), url, None, (POLAR_SECRET,))


def make_stripe() -> Payments:
    return Stripe(httpx.AsyncClient(), "http://127.0.0.1:9", None, (STRIPE_SECRET,))
