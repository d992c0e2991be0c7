"""How providers fail, in a few kinds, in words that a person can act on. They are kept on the message."""

from tertulia.errors import Conflict, Invalid, NotFound, Unavailable


class ProviderError(Unavailable):
    """A reply that did not come, or broke off; `detail` is kept on the message and shown.

    `is_safe` says that the provider did no work for it, so that the same request may be sent again by itself.
    """

    code = "provider_error"

    def __init__(self, detail: str, *, retry_after_s: int | None = None, is_safe: bool = False) -> None:
        super().__init__(detail, retry_after_s=retry_after_s)
        self.is_safe = is_safe


class ProviderUnavailable(ProviderError):
    code = "provider_unavailable"


class ProviderTimeout(ProviderError):
    code = "provider_timeout"


class RateLimited(ProviderError):
    code = "provider_rate_limited"


class KeyRefused(ProviderError):
    code = "provider_key_refused"


class ContextTooLong(ProviderError):
    code = "context_too_long"


class RequestRefused(ProviderError):
    code = "provider_request_refused"


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
            "There is no model to answer yet. Add a provider with a key of your own under Settings, Providers; or the operator "
            "can turn on the built-in model (TERTULIA_LOCAL_MODEL).",
            field="model_name",
        )


class ProviderConfigNotFound(NotFound):
    code = "provider_config_not_found"


class ProviderConfigExists(Conflict):
    code = "provider_config_exists"

    def __init__(self) -> None:
        super().__init__("You have this provider already. Give the second one a name, such as `work`.")


class ProviderFieldInvalid(Invalid):
    code = "provider_field_invalid"

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(detail, field=field)
