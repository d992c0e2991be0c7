"""Define provider errors. Their sentences are stored on the message and shown to people."""

from tertulia.errors import Conflict, Invalid, NotFound, Unavailable


class PricesUnreadable(Invalid):
    """A list of prices that is not one of genai-prices."""

    code = "prices_unreadable"

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"This is no list of prices of genai-prices: {reason}. The prices are unchanged.", field="packed"
        )


class ProviderError(Unavailable):
    """A reply that failed or was interrupted. `detail` is stored on the message and shown.

    `is_safe` means that no output was received, so the same request may be retried automatically. `said` is the
    provider's own message.
    """

    code = "provider_error"

    def __init__(self, detail: str, *, retry_after_s: int | None = None, is_safe: bool = False, said: str = "") -> None:
        super().__init__(detail, retry_after_s=retry_after_s)
        self.is_safe = is_safe
        self.said = said


class ProviderUnavailable(ProviderError):
    code = "provider_unavailable"


class ProviderTimeout(ProviderError):
    code = "provider_timeout"


class RateLimited(ProviderError):
    code = "provider_rate_limited"


class ProviderEnded(ProviderError):
    code = "provider_ended"


class KeyRefused(ProviderError):
    code = "provider_key_refused"


class ContextTooLong(ProviderError):
    code = "context_too_long"


class RequestRefused(ProviderError):
    code = "provider_request_refused"


class ToolsRefused(RequestRefused):
    code = "model_takes_no_tools"


class PicturesRefused(RequestRefused):
    code = "model_takes_no_pictures"


class MalformedReply(ProviderError):
    code = "provider_malformed_reply"


class ModelNotReady(ProviderError):
    code = "model_not_ready"


class ModelUnknown(Invalid):
    code = "model_unknown"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, field="model_name")


class NoModel(Invalid):
    code = "no_model"

    def __init__(self) -> None:
        super().__init__(
            "No model is available yet. Add a provider with your own key under Settings, Providers. The operator can "
            "also enable the built-in model (TERTULIA_LOCAL_MODEL).",
            field="model_name",
        )


class ModelNotInPlan(Invalid):
    """The plan of the person does not include a model."""

    code = "model_not_in_plan"

    def __init__(self, plan: str, model_name: str) -> None:
        super().__init__(
            f"Your plan {plan} does not include {model_name}. Choose another model, or another plan.",
            field="model_name",
        )


class PriceUnknown(Conflict):
    """The administrator refuses requests whose price is unknown."""

    code = "price_unknown"

    def __init__(self, model_name: str) -> None:
        super().__init__(
            f"The price of {model_name} is not known, and this server refuses such requests. Choose another model, or "
            f"ask an administrator to enter its price.",
            model_name=model_name,
        )


class ModelPriceNotFound(NotFound):
    code = "model_price_not_found"


class TooManyPrices(Conflict):
    code = "too_many_prices"

    def __init__(self, limit: int) -> None:
        super().__init__(f"There are already {limit} prices. Delete old ones first.", limit=limit)


class ProviderConfigNotFound(NotFound):
    code = "provider_config_not_found"


class ProviderConfigExists(Conflict):
    code = "provider_config_exists"

    def __init__(self) -> None:
        super().__init__("You already have this provider. Give the second one a name, such as `work`.")


class ProviderFieldInvalid(Invalid):
    code = "provider_field_invalid"

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(detail, field=field)
