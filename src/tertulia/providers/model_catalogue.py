"""List the models to choose from, choose the model of a chat, and resolve its adapter."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Protocol

import httpx
import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia.accounts.actor import Actor
from tertulia.accounts.allowances import Allowances, Allowed
from tertulia.accounts.models import Preferences, User
from tertulia.db import Database, Prepared
from tertulia.errors import AppError
from tertulia.http.outbound import Timeouts
from tertulia.ids import ProviderConfigId
from tertulia.keyring import KeyRing
from tertulia.providers.adapters import Access, build_adapter
from tertulia.providers.configs import (
    OpenedConfig,
    find_opened,
    open_config,
    open_row,
    provider_key,
    store_reading,
)
from tertulia.providers.echo import EchoTarget, model_family
from tertulia.providers.errors import ModelNotInPlan, ModelUnknown, NoModel
from tertulia.providers.model_list import Offer, in_order, name_of, printable, shown_model, window_of
from tertulia.providers.models import ListedModel, ProviderConfig
from tertulia.providers.openai_compatible import OpenAICompatible
from tertulia.providers.pricing import LOCAL, Pricing, find_pricing
from tertulia.providers.protocol import ListingProvider, Provider
from tertulia.providers.refusals import RefusedParameters
from tertulia.providers.registry import ModelRegistry
from tertulia.providers.schemas import ModelRead, ProviderTest
from tertulia.providers.vendors import BY_ID, Vendor

REFRESH_AFTER_S = 300
RETRY_AFTER_S = 15
# How long listing models waits for a newly added provider.
FIRST_READ_S = 5.0
NAMES_KEPT = 10_000
ALL = Allowed()
FREE = Pricing(None, "")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelChoice:
    provider: str
    model_name: str


@dataclass(frozen=True)
class KnownProvider:
    """A provider with its model names. `is_read`: they are its own list, so that any other name is unknown."""

    key: str
    model_names: tuple[str, ...]
    is_read: bool


@dataclass(frozen=True)
class KnownModels:
    """The models that a user can choose at one moment, in the order in which a default is sought."""

    providers: tuple[KnownProvider, ...]
    allowed: Allowed = ALL

    def choose(self, provider: str | None, model_name: str | None, default: str | None) -> ModelChoice:
        """Choose the named model, else the user's default, else the first that the user's plan includes.

        Raises ModelUnknown, NoModel and ModelNotInPlan.
        """
        if provider is None and model_name is None:
            wanted, _, name = (default or "").partition("/")
            if self._offers(wanted, name) and self.allowed.model(wanted, name):
                return ModelChoice(wanted, name)
            names = ((known.key, name) for known in self.providers for name in known.model_names)
            first = next((choice for choice in names if self.allowed.model(*choice)), None)
            if first is None:
                raise NoModel
            return ModelChoice(*first)
        choice = self._choose_named(provider, model_name)
        if not self.allowed.model(choice.provider, choice.model_name):
            raise ModelNotInPlan(self.allowed.plan or "", choice.model_name)
        return choice

    def _choose_named(self, provider: str | None, model_name: str | None) -> ModelChoice:
        if provider is None:
            assert model_name is not None
            named = [known for known in self.providers if model_name in known.model_names]
            if len(named) != 1:
                raise ModelUnknown(f"{model_name} does not name exactly one model. Specify the provider too.")
            return ModelChoice(named[0].key, model_name)
        known = next((known for known in self.providers if known.key == provider), None)
        if model_name is None:
            if known is None or not known.model_names:
                raise ModelUnknown(f"{provider} offers no models. Choose another provider.")
            return ModelChoice(provider, known.model_names[0])
        if known is None or (known.is_read and model_name not in known.model_names):
            raise ModelUnknown(f"{provider} does not offer {model_name}. Choose another model.")
        return ModelChoice(provider, model_name)

    def others_of(self, choice: ModelChoice) -> list[ModelChoice]:
        """Return the other models of the same provider that the user's plan includes."""
        names = next((known.model_names for known in self.providers if known.key == choice.provider), ())
        return [
            ModelChoice(choice.provider, name)
            for name in names
            if name != choice.model_name and self.allowed.model(choice.provider, name)
        ]

    def _offers(self, provider: str, model_name: str) -> bool:
        """Check that the model is offered. A provider whose list is unread accepts any name."""
        known = next((known for known in self.providers if known.key == provider), None)
        return known is not None and (model_name in known.model_names or (not known.is_read and bool(model_name)))


class BuiltIn(Provider, Protocol):
    """The built-in model, which also reports its state."""

    def read(self) -> ModelRead: ...


@dataclass
class OperatorProvider:
    """A provider that the operator offers to all users. Its list is read periodically."""

    vendor: Vendor
    adapter: ListingProvider
    models: list[ListedModel] = field(default_factory=list)
    is_read: bool = False
    tried: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True)
