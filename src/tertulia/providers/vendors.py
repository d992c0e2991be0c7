"""List vendors, the settings that each needs, and how its wire format differs. See docs/reference/providers.md."""

from dataclasses import dataclass, field
from typing import Literal

from tertulia.providers.google import FOREIGN_SIGNATURE
from tertulia.providers.openai_compatible import Dialect
from tertulia.providers.request_rules import CallIds

WireFormat = Literal["openai", "responses", "anthropic", "google", "cohere", "bedrock", "ollama"]
KeyHeader = Literal["authorization", "api-key", "x-api-key", "x-goog-api-key"]


@dataclass(frozen=True)
class VendorField:
    """A setting that a vendor needs in addition to the key. It replaces `{name}` in the base URL."""

    name: str
    label: str
    help: str
    placeholder: str


@dataclass(frozen=True)
class Vendor:
    """A vendor. `base_url` is None if the user must enter it. `key_help` is a sentence on where to find the key."""

    id: str
    display_name: str
    base_url: str | None
    key_help: str
    key_url: str | None
    wire: WireFormat = "openai"
    key_header: KeyHeader = "authorization"
    needs_key: bool = True
    fields: tuple[VendorField, ...] = ()
    dialect: Dialect = field(default_factory=Dialect)
    prices_id: str | None = None  # its id in genai-prices; None: prices are unknown
    is_own_machine: bool = False  # runs on the user's machine: a reply costs nothing
    # Recommended models, best first. They are also offered until the vendor's list has been read.
    models: tuple[str, ...] = ()
    note: str | None = None
    ended: str | None = None  # a sentence, if the service has ended


_REASONING = frozenset({"reasoning_content"})
_REGION = VendorField("region", "Region", "The AWS region whose models you use.", "us-east-1")
_RESOURCE = VendorField(
    "resource",
    "Resource",
    "The name of your Azure OpenAI resource: the part before .openai.azure.com.",
    "my-company",
)

