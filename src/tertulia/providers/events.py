"""The entities of providers: the kinds of objects whose changes are published."""

from tertulia.providers.schemas import ProviderConfigRead
from tertulia.realtime.entities import Entity

PROVIDER_CONFIG = Entity("provider_config", ProviderConfigRead)
ENTITIES = (PROVIDER_CONFIG,)
