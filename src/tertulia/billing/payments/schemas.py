"""Wire shapes of payments."""

from datetime import datetime

from pydantic import Field, model_validator
from typing_extensions import TypedDict

from tertulia.billing.schemas import UserPlanRead
from tertulia.http.body import RequestModel
from tertulia.ids import AnyId


class WebhookEventRead(TypedDict):
    """A delivery. `type` is null if it cannot be read. `error` says why it could not be applied; it is tried again."""

    id: str
    source: str
    sender_id: str
    type: str | None
    api_version: str | None
    object_id: str | None
    sent_at: datetime | None
    received_at: datetime
    processed_at: datetime | None
    tries: int
    error: str | None
    size_bytes: int
    body: str


class WebhookRefusalRead(TypedDict):
    """How many deliveries were refused on a day (UTC), and why. Nothing else of them is kept."""

    source: str
    reason: str
    date: str
    count: int


class WebhookRefusals(TypedDict):
    items: list[WebhookRefusalRead]


class Received(TypedDict):
    """`repeated`: the delivery was received before, and has no further effect."""

    repeated: bool


class SubscriptionItem(TypedDict):
    """A subscription. `status` is the provider's word. `access_until` is null where access has no end yet."""

    id: str
    source: str
    status: str
    product_id: str | None
    plan_name: str | None
    amount: int | None
    currency: str | None
    recurring_interval: str | None
    current_period_end: datetime | None
    cancel_at_period_end: bool
    ends_at: datetime | None
    ended_at: datetime | None
    past_due_at: datetime | None
    has_access: bool
    access_until: datetime | None


class SubscriptionRead(TypedDict):
    """The plan of the signed-in person, and the subscriptions behind it. `sources`: where plans can be bought."""

    plan: UserPlanRead
    subscriptions: list[SubscriptionItem]
    sources: list[str]
    can_manage: bool


class CheckoutRequest(RequestModel):
    plan_id: AnyId
    source: str | None = Field(None, max_length=20, description="`polar` or `stripe`, where a plan is sold by both.")


class SubscriptionUpdate(RequestModel):
    """One change: either `cancel_at_period_end`, or `plan_id`."""

    cancel_at_period_end: bool | None = Field(
        None, description="Whether the subscription ends with the period that is paid for."
    )
    plan_id: AnyId | None = Field(None, description="The plan to change to, sold by the same provider.")

    @model_validator(mode="after")
    def _one_change(self) -> "SubscriptionUpdate":
        if (self.cancel_at_period_end is None) == (self.plan_id is None):
            raise ValueError("Send either cancel_at_period_end or plan_id.")
        return self


class LinkRead(TypedDict):
    """The address of a page of the payment provider, to open in the browser."""

    url: str


class PaymentRead(TypedDict):
    """A payment in minor units of its currency. Null: the provider did not say it."""

    id: str
    source: str
    created_at: datetime
    status: str | None
    is_paid: bool
    subtotal_amount: int | None
    discount_amount: int
    net_amount: int | None
    tax_amount: int
    total_amount: int
    due_amount: int | None
    refunded_amount: int
    currency: str
    subscription_id: str | None
    billing_reason: str | None
    invoice_number: str | None
    receipt_url: str | None
