"""Routes for models, vendors and users' provider configurations."""

import asyncio

from sqlalchemy.orm import Session
from starlette.responses import Response
from typing_extensions import TypedDict

from tertulia import clock
from tertulia.accounts.actor import Actor, AdminOnly
from tertulia.accounts.caller import CallerDep, CommandDep
from tertulia.accounts.confirmation import require_confirmed
from tertulia.accounts.service import get_preferences, set_favourite_model, set_model_window
from tertulia.http.limits import RateLimit, RateLimits
from tertulia.http.paging import Cursors, CursorText, Limit, Page
from tertulia.http.responses import json_response
from tertulia.http.routing import Access, Routes
from tertulia.ids import AnyId, ProviderConfigId
from tertulia.keyring import KeyRing
from tertulia.providers import configs
from tertulia.providers.model_catalogue import ModelCatalogue
from tertulia.providers.price_updates import check_packed, pack_prices, store_prices
from tertulia.providers.registry import refresh_catalogue
from tertulia.providers.schemas import (
    FavouriteModel,
    ModelList,
    ModelWindow,
    PricesUpdate,
    ProviderConfigCreate,
    ProviderConfigRead,
    ProviderConfigUpdate,
    ProviderTest,
    VendorList,
    VendorRead,
)
from tertulia.providers.vendors import VENDORS, Vendor

TESTS_A_MINUTE = 30


class RegistryRefresh(TypedDict):
    models: int


def put_favourite(session: Session, actor: Actor, favourite: FavouriteModel) -> None:
    key = f"{favourite.provider}/{favourite.model_name}"
    set_favourite_model(session, actor, key, is_favourite=favourite.is_favourite)


def put_window(session: Session, actor: Actor, window: ModelWindow) -> None:
    set_model_window(session, actor, f"{window.provider}/{window.model_name}", window.context_window)


routes = Routes("providers")


TESTS = RateLimit("provider tests", TESTS_A_MINUTE, 60)


@routes.add("GET", "/models", access=Access.SIGNED_IN, gives=ModelList)
async def get_models(caller: CallerDep) -> Response:
    catalogue = caller.service(ModelCatalogue)
    actor = await caller.actor()
    await catalogue.first_read(actor)
    preferences = await caller.read(get_preferences)
    models = await catalogue.list_models(preferences, actor=actor)
    return json_response({"items": models})


@routes.add("PUT", "/models/favourite", access=Access.SIGNED_IN, status=204, problems=(409,))
async def put_favourite_model(caller: CommandDep, favourite: FavouriteModel) -> Response:
    return await caller.command(204, put_favourite, favourite)


@routes.add("PUT", "/models/window", access=Access.SIGNED_IN, status=204, problems=(409,))
async def put_model_window(caller: CommandDep, window: ModelWindow) -> Response:
    return await caller.command(204, put_window, window)


@routes.add("GET", "/providers", access=Access.SIGNED_IN, gives=VendorList)
async def get_providers(caller: CallerDep) -> Response:
    await caller.actor()
    return json_response({"items": [_read_vendor(vendor) for vendor in VENDORS]})


@routes.add("GET", "/provider-configs", access=Access.SIGNED_IN, gives=Page[ProviderConfigRead])
async def get_provider_configs(caller: CallerDep, limit: Limit = 50, cursor: CursorText = None) -> Response:
    cursors = caller.service(Cursors)
    after = cursors.decode_id("provider-configs", cursor)
    rows = await caller.read(configs.list_configs, caller.service(KeyRing), after=after, limit=limit + 1)
    return json_response(cursors.page("provider-configs", rows, limit))


@routes.add("POST", "/provider-configs", access=Access.SIGNED_IN, gives=ProviderConfigRead, status=201, problems=(409,))
async def post_provider_config(caller: CommandDep, new: ProviderConfigCreate) -> Response:
    created_ids: list[str] = []

    def create(session: Session, actor: Actor) -> ProviderConfigRead:
        require_confirmed(session, actor)
        config = configs.create_config(session, actor, new, caller.service(KeyRing))
        created_ids[:] = [config["id"]]
        return config

    answer = await caller.command(201, create)
    if created_ids:
        await caller.service(ModelCatalogue).read_soon(created_ids[0], actor=await caller.actor())
    return answer


@routes.add(
    "PATCH", "/provider-configs/{config_id}", access=Access.SIGNED_IN, gives=ProviderConfigRead, problems=(404, 409)
)
async def patch_provider_config(
    caller: CommandDep, config_id: ProviderConfigId, update: ProviderConfigUpdate
) -> Response:
    def change(session: Session, actor: Actor) -> ProviderConfigRead:
        configs.get_config(session, actor, config_id)
        if update.model_fields_set & {"api_key", "base_url", "settings"}:
            require_confirmed(session, actor)
        return configs.update_config(session, actor, config_id, update, caller.service(KeyRing))

    answer = await caller.command(200, change)
    if update.model_fields_set & {"api_key", "base_url", "settings"}:
        await caller.service(ModelCatalogue).read_soon(config_id, actor=await caller.actor())
    return answer


@routes.add("DELETE", "/provider-configs/{config_id}", access=Access.SIGNED_IN, status=204, problems=(404,))
async def delete_provider_config(caller: CommandDep, config_id: ProviderConfigId) -> Response:
    return await caller.command(204, configs.delete_config, config_id, caller.service(KeyRing))


@routes.add(
    "POST", "/provider-configs/{config_id}/test", access=Access.SIGNED_IN, gives=ProviderTest, problems=(404, 429)
)
async def test_provider_config(caller: CallerDep, config_id: AnyId) -> Response:
    actor = await caller.actor()
    caller.service(RateLimits).take(TESTS, actor.user_id)
    return json_response(await caller.service(ModelCatalogue).test(config_id, actor=actor))


@routes.add("POST", "/operator/models/refresh", access=Access.OPERATOR, gives=RegistryRefresh, hidden=True)
async def post_refresh(caller: CommandDep, new: PricesUpdate | None = None) -> Response:
    if not (await caller.actor()).is_operator:
        raise AdminOnly
    prices = None
    if new is not None:
        content = await asyncio.to_thread(check_packed, new.packed)
        prices = await asyncio.to_thread(pack_prices, content, clock.now())

    def refresh(session: Session, _: Actor) -> RegistryRefresh:
        if prices is not None:
            store_prices(session, prices)
        return {"models": refresh_catalogue(session, is_forced=True, prices=prices)}

    answer = await caller.command(200, refresh)
    caller.service(ModelCatalogue).book.forget()
    return answer


def _read_vendor(vendor: Vendor) -> VendorRead:
    return {
        "id": vendor.id,
        "display_name": vendor.display_name,
        "base_url": vendor.base_url,
        "needs_key": vendor.needs_key,
        "key_help": vendor.key_help,
        "key_url": vendor.key_url,
        "fields": [
            {"name": field.name, "label": field.label, "help": field.help, "placeholder": field.placeholder}
            for field in vendor.fields
        ],
        "note": vendor.note,
    }
