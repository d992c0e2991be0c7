"""Which models there are to choose from, and which one a chat means."""

import asyncio
import logging
from dataclasses import dataclass
from typing import Literal, Protocol

from typing_extensions import TypedDict

from tertulia.providers.errors import ModelUnknown, NoModel, ProviderError
from tertulia.providers.openai_compatible import OpenAICompatible
from tertulia.providers.protocol import Provider

REFRESH_AFTER_S = 300
RETRY_AFTER_S = 15
log = logging.getLogger(__name__)

Phase = Literal["fetching", "loading", "ready", "asleep", "failed"]


class ModelState(TypedDict):
    """What the built-in model is doing: `progress` is 0 to 1 while it is fetched."""

    phase: Phase
    progress: float | None
    detail: str | None


class ModelRead(TypedDict):
    provider: str
    model_name: str
    display_name: str
    context_window: int | None
    available: bool
    is_default: bool
    state: ModelState | None


@dataclass(frozen=True)
class ModelChoice:
    provider: str
    model_name: str
    context_window: int | None


@dataclass(frozen=True)
class KnownModels:
    """What is known of the models at one moment. `read_from` are the providers whose own list has been read."""

    models: tuple[ModelChoice, ...]
    providers: frozenset[str]
    read_from: frozenset[str]

    def choose(self, provider: str | None, model_name: str | None, default: str | None) -> ModelChoice:
        """The model that is meant: the named one, else the person's default, else the first. Raises ModelUnknown, NoModel."""
        if provider is None and model_name is None:
            wanted, _, name = (default or "").partition("/")
            chosen = self._find(wanted, name) or next(iter(self.models), None)
            if chosen is None:
                raise NoModel
            return chosen
        if provider is None:
            named = [model for model in self.models if model.model_name == model_name]
            if len(named) != 1:
                raise ModelUnknown(f"{model_name} is not the name of exactly one model here. Say the provider too.")
            return named[0]
        if model_name is None:
            first = next((model for model in self.models if model.provider == provider), None)
            if first is None:
                raise ModelUnknown(f"{provider} offers no model here.")
            return first
        found = self._find(provider, model_name)
        if found is None and (provider in self.read_from or provider not in self.providers):
            raise ModelUnknown(f"{provider} does not offer {model_name} here.")
        return found or ModelChoice(provider, model_name, None)

    def _find(self, provider: str, model_name: str) -> ModelChoice | None:
        return next((m for m in self.models if (m.provider, m.model_name) == (provider, model_name)), None)


class BuiltIn(Provider, Protocol):
    """The built-in model, which also says how it is doing."""

    def read(self) -> ModelRead: ...


class ModelCatalogue:
    """The built-in model and the operator's address, whose list is read now and then."""

    def __init__(
        self, *, local: BuiltIn | None, openai: OpenAICompatible | None, openai_models: tuple[str, ...] = ()
    ) -> None:
        self._local = local
        self._openai = openai
        self._openai_names = openai_models
        self._openai_read = False
        self._tried = asyncio.Event()
        self._keeping: asyncio.Task[None] | None = None

    def provider(self, name: str) -> Provider:
        """Raises ModelUnknown for a provider that is gone since the chat chose it."""
        if self._local is not None and name == self._local.name:
            return self._local
        if self._openai is not None and name == self._openai.name:
            return self._openai
        raise ModelUnknown(f"{name} is not set up here any more. Choose another model.")

    def start(self) -> None:
        if self._openai is not None:
            self._keeping = asyncio.create_task(self._refresh_forever(), name="list-of-models")

    async def close(self) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)

    async def first_read(self) -> None:
        """Wait for the operator's list only if it was never tried: at the very start there may be nothing else to offer."""
        if self._openai is not None:
            await self._tried.wait()

    async def _refresh_forever(self) -> None:
        """Read the operator's list now and then; a failure keeps what is known."""
        assert self._openai is not None
        while True:
            try:
                self._openai_names = tuple(await self._openai.list_models()) or self._openai_names
                self._openai_read = True
            except ProviderError as error:
                log.warning("the list of models cannot be read: %s", error.detail)
            self._tried.set()
            await asyncio.sleep(REFRESH_AFTER_S if self._openai_read else RETRY_AFTER_S)

    def check_choice(self, provider: str | None, model_name: str | None) -> None:
        """Raises ModelUnknown for a model that the provider's list, where it has been read, does not have."""
        if provider is not None or model_name is not None:
            self.known().choose(provider, model_name, None)

    def known(self) -> KnownModels:
        models = [
            ModelChoice(model["provider"], model["model_name"], model["context_window"])
            for model in self.list_models(None)
        ]
        providers = {"local"} if self._local is not None else set()
        if self._openai is not None:
            providers.add(self._openai.name)
        read_from = providers if self._openai_read else providers - {"openai"}
        return KnownModels(tuple(models), frozenset(providers), frozenset(read_from))

    def list_models(self, default: str | None) -> list[ModelRead]:
        """Every model to choose from; the one that a chat without a choice gets is marked."""
        models = [self._local.read()] if self._local is not None else []
        if self._openai is not None:
            models += [_listed(self._openai.name, name) for name in self._openai_names]
        chosen = next((m for m in models if f"{m['provider']}/{m['model_name']}" == default), next(iter(models), None))
        for model in models:
            model["is_default"] = model is chosen
        return models


def _listed(provider: str, name: str) -> ModelRead:
    return {
        "provider": provider,
        "model_name": name,
        "display_name": name,
        "context_window": None,
        "available": True,
        "is_default": False,
        "state": None,
    }