class ResolvedModel:
    """The adapter of a run. `vendor` is None for the built-in model, `config_id` unless a config is the user's own."""

    adapter: Provider
    vendor: Vendor | None
    config_id: str | None
    context_window: int | None
    sees_pictures: bool | None = None  # None: unknown
    takes_tools: bool | None = None
    surely_takes_tools: bool = False  # its server says so, or its vendor's models of this name do
    pricing: Pricing = FREE

    def echo_target(self, model_name: str) -> EchoTarget:
        return EchoTarget(self.adapter.origin, model_family(model_name))

    @property
    def price(self) -> Callable[[int, int], Decimal | None]:
        """Return a function of input and output tokens that gives the most they cost, or None if unknown."""
        return self.pricing.most


# Runs for every message that requests a reply.
_OWN = Prepared(
    sa.select(
        ProviderConfig.id,
        ProviderConfig.provider,
        ProviderConfig.name,
        ProviderConfig.is_default,
        ProviderConfig.models_read_at,
        ProviderConfig.updated_at,
    )
    .where(ProviderConfig.user_id == sa.bindparam("owner", type_=ProviderConfig.user_id.type), ProviderConfig.is_active)
    .order_by(ProviderConfig.id)
)


_PREFERENCES = Prepared(sa.select(User.preferences).where(User.id == sa.bindparam("user", type_=User.id.type)))


@dataclass(frozen=True)
class _Reading:
    """A read of a list that is in progress, with the config as it was at its start."""

    config_id: str
    user_id: str
    access: Access
    is_first: bool

    def __hash__(self) -> int:
        return hash(self.config_id)


