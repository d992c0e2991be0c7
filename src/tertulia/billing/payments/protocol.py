"""The port of payments: what a payment provider does for us."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from tertulia.billing.payments.facts import EventFacts

LISTED = ".reconciled"  # the end of the type of events that we make of a provider's list
CLOCK_SKEW = timedelta(seconds=30)  # a list is taken to be so much older: the provider's clock may be behind ours


@dataclass(frozen=True)
class Buyer:
    """The user who buys. The provider keeps the id, by which its events name the user; never the e-mail address.

    `customer_id` is the provider's own id of the user, if it is known from earlier purchases.
    """

    user_id: str
    name: str
    email: str | None
    customer_id: str | None = None


@dataclass(frozen=True)
class Listed:
    """A subscription or payment that a provider answered, with the type of an event about it, and as of when it is so."""

    type: str
    data: dict[str, Any]
    read_at: datetime


class Payments(Protocol):
    """A payment provider. Calls raise PaymentProviderError."""

    source: str
    customer_types: tuple[str, ...]  # of events that say something of all subscriptions of a customer

    @property
    def can_call(self) -> bool:
        """Return whether its API can be called: with a token, it can."""
        ...

    def verify(self, headers: Mapping[str, str], body: bytes, now: datetime) -> str | None:
        """Return the sender's id of a delivery, or None if the body names it. Raises BadSignature."""
        ...

    def parse(self, body: bytes) -> EventFacts:
        """Return what an event says. It never fails: what cannot be read has no type."""
        ...

    async def create_checkout(self, buyer: Buyer, product_id: str, *, success_url: str, cancel_url: str) -> str:
        """Return the address of a page where the buyer pays."""
        ...

    async def create_portal(self, buyer: Buyer, *, return_url: str) -> str:
        """Return the address of a page where the buyer cancels, changes the card and finds invoices."""
        ...

    async def set_cancellation(self, subscription_id: str, *, is_cancelled: bool) -> Listed:
        """Let a subscription end with the period that is paid for, or not. Return it as it is now."""
        ...

    async def change_product(self, subscription_id: str, product_id: str) -> Listed:
        """Move a subscription to another product. Return it as it is now."""
        ...

    async def find_invoice(self, payment_id: str) -> str:
        """Return the address of a payment's invoice. Raises InvoiceMissing with what to do, and PaymentProviderError."""
        ...

    def list_objects(self) -> AsyncIterator[Listed]:
        """Yield every subscription and payment that the provider has."""
        ...

    def as_event(self, type: str, data: Mapping[str, Any], moment: datetime) -> bytes:
        """Return the body of an event about an object, as the provider would have sent it."""
        ...


@dataclass(frozen=True)
class PaymentProviders:
    """Service: the payment providers that are set up, by their name in addresses."""

    by_source: Mapping[str, Payments]

    def find(self, source: str) -> Payments | None:
        return self.by_source.get(source)
