"""Routes for subscriptions, checkout, payments and webhooks."""

from datetime import timedelta
from typing import Annotated

from fastapi import Path, Query, Request
from starlette.responses import Response

from tertulia import clock
from tertulia.accounts.caller import CallerDep, CommandDep
from tertulia.billing.payments import service, webhooks
from tertulia.billing.payments.counts import RefusalCounts
from tertulia.billing.payments.errors import (
    PaymentProviderError,
    PaymentSourceUnknown,
    SubscriptionNotChanged,
    WebhookRefused,
)
from tertulia.billing.payments.protocol import PaymentProviders, Payments
from tertulia.billing.payments.schemas import (
    CheckoutRequest,
    LinkRead,
    PaymentRead,
    Received,
    SubscriptionRead,
    SubscriptionUpdate,
    WebhookEventRead,
    WebhookRefusals,
)
from tertulia.billing.payments.signatures import BadSignature
from tertulia.billing.payments.stripe import digest_of, sender_id_of
from tertulia.db import Database
from tertulia.errors import TooLarge, UnsupportedType
from tertulia.http.body import LimitedRequest
from tertulia.http.paging import Cursors, CursorText, Limit, Page
from tertulia.http.responses import json_response
from tertulia.http.routing import Access, Routes, service_of
from tertulia.ids import WebhookEventId
from tertulia.settings import Settings

MAX_WEBHOOK_BYTES = 256 * 1024
REFUSALS_SHOWN = timedelta(days=30)
routes = Routes("payments")


def _grace(caller: CallerDep) -> timedelta:
    return timedelta(days=caller.service(Settings).payment_grace_days)


@routes.add("GET", "/subscription", access=Access.SIGNED_IN, gives=SubscriptionRead)
async def get_subscription(caller: CallerDep) -> Response:
    """Return your plan, and the subscriptions behind it."""
    providers = caller.service(PaymentProviders)
    return json_response(await caller.read(service.get_subscription, providers, grace=_grace(caller)))


@routes.add("POST", "/checkout", access=Access.SIGNED_IN, gives=LinkRead, problems=(409,))
async def post_checkout(request: Request, caller: CommandDep, wanted: CheckoutRequest) -> Response:
    """Return the address of a page where you pay for a plan."""
    providers = caller.service(PaymentProviders)
    purchase = await caller.read(service.prepare_checkout, wanted, providers, grace=_grace(caller))
    page = f"{_origin(request)}/settings/plan"
    url = await _payments(providers, purchase.source).create_checkout(
        purchase.buyer, purchase.product_id, success_url=f"{page}?bought=1", cancel_url=page
    )
    return json_response({"url": url})


@routes.add(
    "PATCH", "/subscriptions/{subscription_id}", access=Access.SIGNED_IN, gives=SubscriptionRead, problems=(404, 409)
)
async def patch_subscription(
    caller: CommandDep, subscription_id: Annotated[str, Path(max_length=100)], update: SubscriptionUpdate
) -> Response:
    """Cancel a subscription at the end of its period, keep it after all, or change it to another plan."""
    providers = caller.service(PaymentProviders)
    change = await caller.read(service.prepare_change, subscription_id, update, providers, grace=_grace(caller))
    payments = _payments(providers, change.source)
    try:
        if change.product_id is not None:
            answer = await payments.change_product(change.subscription_id, change.product_id)
        else:
            answer = await payments.set_cancellation(change.subscription_id, is_cancelled=bool(change.is_cancelled))
    except PaymentProviderError as error:
        raise SubscriptionNotChanged(error.name, is_refused=error.is_refused) from error
    await caller.service(Database).write(webhooks.apply_answer, payments, answer, providers, grace=_grace(caller))
    return json_response(await caller.read(service.get_subscription, providers, grace=_grace(caller)))


@routes.add("POST", "/customer-portal", access=Access.SIGNED_IN, gives=LinkRead, problems=(409,))
async def post_customer_portal(request: Request, caller: CommandDep) -> Response:
    """Return the address of a page where you cancel, change the plan or the card, and find invoices."""
    providers = caller.service(PaymentProviders)
    management = await caller.read(service.prepare_portal, providers, grace=_grace(caller))
    url = await _payments(providers, management.source).create_portal(
        management.buyer, return_url=f"{_origin(request)}/settings/plan"
    )
    return json_response({"url": url})


