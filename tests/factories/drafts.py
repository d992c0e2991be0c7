"""Factories for drafts with versions."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from tertulia.accounts.actor import Actor
from tertulia.accounts.row_limits import RowLimits
from tertulia.drafts.schemas import DraftCreate, VersionCreate, WorkingCopyPut
from tertulia.drafts.service import create_draft, create_version
from tertulia.drafts.working_copies import store_working_copy
from tertulia.ids import DraftId


def make_draft(session: Session, *, owner: Actor, contents: Sequence[str] = ("",), title: str = "Letter") -> DraftId:
    """Create a draft with one version per text, each based on the one before."""
    draft_id = DraftId(create_draft(session, owner, DraftCreate(title=title, content=contents[0]), RowLimits())["id"])
    for number, content in enumerate(contents[1:], 1):
        create_version(session, owner, draft_id, VersionCreate(content=content, parent_version_number=number))
    return draft_id


def store(session: Session, draft_id: DraftId, content: str, base: int, actor: Actor) -> None:
    store_working_copy(
        session,
        actor,
        draft_id,
        WorkingCopyPut(content=content, base_version_number=base, revision=0, window_id="a"),
    )
