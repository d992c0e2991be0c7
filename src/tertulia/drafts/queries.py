"""Query drafts and versions for lists, without their texts."""

from typing import Any

import sqlalchemy as sa

from tertulia.accounts.models import User
from tertulia.accounts.sharing import OWNER_PERMISSIONS
from tertulia.drafts.models import Draft, DraftVersion
from tertulia.drafts.schemas import DraftListed, VersionListed

_CURRENT = sa.orm.aliased(DraftVersion)
DRAFTS = sa.select(
    Draft.id,
    Draft.user_id,
    Draft.title,
    Draft.description,
    Draft.version_count,
    _CURRENT.version_number.label("current_version_number"),
    _CURRENT.length,
    _CURRENT.words,
    Draft.revision,
    Draft.deleted_at,
    Draft.created_at,
    Draft.updated_at,
).join(_CURRENT, _CURRENT.id == Draft.current_version_id)


def read_draft_row(row: sa.Row[*tuple[Any, ...]]) -> DraftListed:
    """Convert a row of DRAFTS as the draft's owner sees it."""
    values = row._asdict()
    values.pop("user_id")
    return {**values, "owner": None, "permissions": OWNER_PERMISSIONS}  # type: ignore[typeddict-item]


_PARENT = sa.orm.aliased(DraftVersion)
_BASE = sa.orm.aliased(DraftVersion)
LISTED = (
    sa.select(
        DraftVersion.id,
        DraftVersion.draft_id,
        DraftVersion.version_number,
        _PARENT.version_number.label("parent_version_number"),
        _BASE.version_number.label("base_version_number"),
        DraftVersion.generation_source,
        DraftVersion.author_id,
        User.name.label("author_name"),
        DraftVersion.message_id,
        DraftVersion.provider,
        DraftVersion.model_name,
        DraftVersion.name,
        DraftVersion.length,
        DraftVersion.words,
        DraftVersion.created_at,
    )
    .outerjoin(_PARENT, _PARENT.id == DraftVersion.parent_version_id)
    .outerjoin(_BASE, _BASE.id == DraftVersion.base_version_id)
    .outerjoin(User, User.id == DraftVersion.author_id)
)


def read_listed(row: sa.Row[*tuple[Any, ...]]) -> VersionListed:
    values = row._asdict()
    author_id, name = values.pop("author_id"), values.pop("author_name")
    listed: VersionListed = {**values, "author": {"id": author_id, "name": name} if author_id else None}  # type: ignore[typeddict-item]
    return listed
