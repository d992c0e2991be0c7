"""What tools contribute to the app: the built-in ones, the catalogue of all, and MCP servers."""

from tertulia.db import Database
from tertulia.features import Feature, Features
from tertulia.http.clients import OutboundClients
from tertulia.keyring import KeyRing
from tertulia.services import Provides, Services
from tertulia.settings import Settings
from tertulia.tools import events
from tertulia.tools.builtin.calculator import Calculate
from tertulia.tools.builtin.calendar import CurrentTime
from tertulia.tools.builtin.web_page import FetchPage
from tertulia.tools.protocol import OffersTools
from tertulia.tools.servers import routes, sign_in_routes
from tertulia.tools.servers.operator import OperatorServer
from tertulia.tools.tool_catalogue import ToolCatalogue
from tertulia.tools.tool_set import installed_tools


def feature() -> Feature:
    return Feature(
        "tools",
        (
            *events.ENTITIES,
            routes.routes,
            sign_in_routes.routes,
            OffersTools(Calculate(), CurrentTime(), FetchPage()),
            Provides(ToolCatalogue, _catalogue),
        ),
    )


def _catalogue(services: Services) -> ToolCatalogue:
    clients = services.get(OutboundClients)
    offers = services.get(Features).contributed(OffersTools)
    return ToolCatalogue(
        services.get(Database),
        services.get(KeyRing),
        [*(tool for offer in offers for tool in offer.tools), *installed_tools()],
        [OperatorServer(config, clients.operator) for config in services.get(Settings).tool_servers],
        clients.guarded,
    )
