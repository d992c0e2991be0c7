"""Answer for services that have ended, so that those who still have them configured learn what to do."""

from collections.abc import AsyncIterator, Sequence
from typing import NoReturn

from tertulia.providers.errors import ProviderEnded
from tertulia.providers.models import ListedModel
from tertulia.providers.protocol import ModelRequest, ProviderEvent


class EndedProvider:
    continues_prefix = False
    origin = "ended"
    account = ""

    def __init__(self, name: str, sentence: str) -> None:
        self.name = name
        self._sentence = sentence

    async def list_models(self) -> list[ListedModel]:
        """Raise ProviderEnded."""
        self._refuse()

    async def stream(self, request: ModelRequest) -> AsyncIterator[Sequence[ProviderEvent]]:  # noqa: ARG002
        """Raise ProviderEnded."""
        self._refuse()
        yield ()

    def _refuse(self) -> NoReturn:
        raise ProviderEnded(self._sentence)