VENDORS: tuple[Vendor, ...] = (
    Vendor(
        "openai",
        "OpenAI",
        "https://api.openai.com/v1",
        "On platform.openai.com under API keys. It begins with sk-.",
        "https://platform.openai.com/api-keys",
        wire="responses",
        prices_id="openai",
    ),
    Vendor(
        "anthropic",
        "Anthropic",
        "https://api.anthropic.com/v1",
        "On platform.claude.com under Settings, API keys. It begins with sk-ant-.",
        "https://platform.claude.com/settings/keys",
        wire="anthropic",
        key_header="x-api-key",
        prices_id="anthropic",
    ),
    Vendor(
        "google",
        "Google Gemini",
        "https://generativelanguage.googleapis.com/v1beta",
        "In Google AI Studio under Get API key. It begins with AIza or AQ.",
        "https://aistudio.google.com/apikey",
        wire="google",
        key_header="x-goog-api-key",
        prices_id="google",
    ),
    Vendor(
        "mistral",
        "Mistral",
        "https://api.mistral.ai/v1",
        "On console.mistral.ai under API keys.",
        "https://console.mistral.ai/api-keys",
        dialect=Dialect(has_stream_options=False, call_ids=CallIds("[a-zA-Z0-9]{9}", 9)),
        prices_id="mistral",
    ),
    Vendor(
        "groq",
        "Groq",
        "https://api.groq.com/openai/v1",
        "On console.groq.com under API keys. It begins with gsk_.",
        "https://console.groq.com/keys",
        dialect=Dialect(max_tokens_field="max_completion_tokens"),
        prices_id="groq",
    ),
    Vendor(
        "deepseek",
        "DeepSeek",
        "https://api.deepseek.com",
        "On platform.deepseek.com under API keys. It begins with sk-.",
        "https://platform.deepseek.com/api_keys",
        dialect=Dialect(echoes=_REASONING, needs_reasoning=True, effort_form="thinking"),
        prices_id="deepseek",
    ),
    Vendor(
        "xai",
        "xAI",
        "https://api.x.ai/v1",
        "On console.x.ai, in your team, under API keys. It begins with xai-.",
        "https://console.x.ai",
        wire="responses",
        prices_id="x-ai",
    ),
    Vendor(
        "openrouter",
        "OpenRouter",
        "https://openrouter.ai/api/v1",
        "On openrouter.ai under Settings, Keys. It begins with sk-or-.",
        "https://openrouter.ai/settings/keys",
        dialect=Dialect(echoes=frozenset({"reasoning_details"}), effort_form="reasoning"),
        prices_id="openrouter",
    ),
    Vendor(
        "perplexity",
        "Perplexity",
        "https://api.perplexity.ai",
        "On perplexity.ai under Settings, API. It begins with pplx-.",
        "https://www.perplexity.ai/account/api",
        dialect=Dialect(models_address=None, has_stream_options=False),
        prices_id="perplexity",
        models=("sonar-pro", "sonar", "sonar-reasoning-pro", "sonar-deep-research"),
        note="Its models search the web for each reply.",
    ),
    Vendor(
        "together",
        "Together AI",
        "https://api.together.xyz/v1",
        "On api.together.ai under Settings, API keys.",
        "https://api.together.ai/settings/api-keys",
        prices_id="together",
    ),
    Vendor(
        "fireworks",
        "Fireworks AI",
        "https://api.fireworks.ai/inference/v1",
        "On app.fireworks.ai under Settings, API keys. It begins with fw_.",
        "https://app.fireworks.ai/settings/users/api-keys",
        dialect=Dialect(echoes=_REASONING),
        prices_id="fireworks",
    ),
    Vendor(
        "cohere",
        "Cohere",
        "https://api.cohere.com/v2",
        "On dashboard.cohere.com under API keys.",
        "https://dashboard.cohere.com/api-keys",
        wire="cohere",
        prices_id="cohere",
    ),
    Vendor(
        "azure",
        "Azure OpenAI",
        "https://{resource}.openai.azure.com/openai/v1",
        "In the Azure portal, in your resource, under Keys and Endpoint.",
        "https://portal.azure.com",
        key_header="api-key",
        wire="responses",
        fields=(_RESOURCE,),
        prices_id="azure",
        note="Use the name of your deployment as the model. The list shows the region's models. Type yours if missing.",
    ),
    Vendor(
        "bedrock",
        "Amazon Bedrock",
        "https://bedrock-mantle.{region}.api.aws/v1",
        "In the AWS console, in Amazon Bedrock, under API keys.",
        "https://console.aws.amazon.com/bedrock",
        wire="bedrock",
        fields=(_REGION,),
        prices_id="aws",
    ),
    Vendor(
        "huggingface",
        "Hugging Face",
        "https://router.huggingface.co/v1",
        "On huggingface.co under Settings, Access Tokens, with the Inference Providers permission. It begins with hf_.",
        "https://huggingface.co/settings/tokens",
    ),
    Vendor(
        "cerebras",
        "Cerebras",
        "https://api.cerebras.ai/v1",
        "On cloud.cerebras.ai under API keys. It begins with csk-.",
        "https://cloud.cerebras.ai",
        dialect=Dialect(
            max_tokens_field="max_completion_tokens", refuses=frozenset({"frequency_penalty", "presence_penalty"})
        ),
        prices_id="cerebras",
    ),
    Vendor(
        "moonshot",
        "Moonshot (Kimi)",
        "https://api.moonshot.ai/v1",
        "On platform.kimi.ai under API keys. It begins with sk-.",
        "https://platform.kimi.ai/console/api-keys",
        dialect=Dialect(echoes=_REASONING, needs_reasoning=True, effort_form="thinking"),
        prices_id="moonshotai",
    ),
    Vendor(
        "nvidia",
        "NVIDIA NIM",
        "https://integrate.api.nvidia.com/v1",
        "On build.nvidia.com under API keys. It begins with nvapi-.",
        "https://build.nvidia.com/settings/api-keys",
        dialect=Dialect(echoes=_REASONING),
    ),
    Vendor(
        "ollama",
        "Ollama",
        "http://localhost:11434",
        "Not needed for your own server. For ollama.com, create a key there under Settings, Keys.",
        None,
        wire="ollama",
        needs_key=False,
        is_own_machine=True,
    ),
    Vendor(
        "lmstudio",
        "LM Studio",
        "http://localhost:1234/v1",
        "Not needed, unless LM Studio's server settings require one.",
        None,
        needs_key=False,
        is_own_machine=True,
        dialect=Dialect(echoes=_REASONING),
    ),
    Vendor(
        "vllm",
        "vLLM",
        "http://localhost:8000/v1",
        "The --api-key that the server was started with, if any.",
        None,
        needs_key=False,
        is_own_machine=True,
        dialect=Dialect(echoes=_REASONING),
    ),
    Vendor(
        "custom",
        "Another OpenAI-compatible address",
        None,
        "See the server's documentation. Leave it empty if no key is required.",
        None,
        needs_key=False,
        # Gateways to Gemini have the compatible form of Google's rule for signatures.
        dialect=Dialect(
            echoes=_REASONING,
            signing_models="([a-z]+/)?gemini-([3-9]|[1-9][0-9])",
            foreign_signature={"extra_content": {"google": {"thought_signature": FOREIGN_SIGNATURE}}},
        ),
    ),
)
# Services that have ended. Stored settings may still name them.
ENDED = (
    Vendor(
        "github",
        "GitHub Models",
        "https://models.github.ai/inference",
        "",
        None,
        ended="GitHub Models ended on 30 July 2026. Choose another model, and remove this provider in the settings.",
    ),
)
BY_ID = {vendor.id: vendor for vendor in (*VENDORS, *ENDED)}