@routes.add("GET", "/payments", access=Access.SIGNED_IN, gives=Page[PaymentRead])
async def get_payments(caller: CallerDep, limit: Limit = 50, cursor: CursorText = None) -> Response:
    """List your payments, newest first."""
    cursors = caller.service(Cursors)
    rows = await caller.read(service.list_payments, after=cursors.decode_id("payments", cursor), limit=limit + 1)
    return json_response(cursors.page("payments", rows, limit))


@routes.add("POST", "/payments/{payment_id}/invoice", access=Access.SIGNED_IN, gives=LinkRead, problems=(404, 409, 503))
async def post_invoice(caller: CommandDep, payment_id: Annotated[str, Path(max_length=100)]) -> Response:
    """Return the address of a payment's invoice. It is made if there is none yet, which may take some seconds."""
    providers = caller.service(PaymentProviders)
    paid = await caller.read(service.find_payment, payment_id, providers)
    return json_response({"url": await _payments(providers, paid.source).find_invoice(paid.payment_id)})


@routes.add(
    "POST",
    "/webhooks/{source}",
    access=Access.PUBLIC,
    gives=Received,
    status=200,
    problems=(404,),
    is_raw=True,
)
async def post_webhook(request: Request, source: str) -> Response:
    """Receive an event of a payment provider. It is stored before the answer, and applied right after it."""
    payments = service_of(request, PaymentProviders).find(source)
    if payments is None:
        raise PaymentSourceUnknown
    counts = service_of(request, RefusalCounts)
    try:
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise UnsupportedType
        received = LimitedRequest(request.scope, request.receive)
        received.max_bytes = MAX_WEBHOOK_BYTES
        body = await received.body()
        # A signed body that names no id is kept as well: its repetition has the same bytes.
        sender_id = payments.verify(request.headers, body, clock.now()) or sender_id_of(body) or digest_of(body)
    except BadSignature as error:
        counts.add(f"{source} {error.reason}")
        raise WebhookRefused from None
    except (TooLarge, UnsupportedType) as error:
        counts.add(f"{source} {error.code}")
        raise
    db = service_of(request, Database)
    is_new = await db.write(webhooks.store_delivery, payments, sender_id, body)
    return json_response({"repeated": not is_new}, status=202 if is_new else 200)


def _payments(providers: PaymentProviders, source: str) -> Payments:
    payments = providers.find(source)
    if payments is None:
        raise PaymentSourceUnknown
    return payments


def _origin(request: Request) -> str:
    """Return the address of this server as the browser knows it."""
    return service_of(request, Settings).public_url or f"{request.url.scheme}://{request.url.netloc}"


# ---- for administrators


@routes.add("GET", "/webhook-events", access=Access.ADMIN, gives=Page[WebhookEventRead])
async def get_webhook_events(
    caller: CallerDep,
    limit: Limit = 50,
    cursor: CursorText = None,
    failed: Annotated[bool, Query(description="Only what is not applied.")] = False,
) -> Response:
    """List the events that payment providers sent, newest first."""
    cursors = caller.service(Cursors)
    rows = await caller.read(
        webhooks.list_events, is_failed=failed, after=cursors.decode_id("webhook-events", cursor), limit=limit + 1
    )
    return json_response(cursors.page("webhook-events", rows, limit))


@routes.add("GET", "/webhook-refusals", access=Access.ADMIN, gives=WebhookRefusals)
async def get_webhook_refusals(caller: CallerDep) -> Response:
    """Count the deliveries that were refused in the last 30 days, by reason."""
    counts = caller.service(RefusalCounts)
    await counts.flush()
    since = (clock.now() - REFUSALS_SHOWN).date()
    return json_response({"items": await caller.read(webhooks.list_refusals, since=since)})


@routes.add(
    "POST",
    "/webhook-events/{event_id}/replay",
    access=Access.ADMIN,
    gives=WebhookEventRead,
    problems=(404,),
)
async def post_replay(caller: CommandDep, event_id: WebhookEventId) -> Response:
    """Apply an event again."""
    return await caller.command(200, webhooks.replay_event, event_id)
