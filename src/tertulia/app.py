"""Build the ASGI app: discover the features, build their services, add their routes."""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager

from fastapi import FastAPI

import tertulia.tables  # noqa: F401 - every mapped class must be known before the first query
from tertulia import openapi
from tertulia.accounts.caller import ControlToken
from tertulia.features import Feature, Features, discover_features
from tertulia.http.middleware import EdgeMiddleware
from tertulia.http.problems import install_problem_handlers
from tertulia.http.routing import Routes, require_declared_access
from tertulia.http.web import WebFolder
from tertulia.keyring import KeyRing, open_keyring
from tertulia.services import Provides, Services
from tertulia.settings import Settings
from tertulia.tools.protocol import OffersTools, Tool


def create_app(
    settings: Settings,
    *,
    control_token: str | None = None,
    tools: Sequence[Tool] = (),
    features: Iterable[Feature] = (),
) -> FastAPI:
    """Build the app. Nothing is opened before its lifespan begins.

    `control_token` is the secret of the command line on the same machine. `tools` and `features` are added to those that
    are built in. Raises SettingsError.
    """
    all_features = Features([*discover_features(), Feature("app", (openapi.routes, OffersTools(*tools))), *features])
    services = Services()
    services.provide(Settings, lambda _: settings)
    services.provide(Features, lambda _: all_features)
    services.provide(KeyRing, lambda _: open_keyring(settings.secret_keys, settings.data))
    services.provide(ControlToken, lambda _: ControlToken(control_token) if control_token else None)
    services.provide(WebFolder, lambda _: WebFolder())
    for provided in all_features.contributed(Provides):
        services.provide(provided.kind, provided.build)
    services.build_all()

    app = FastAPI(title="Tertulia", lifespan=_lifespan, openapi_url=None, docs_url=None, redoc_url=None)
    app.state.services = services
    install_problem_handlers(app)
    for routes in sorted(all_features.contributed(Routes), key=lambda routes: routes.is_catch_all):
        routes.add_to(app)
    require_declared_access(app)
    app.add_middleware(EdgeMiddleware, settings=settings)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    services: Services = app.state.services
    async with services.running():
        yield
