"""What the HTTP kit contributes to the app: health, the pages, cursors, limits and outbound clients."""

from tertulia.features import Feature
from tertulia.http import health, web
from tertulia.http.clients import OutboundClients
from tertulia.http.limits import RateLimits
from tertulia.http.paging import Cursors
from tertulia.keyring import KeyRing
from tertulia.services import Provides
from tertulia.settings import Settings


def feature() -> Feature:
    return Feature(
        "http",
        (
            health.routes,
            web.routes,
            Provides(RateLimits, lambda _: RateLimits()),
            Provides(Cursors, lambda services: Cursors(services.get(KeyRing))),
            Provides(OutboundClients, lambda services: OutboundClients(services.get(Settings))),
        ),
    )
