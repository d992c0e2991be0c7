"""Publish change events of drafts, in the transaction of the change."""

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia.drafts.events import DRAFT, DRAFT_VERSION, DRAFT_WORKING_COPY
from tertulia.drafts.models import Draft, DraftVersion
from tertulia.drafts.queries import DRAFTS, LISTED, read_draft_row, read_listed
from tertulia.drafts.schemas import VersionListed, WorkingCopyMoved
from tertulia.realtime.models import Operation
from tertulia.realtime.publish import publish


def announce_draft(session: Session, draft_id: str, operation: Operation) -> None:
    row = session.execute(DRAFTS.where(Draft.id == draft_id)).one()
    publish(
        session,
        owner_id=row.user_id,
        shared_id=draft_id,
        topic=f"draft:{draft_id}",
        entity=DRAFT,
        entity_id=draft_id,
        operation=operation,
        payload=read_draft_row(row),
    )


def announce_version(
    session: Session, draft_id: str, number: int, *, operation: Operation = Operation.CREATED
) -> VersionListed:
    """Publish the version without its text, then its draft. Return the published version."""
    row = session.execute(LISTED.where(DraftVersion.draft_id == draft_id, DraftVersion.version_number == number)).one()
    listed = read_listed(row)
    owner_id = session.scalars(sa.select(Draft.user_id).where(Draft.id == draft_id)).one()
    publish(
        session,
        owner_id=owner_id,
        shared_id=draft_id,
        topic=f"draft:{draft_id}",
        entity=DRAFT_VERSION,
        entity_id=listed["id"],
        operation=operation,
        payload=listed,
    )
    announce_draft(session, draft_id, Operation.UPDATED)
    return listed


def announce_working_copy(session: Session, draft_id: str, revision: int, user_id: str) -> None:
    """Notify the user's windows. A window that did not write this revision fetches the draft."""
    publish(
        session,
        owner_id=user_id,
        topic=f"draft:{draft_id}",
        entity=DRAFT_WORKING_COPY,
        entity_id=draft_id,
        operation=Operation.UPDATED,
        payload=WorkingCopyMoved(revision=revision),
    )
