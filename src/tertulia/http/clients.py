"""The two HTTP clients of an app: for addresses that people name, and for those that the operator configured."""

import httpx

from tertulia.http.outbound import Timeouts, guarded_client, operator_client
from tertulia.http.proxies import Proxies
from tertulia.settings import Settings


class OutboundClients:
    """Clients that close with the app. `guarded` refuses private addresses unless the operator allows them."""

    def __init__(self, settings: Settings) -> None:
        self.timeouts = Timeouts(
            settings.provider_connect_s,
            settings.provider_first_byte_s,
            settings.provider_idle_s,
            settings.provider_whole_s,
        )
        proxies = Proxies(settings.http_proxy)
        self.guarded: httpx.AsyncClient = guarded_client(self.timeouts, settings.outbound_allow, proxies)
        self.operator: httpx.AsyncClient = operator_client(self.timeouts, proxies)

    async def start(self) -> None: ...

    async def close(self) -> None:
        await self.guarded.aclose()
        await self.operator.aclose()