class ModelCatalogue:
    def __init__(
        self,
        db: Database,
        ring: KeyRing,
        book: ModelRegistry,
        *,
        local: BuiltIn | None,
        operator: Sequence[OperatorProvider],
        client: httpx.AsyncClient,
        timeouts: Timeouts,
        refused: RefusedParameters | None = None,
        allowances: Allowances | None = None,
    ) -> None:
        """Use `client` for addresses that users enter: it refuses internal ones (http/outbound.py)."""
        self.book = book
        self.ring = ring
        self._db = db
        self._local = local
        self._operator = {provider.vendor.id: provider for provider in operator}
        self._client = client
        self._timeouts = timeouts
        self._refused = refused or RefusedParameters()
        self._allowances = allowances or Allowances()
        self._reading: dict[_Reading, asyncio.Task[ProviderTest]] = {}
        self._names: dict[str, tuple[datetime, tuple[str, ...]]] = {}  # by config: its `updated_at` and model names
        self._keeping: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        self._keeping = [
            asyncio.create_task(self._refresh_forever(provider), name=f"models-of-{provider.vendor.id}")
            for provider in self._operator.values()
        ]

    async def close(self) -> None:
        tasks = [*self._keeping, *self._reading.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def may_wait(self) -> bool:
        """Return whether a request may have to wait for any list. Almost always False."""
        return bool(self._reading) or not all(provider.tried.is_set() for provider in self._operator.values())

    async def first_read(self, actor: Actor) -> None:
        """Wait a few seconds for lists that this user can choose from and that were never read.

        These are the operator's lists at the start, and the user's newly added ones. Others' lists are not awaited.
        """
        waits = [
            asyncio.create_task(provider.tried.wait())
            for provider in self._operator.values()
            if not provider.tried.is_set()
        ]
        own = [task for reading, task in self._reading.items() if reading.user_id == actor.user_id and reading.is_first]
        waiting: list[asyncio.Task[object]] = [*waits, *own]
        if waiting:
            await asyncio.wait(waiting, timeout=FIRST_READ_S)
        for task in waits:
            task.cancel()

    def known(self, session: Session, actor: Actor) -> KnownModels:
        """Return the user's default config, the built-in model, the operator's providers and the user's others."""
        own = self._own(session, actor.user_id)
        shadowed = {known.key for known, _ in own}
        providers = [known for known, is_default in own if is_default]
        if self._local is not None:
            model = self._local.read()
            providers.append(KnownProvider(model["provider"], (model["model_name"],), is_read=True))
        for provider in self._operator.values():
            if provider.vendor.id not in shadowed:
                names = tuple(model.model_name for model in provider.models)
                providers.append(KnownProvider(provider.vendor.id, names, provider.is_read))
        return KnownModels(
            (*providers, *(known for known, is_default in own if not is_default)),
            self._allowances.find(session, actor.user_id),
        )

    def check_choice(self, session: Session, actor: Actor, provider: str | None, model_name: str | None) -> None:
        """Raise ModelUnknown if the provider's list has been read and lacks the model."""
        if provider is not None or model_name is not None:
            self.known(session, actor).choose(provider, model_name, None)

    async def resolve(self, user_id: str | None, key: str, model_name: str) -> ResolvedModel:
        """Resolve the adapter of a run, the user's own before the operator's. Raises ModelUnknown if it is gone."""
        if self._local is not None and key == self._local.name:
            # Its window is what the process has loaded.
            window = self._local.read()["context_window"]
            pricing = await self._db.read(find_pricing, LOCAL, model_name)
            return ResolvedModel(
                self._local, None, None, window, sees_pictures=False, takes_tools=False, pricing=pricing
            )
        opened, own_window = await self._db.read(self._find_own, user_id, key, model_name)
        if opened is not None:
            adapter: Provider = self._adapter(opened)
            vendor, listed = opened.vendor, opened.models
        elif key in self._operator:
            adapter, vendor = self._operator[key].adapter, self._operator[key].vendor
            listed = self._operator[key].models
        else:
            raise ModelUnknown(f"{key} is no longer set up. Choose another model.")
        described = await self.book.find(vendor.id, model_name)
        pricing = await self._db.read(find_pricing, vendor.id, model_name)
        own = next((model for model in listed if model.model_name == model_name), None)
        own_says = own is not None and own.capabilities is not None
        capabilities = (own.capabilities if own else None) or (described.capabilities if described else None)
        return ResolvedModel(
            adapter,
            vendor,
            opened.id if opened else None,
            window_of(vendor, own_window, own, described),
            capabilities.vision if capabilities else None,
            # The catalogue guesses by name. Only what the server says keeps tools from being sent.
            own.capabilities.tools if own and own.capabilities else None,
            surely_takes_tools=bool(capabilities and capabilities.tools and (own_says or vendor.prices_id)),
            pricing=pricing,
        )

    async def list_models(self, preferences: Preferences, *, actor: Actor) -> list[ModelRead]:
        """List every model to choose from, with what the user prefers: the default, favourites and own windows."""
        favourites, windows = frozenset(preferences.favourite_models or ()), preferences.model_windows or {}
        known, own = await self._db.read(self._read_offers, actor)
        offers = {offer.key: offer for offer in own}
        for provider in self._operator.values():
            offers.setdefault(
                provider.vendor.id,
                Offer(
                    provider.vendor.id,
                    provider.vendor,
                    "operator",
                    provider.models,
                    provider.is_read,
                    provider.adapter.account,
                    # A compatible server under OpenAI's name takes what chat completions have.
                    ignoring="custom" if isinstance(provider.adapter, OpenAICompatible) else provider.vendor.id,
                ),
            )
        models: list[ModelRead] = []
        for known_provider in known.providers:
            if self._local is not None and known_provider.key == self._local.name:
                models.append(self._local.read())
            elif known_provider.key in offers:
                models += await self._list_offer(offers[known_provider.key])
        for model in models:
            key = f"{model['provider']}/{model['model_name']}"
            model["is_favourite"], model["own_window"] = key in favourites, windows.get(key)
            model["is_in_plan"] = known.allowed.model(model["provider"], model["model_name"])
            model["context_window"] = model["own_window"] or model["context_window"]
        try:
            chosen = known.choose(None, None, preferences.default_model)
        except NoModel:
            return models
        for model in models:
            model["is_default"] = (model["provider"], model["model_name"]) == (chosen.provider, chosen.model_name)
        return models

    async def read_soon(self, config_id: str, *, actor: Actor) -> None:
        """Start reading a provider's list. Requests for models briefly wait for it."""
        opened = await self._db.read(open_config, actor, ProviderConfigId(config_id), self.ring)
        self._read_once(opened, actor)

    async def test(self, config_id: str, *, actor: Actor) -> ProviderTest:
        """Read a provider's list now, and store it. Raises ProviderConfigNotFound."""
        opened = await self._db.read(open_config, actor, ProviderConfigId(config_id), self.ring)
        return await asyncio.shield(self._read_once(opened, actor))

    def _read_once(self, opened: OpenedConfig, actor: Actor) -> "asyncio.Task[ProviderTest]":
        """Start or join a read of this config. A config that changed meanwhile is read separately."""
        reading = _Reading(opened.id, actor.user_id, opened.access, is_first=not opened.models)
        if reading not in self._reading:
            task = asyncio.create_task(self._read_list(opened), name="read-models")
            self._reading[reading] = task
            task.add_done_callback(lambda _: self._reading.pop(reading, None))
        return self._reading[reading]

    async def _read_list(self, opened: OpenedConfig) -> ProviderTest:
        try:
            models = printable(await self._adapter(opened).list_models())
        except AppError as error:
            await self._db.write(store_reading, opened, self.ring, models=None, error=error.detail)
            return {"ok": False, "code": error.code, "detail": error.detail, "model_count": len(opened.models)}
        await self._db.write(store_reading, opened, self.ring, models=models, error=None)
        words = f"{len(models)} models" if models else "It lists no models. Type the name of one"
        return {"ok": True, "code": None, "detail": f"{words}.", "model_count": len(models)}

    def _adapter(self, opened: OpenedConfig) -> ListingProvider:
        return build_adapter(
            opened.vendor,
            opened.access,
            self._client,
            self._timeouts,
            shown_as=name_of(opened.vendor, opened.key),
            refused=self._refused,
        )

    def _own(self, session: Session, user_id: str) -> list[tuple[KnownProvider, bool]]:
        """List the user's active configs, and whether each is the default. Names are parsed once per config state."""
        configs = []
        for config_id, vendor_id, name, is_default, read_at, changed_at in _OWN.all(session, owner=user_id):
            stamp, names = self._names.get(config_id, (None, ()))
            if stamp != changed_at:
                models = session.scalars(sa.select(ProviderConfig.models).where(ProviderConfig.id == config_id)).one()
                names = in_order(BY_ID[vendor_id], [model.model_name for model in models])
                if len(self._names) > NAMES_KEPT:
                    self._names.clear()  # most belong to removed configs; the others are read again
                self._names[config_id] = (changed_at, names)
            key = provider_key(vendor_id, name)
            # A vendor without a list takes any name, and so does Azure, where deployments have their own names.
            is_read = read_at is not None and bool(names) and vendor_id != "azure"
            configs.append((KnownProvider(key, names or BY_ID[vendor_id].models, is_read), is_default))
        return configs

    def _find_own(
        self, session: Session, user_id: str | None, key: str, model_name: str
    ) -> tuple[OpenedConfig | None, int | None]:
        """Return the user's own provider of this key, and the window that they have set for the model."""
        if user_id is None:
            return None, None
        preferences = next((chosen for (chosen,) in _PREFERENCES.all(session, user=user_id)), Preferences())
        windows = preferences.model_windows or {}
        return find_opened(session, user_id, key, self.ring), windows.get(f"{key}/{model_name}")

    def _read_offers(self, session: Session, actor: Actor) -> tuple[KnownModels, list[Offer]]:
        rows = session.scalars(
            sa.select(ProviderConfig).where(ProviderConfig.user_id == actor.user_id, ProviderConfig.is_active)
        ).all()
        offers = [
            Offer(
                provider_key(row.provider, row.name),
                BY_ID[row.provider],
                "own",
                row.models,
                row.models_read_at is not None,
                self._account_of(row),
            )
            for row in rows
        ]
        return self.known(session, actor), offers

    def _account_of(self, row: ProviderConfig) -> str:
        try:
            return self._adapter(open_row(row, self.ring)).account
        except AppError:  # its address is not valid, so it was never asked
            return ""

    async def _list_offer(self, offer: Offer) -> list[ModelRead]:
        """List the provider's models with facts of the catalogue, or the catalogue alone if it has no list."""
        if offer.vendor.ended is not None:
            return []
        if offer.models:
            listed = {model.model_name: model for model in offer.models}
            return [
                shown_model(offer, listed[name], await self.book.find(offer.vendor.id, name), self._refused)
                for name in in_order(offer.vendor, listed)
            ]
        described = await self.book.of_vendor(offer.vendor.id)
        current = [name for name, model in described.items() if not model.is_deprecated]
        return [
            shown_model(
                offer,
                ListedModel(model_name=name, display_name=described[name].display_name),
                described[name],
                self._refused,
            )
            for name in in_order(offer.vendor, current)
        ]

    async def _refresh_forever(self, provider: OperatorProvider) -> None:
        """Read an operator's list periodically. A failure keeps the previous list."""
        while True:
            try:
                provider.models = printable(await provider.adapter.list_models()) or provider.models
                provider.is_read = bool(provider.models)
            except AppError as error:
                log.warning("cannot read the list of models: %s", error.detail)
            except Exception:
                log.exception("reading the list of models failed; trying again")
            finally:
                provider.tried.set()
            await asyncio.sleep(REFRESH_AFTER_S if provider.is_read else RETRY_AFTER_S)


def operator_provider(
    vendor: Vendor,
    access: Access,
    client: httpx.AsyncClient,
    timeouts: Timeouts,
    models: Iterable[str] = (),
    refused: RefusedParameters | None = None,
) -> OperatorProvider:
    """Build an operator's provider. Raises ProviderFieldInvalid if a setting is invalid."""
    adapter = build_adapter(vendor, access, client, timeouts, shown_as=vendor.display_name, refused=refused)
    return OperatorProvider(vendor, adapter, [ListedModel(model_name=name) for name in models])
