"""Call Amazon Bedrock: Claude, OpenAI's newest models and all others have a route each (docs/adr/0037)."""

import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

from tertulia.providers.anthropic import VERSION, Anthropic
from tertulia.providers.models import ListedModel
from tertulia.providers.openai_compatible import Dialect, OpenAICompatible
from tertulia.providers.openai_responses import OpenAIResponses
from tertulia.providers.protocol import ModelRequest, ProviderEvent
from tertulia.providers.refusals import RefusedParameters
from tertulia.providers.vendor_adapter import VendorAdapter
from tertulia.providers.wire import Wire

_CLAUDE = re.compile(r"anthropic\.")
_RESPONSES = re.compile(r"openai\.gpt-[5-9]")


class Bedrock(VendorAdapter):
    """Three routes of one address. `dialect` is that of the chat completions."""

    def __init__(self, wire: Wire, dialect: Dialect, refused: RefusedParameters | None = None) -> None:
        super().__init__(wire, refused)
        address = wire.base_url.removesuffix("/v1").removesuffix("/openai")
        headers = wire.headers | {"anthropic-version": VERSION}
        self._claude = Anthropic(replace(wire, base_url=f"{address}/anthropic/v1", headers=headers), self._refused)
        self._others = OpenAICompatible(replace(wire, base_url=f"{address}/v1"), dialect, refused=self._refused)
        self._responses = OpenAIResponses(replace(wire, base_url=f"{address}/openai/v1"), self._others, self._refused)

    async def list_models(self) -> list[ListedModel]:
        """List the models of all routes in the vendor's order. Raises a ProviderError."""
        return await self._others.list_models()

    def stream(self, request: ModelRequest) -> AsyncIterator[Sequence[ProviderEvent]]:
        """Yield the reply through the route of the model."""
        if _CLAUDE.search(request.model_name):
            return self._claude.stream(request)
        if _RESPONSES.search(request.model_name):
            return self._responses.stream(request)
        return self._others.stream(request)
