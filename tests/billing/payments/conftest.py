"""Servers of payment providers, and ours that uses them."""

from collections.abc import Iterator

import pytest

from tests.conftest import ServerMaker
from tests.factories.payments import PRODUCT
from tests.fakes.live_server import LiveServer
from tests.fakes.payment_servers import (
    POLAR_SECRET,
    STRIPE_SECRET,
    PaymentServer,
)
from tests.fakes.scripted_provider import ScriptedProvider


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
