"""How providers fail, in a few kinds, in words that a person can act on. They are kept on the message."""

from tertulia.errors import Invalid, Unavailable


class ProviderError(Unavailable):
    """A reply that did not come, or broke off; `detail` is kept on the message and shown."""

    code = "provider_error"


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
            "There is no model to answer yet. The operator can turn on the built-in one (TERTULIA_LOCAL_MODEL) or name an "
            "OpenAI-compatible address (TERTULIA_OPENAI_BASE_URL).",
            field="model_name",
        )
