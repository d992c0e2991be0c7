"""Errors of payments."""

from tertulia.errors import Conflict, Forbidden, NotFound, Unavailable


class WebhookRefused(Forbidden):
    """The delivery is not signed with one of our secrets."""

    code = "webhook_refused"

    def __init__(self) -> None:
        super().__init__("The signature does not match. Check the secret of this webhook on both sides.")


class PaymentSourceUnknown(NotFound):
    code = "payment_source_unknown"

    def __init__(self) -> None:
        super().__init__("This payment provider is not set up on this server.")


class WebhookEventNotFound(NotFound):
    code = "webhook_event_not_found"


class PaymentNotFound(NotFound):
    code = "payment_not_found"


class PaymentProviderError(Unavailable):
    """The payment provider did not answer as documented."""

    code = "payment_provider_error"

    def __init__(self, name: str, reason: str, *, is_refused: bool = False, status: int | None = None) -> None:
        self.name = name
        self.is_refused = is_refused  # it answered that it does not do this, so nothing was changed
        self.status = status  # of its answer
        super().__init__(f"{name} did not answer as expected ({reason}). Nothing was charged. Try again in a moment.")


class SubscriptionRenews(Conflict):
    """A subscription would be paid for an account that is deleted."""

    code = "subscription_renews"

    def __init__(self) -> None:
        super().__init__(
            "You have a subscription that renews. Cancel it first under Settings, Plan: otherwise you would go on paying."
        )


class PaymentIsDue(Conflict):
    code = "payment_is_due"

    def __init__(self) -> None:
        super().__init__(
            "The last payment failed. Update your card under Manage subscription before you change the plan."
        )


class SubscriptionNotFound(NotFound):
    """There is no such subscription of the caller that gives access."""

    code = "subscription_not_found"


class SubscriptionNotChanged(Unavailable):
    """The payment provider refused a change, or did not confirm it."""

    code = "subscription_not_changed"

    def __init__(self, name: str, *, is_refused: bool) -> None:
        super().__init__(
            f"{name} refused this change, and nothing was changed. See Manage subscription for what is possible."
            if is_refused
            else f"{name} did not confirm this change. If it was made, this page shows it within minutes."
        )


class InvoiceMissing(Conflict):
    code = "invoice_missing"

    def __init__(self, name: str, *, is_soon: bool) -> None:
        super().__init__(
            f"{name} is making the invoice. Try again in a moment."
            if is_soon
            else f"{name} makes no invoice of this payment: it is not paid, or the name or address for the invoice is missing. "
            "Enter them under Manage subscription."
        )


class NotForSale(Conflict):
    code = "not_for_sale"

    def __init__(self) -> None:
        super().__init__("This plan cannot be bought here. Ask an administrator for it.")


class AccountEnds(Conflict):
    code = "account_ends"

    def __init__(self) -> None:
        super().__init__(
            "Your account will be deleted. Keep it first, under Settings: otherwise you would pay for nothing."
        )


class AlreadySubscribed(Conflict):
    code = "already_subscribed"

    def __init__(self) -> None:
        super().__init__("You already have a subscription. Change it under Manage subscription.")


class NothingBought(Conflict):
    code = "nothing_bought"

    def __init__(self) -> None:
        super().__init__("You have bought nothing here yet, so there is nothing to manage.")
