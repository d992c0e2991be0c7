"""Store users' provider configurations, encrypted at rest and decrypted only where they are used."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import orjson
import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.actor import Actor
from tertulia.accounts.audit import write_audit
from tertulia.accounts.models import User
from tertulia.ids import ProviderConfigId, UserId, new_id
from tertulia.keyring import KeyRing, SealedFor
from tertulia.providers.adapters import Access, resolve_base_url
from tertulia.providers.errors import ProviderConfigExists, ProviderConfigNotFound, ProviderFieldInvalid
from tertulia.providers.events import PROVIDER_CONFIG
from tertulia.providers.models import ListedModel, ProviderConfig
from tertulia.providers.schemas import ProviderConfigCreate, ProviderConfigRead, ProviderConfigUpdate
from tertulia.providers.vendors import BY_ID, Vendor
from tertulia.realtime.models import Operation
from tertulia.realtime.publish import publish

MAX_CONFIGS = 100
HINT = 4
MAX_KEY = 50


def provider_key(vendor_id: str, name: str) -> str:
    """Return the key that chats and runs store: the vendor, or `vendor:name` for a named config."""
    return f"{vendor_id}:{name}" if name else vendor_id


def split_key(key: str) -> tuple[str, str]:
    vendor_id, _, name = key.partition(":")
    return vendor_id, name


@dataclass(frozen=True)
class OpenedConfig:
    """A decrypted config. It must not outlive the call that it was opened for."""

    id: ProviderConfigId
    vendor: Vendor
    key: str
    access: Access
    models: Sequence[ListedModel]


def create_config(session: Session, actor: Actor, new: ProviderConfigCreate, ring: KeyRing) -> ProviderConfigRead:
    vendor = BY_ID.get(new.provider)
    if vendor is None:
        raise ProviderFieldInvalid(
            "provider", f"There is no provider {new.provider!r}. GET /api/v1/providers lists them."
        )
    if vendor.ended is not None:
        raise ProviderFieldInvalid("provider", vendor.ended)
    _check_name(vendor, new.name)
    access = Access(new.api_key, new.base_url, new.settings)
    _check(vendor, access)
    count = session.scalar(sa.select(sa.func.count()).where(ProviderConfig.user_id == actor.user_id)) or 0
    if count >= MAX_CONFIGS:
        raise ProviderFieldInvalid("provider", f"You can have at most {MAX_CONFIGS} providers. Remove one first.")
    config_id = ProviderConfigId(new_id())
    is_default = count == 0 if new.is_default is None else new.is_default
    if is_default:
        _take_default(session, actor.user_id)
    try:
        with session.begin_nested():
            session.execute(
                sa.insert(ProviderConfig).values(
                    id=config_id,
                    user_id=actor.user_id,
                    provider=vendor.id,
                    name=new.name,
                    config=_seal(access, config_id, actor.user_id, ring),
                    key_hint=_hint(new.api_key),
                    is_default=is_default,
                    models=[],
                )
            )
    except exc.IntegrityError as error:
        raise ProviderConfigExists from error
    write_audit(session, actor.user_id, "provider_key.create", entity="provider_config", entity_id=config_id)
    return _announce(session, config_id, Operation.CREATED, ring)


def list_configs(
    session: Session, actor: Actor, ring: KeyRing, *, after: str | None = None, limit: int = 50
) -> list[ProviderConfigRead]:
    """List the user's configs, oldest first."""
    query = sa.select(ProviderConfig).where(ProviderConfig.user_id == actor.user_id).order_by(ProviderConfig.id)
    if after is not None:
        query = query.where(ProviderConfig.id > after)
    return [read_config(row, ring) for row in session.scalars(query.limit(limit))]


def get_config(session: Session, actor: Actor, config_id: ProviderConfigId) -> ProviderConfig:
    row = session.scalars(
        sa.select(ProviderConfig)
        .where(ProviderConfig.id == config_id, ProviderConfig.user_id == actor.user_id)
        .with_for_update()
    ).one_or_none()
    if row is None:
        raise ProviderConfigNotFound
    return row


def update_config(
    session: Session, actor: Actor, config_id: ProviderConfigId, update: ProviderConfigUpdate, ring: KeyRing
) -> ProviderConfigRead:
    row = get_config(session, actor, config_id)
    before = _open(row, ring)
    fields_set = update.model_fields_set
    access = Access(
        update.api_key if update.api_key is not None else before.api_key,
        update.base_url if "base_url" in fields_set else before.base_url,
        update.settings if update.settings is not None else before.fields,
    )
    vendor = BY_ID[row.provider]
    _check(vendor, access)
    moved = resolve_base_url(vendor, access) != resolve_base_url(vendor, before)
    if moved and before.api_key and update.api_key is None:
        raise ProviderFieldInvalid("api_key", "The address changed. Enter its key again.")
    if access != before:
        row.config, row.key_hint = _seal(access, row.id, row.user_id, ring), _hint(access.api_key)
        row.models, row.models_read_at, row.last_error = [], None, None
        write_audit(session, actor.user_id, "provider_key.change", entity="provider_config", entity_id=row.id)
    if update.name is not None:
        _check_name(vendor, update.name)
        row.name = update.name
    if update.is_active is not None:
        row.is_active = update.is_active
    if update.is_default is not None:
        if update.is_default:
            _take_default(session, actor.user_id)
        row.is_default = update.is_default
    if not row.is_active:
        row.is_default = False
    try:
        session.flush()
    except exc.IntegrityError as error:
        raise ProviderConfigExists from error
    return _announce(session, config_id, Operation.UPDATED, ring)


