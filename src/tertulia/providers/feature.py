"""What providers contribute to the app: the model registry, the built-in model, and the operator's providers."""

import logging

from tertulia.accounts.allowances import Allowances
from tertulia.db import Database
from tertulia.errors import AppError, SettingsError
from tertulia.features import Feature
from tertulia.http.clients import OutboundClients
from tertulia.http.outbound import Timeouts
from tertulia.jobs.service import Job, Jobs
from tertulia.keyring import KeyRing
from tertulia.providers import events, price_routes, routes
from tertulia.providers.adapters import Access
from tertulia.providers.local.supervisor import LocalModel
from tertulia.providers.model_catalogue import ModelCatalogue, OperatorProvider, operator_provider
from tertulia.providers.price_updates import PriceLoader
from tertulia.providers.refusal_store import RefusalStore
from tertulia.providers.refusals import RefusedParameters
from tertulia.providers.registry import ModelRegistry, refresh_catalogue
from tertulia.providers.vendors import BY_ID
from tertulia.services import Provides, Services
from tertulia.settings import Settings

LOCAL_TIMEOUTS = Timeouts(connect_s=5, first_byte_s=600, idle_s=300, whole_s=3600)

log = logging.getLogger(__name__)


def feature() -> Feature:
    return Feature(
        "providers",
        (
            *events.ENTITIES,
            routes.routes,
            price_routes.routes,
            Provides(LocalModel, _local_model),
            Provides(RefusalStore, lambda services: RefusalStore(services.get(Database), RefusedParameters())),
            Provides(ModelCatalogue, _catalogue),
            Provides(PriceLoader, lambda services: PriceLoader(services.get(Database))),
            Jobs(lambda _: [Job("refresh-models", 24 * 3600, refresh_catalogue)]),
        ),
    )


def _local_model(services: Services) -> LocalModel | None:
    settings = services.get(Settings)
    if settings.local_model == "none":
        return None
    return LocalModel(settings.local_model, settings.models_folder, LOCAL_TIMEOUTS, mirror=settings.model_mirror)


def _catalogue(services: Services) -> ModelCatalogue:
    db, clients = services.get(Database), services.get(OutboundClients)
    refused = services.get(RefusalStore).refused
    return ModelCatalogue(
        db,
        services.get(KeyRing),
        ModelRegistry(db),
        local=services.find(LocalModel),
        operator=_operator_providers(services.get(Settings), clients, refused),
        client=clients.guarded,
        timeouts=clients.timeouts,
        refused=refused,
        allowances=services.find(Allowances),
    )


def _operator_providers(
    settings: Settings, clients: OutboundClients, refused: RefusedParameters
) -> list[OperatorProvider]:
    """Build the operator's providers. Raises SettingsError that names the provider and the problem."""
    providers: dict[str, OperatorProvider] = {}
    for config in settings.operator_providers():
        vendor = BY_ID.get(config.provider)
        if vendor is None or config.provider in providers:
            problem = "is named twice" if vendor else "is not a provider. docs/reference/providers.md lists them"
            raise SettingsError(f"TERTULIA_PROVIDERS: {config.provider} {problem}.")
        if vendor.ended is not None:
            log.warning("TERTULIA_PROVIDERS: %s", vendor.ended)
            continue
        access = Access(config.api_key, config.base_url, config.settings)
        try:
            providers[config.provider] = operator_provider(
                vendor, access, clients.operator, clients.timeouts, config.models, refused
            )
        except AppError as error:
            raise SettingsError(f"The provider {config.provider}: {error.detail}") from None
    return list(providers.values())
