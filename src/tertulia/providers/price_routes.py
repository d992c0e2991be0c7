"""Routes for prices that administrators enter, and for what is to be done with unknown prices."""

from typing import Annotated

from fastapi import Path
from starlette.responses import Response

from tertulia.accounts.caller import CallerDep, CommandDep
from tertulia.http.responses import json_response
from tertulia.http.routing import Access, Routes
from tertulia.ids import ModelPriceId
from tertulia.providers import pricing
from tertulia.providers.schemas import (
    ModelPriceCreate,
    ModelPriceList,
    ModelPriceRead,
    UnknownPriceList,
    UnknownPriceRead,
    UnknownPriceUpdate,
)

routes = Routes("prices")
ProviderName = Annotated[str, Path(min_length=1, max_length=50)]


@routes.add("GET", "/model-prices", access=Access.ADMIN, gives=ModelPriceList)
async def get_prices(caller: CallerDep) -> Response:
    """List the prices that administrators entered. They count before those of the catalogue."""
    return json_response({"items": await caller.read(pricing.list_prices)})


@routes.add("POST", "/model-prices", access=Access.ADMIN, gives=ModelPriceRead, status=201, problems=(409,))
async def post_price(caller: CommandDep, new: ModelPriceCreate) -> Response:
    """Enter a price of a model, or of all models of a provider whose price is unknown, from a time on."""
    return await caller.command(201, pricing.create_price, new)


@routes.add("DELETE", "/model-prices/{price_id}", access=Access.ADMIN, status=204, problems=(404,))
async def delete_price(caller: CommandDep, price_id: ModelPriceId) -> Response:
    return await caller.command(204, pricing.delete_price, price_id)


@routes.add("GET", "/unknown-prices", access=Access.ADMIN, gives=UnknownPriceList)
async def get_rules(caller: CallerDep) -> Response:
    """List the providers with a rule for requests whose price is unknown. Others allow them."""
    return json_response({"items": await caller.read(pricing.list_rules)})


@routes.add("PUT", "/unknown-prices/{provider}", access=Access.ADMIN, gives=UnknownPriceRead)
async def put_rule(caller: CommandDep, provider: ProviderName, update: UnknownPriceUpdate) -> Response:
    """Allow requests whose price is unknown, count them with a price that is entered, or refuse them."""
    return await caller.command(200, pricing.set_rule, provider, update.rule)