def delete_config(session: Session, actor: Actor, config_id: ProviderConfigId, ring: KeyRing) -> None:
    get_config(session, actor, config_id)
    _announce(session, config_id, Operation.DELETED, ring)
    session.execute(sa.delete(ProviderConfig).where(ProviderConfig.id == config_id))
    write_audit(session, actor.user_id, "provider_key.delete", entity="provider_config", entity_id=config_id)


def open_config(session: Session, actor: Actor, config_id: ProviderConfigId, ring: KeyRing) -> OpenedConfig:
    row = session.scalars(
        sa.select(ProviderConfig).where(ProviderConfig.id == config_id, ProviderConfig.user_id == actor.user_id)
    ).one_or_none()
    if row is None:
        raise ProviderConfigNotFound
    return open_row(row, ring)


def find_opened(session: Session, user_id: str, key: str, ring: KeyRing) -> OpenedConfig | None:
    """Find the user's active config by `key`, and decrypt it. None if there is none."""
    vendor_id, name = split_key(key)
    row = session.scalars(
        sa.select(ProviderConfig).where(
            ProviderConfig.user_id == user_id,
            ProviderConfig.provider == vendor_id,
            ProviderConfig.name == name,
            ProviderConfig.is_active,
        )
    ).one_or_none()
    return open_row(row, ring) if row is not None else None


def store_reading(
    session: Session,
    opened: OpenedConfig,
    ring: KeyRing,
    *,
    models: Sequence[ListedModel] | None,
    error: str | None,
) -> None:
    """Store the result of listing a provider's models. A failure keeps the previous list."""
    row = session.get(ProviderConfig, opened.id, with_for_update=True)
    if row is None or _open(row, ring) != opened.access:
        return  # removed or changed meanwhile, so the result does not apply
    if models is not None:
        row.models, row.models_read_at = list(models), clock.now()
    row.last_error = error
    session.flush()
    _announce(session, opened.id, Operation.UPDATED, ring)


def touch_config(session: Session, config_id: str, moment: datetime) -> None:
    """Record when a key was last used, in the transaction that ends a run."""
    session.execute(
        sa.update(ProviderConfig)
        .where(ProviderConfig.id == config_id)
        .values(last_used_at=moment, updated_at=ProviderConfig.updated_at)
    )


def read_config(row: ProviderConfig, ring: KeyRing) -> ProviderConfigRead:
    access = _open(row, ring)
    return {
        "id": row.id,
        "provider": row.provider,
        "name": row.name,
        "key_hint": row.key_hint,
        "base_url": access.base_url,
        "settings": dict(access.fields),
        "is_active": row.is_active,
        "is_default": row.is_default,
        "model_count": len(row.models),
        "models_read_at": row.models_read_at,
        "last_used_at": row.last_used_at,
        "last_error": row.last_error,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
    }


def _announce(session: Session, config_id: str, operation: Operation, ring: KeyRing) -> ProviderConfigRead:
    row = session.get_one(ProviderConfig, config_id, populate_existing=True)
    config = read_config(row, ring)
    publish(
        session,
        owner_id=row.user_id,
        topic=f"user:{row.user_id}",
        entity=PROVIDER_CONFIG,
        entity_id=config_id,
        operation=operation,
        payload=config,
    )
    return config


def _check_name(vendor: Vendor, name: str) -> None:
    """Limit the length of a name: chats and runs store vendor and name in one column."""
    longest = MAX_KEY - len(provider_key(vendor.id, "x")) + 1
    if name and len(name) > longest:
        raise ProviderFieldInvalid("name", f"A name for {vendor.id} can have at most {longest} characters.")


def _check(vendor: Vendor, access: Access) -> None:
    resolve_base_url(vendor, access)
    if vendor.needs_key and not access.api_key:
        raise ProviderFieldInvalid("api_key", f"{vendor.display_name} needs a key. {vendor.key_help}")
    known = {field.name for field in vendor.fields}
    for name in access.fields:
        if name not in known:
            raise ProviderFieldInvalid(f"settings.{name}", f"{vendor.display_name} has no setting {name}.")


def _take_default(session: Session, user_id: UserId) -> None:
    """Clear the user's default. The user's row is locked, so that two windows cannot each set one."""
    session.execute(sa.select(User.id).where(User.id == user_id).with_for_update())
    session.execute(
        sa.update(ProviderConfig)
        .where(ProviderConfig.user_id == user_id, ProviderConfig.is_default)
        .values(is_default=False)
    )


def _hint(api_key: str | None) -> str | None:
    """Return the first characters of a key, at most HINT and a quarter of it."""
    return api_key[: min(HINT, len(api_key) // 4)] if api_key else None


def _place(config_id: str, user_id: str) -> SealedFor:
    return SealedFor("provider_config", "config", config_id, user_id)


def _seal(access: Access, config_id: str, user_id: str, ring: KeyRing) -> str:
    plain = {"api_key": access.api_key, "base_url": access.base_url, "settings": dict(access.fields)}
    return ring.seal(orjson.dumps(plain), _place(config_id, user_id))


def _open(row: ProviderConfig, ring: KeyRing) -> Access:
    plain = orjson.loads(ring.open(row.config, _place(row.id, row.user_id)))
    return Access(plain["api_key"], plain["base_url"], plain["settings"])


def open_row(row: ProviderConfig, ring: KeyRing) -> OpenedConfig:
    return OpenedConfig(
        ProviderConfigId(row.id),
        BY_ID[row.provider],
        provider_key(row.provider, row.name),
        _open(row, ring),
        row.models,
    )
