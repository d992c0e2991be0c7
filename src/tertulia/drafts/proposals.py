"""Store the edits that a model proposes for a draft, and accept or reject each of them."""

from collections.abc import Collection, Sequence

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.actor import Actor
from tertulia.chat.models import Message
from tertulia.drafts.access import may_write_draft
from tertulia.drafts.announce import announce_version
from tertulia.drafts.edits import MovedEdit, PlacedEdit, edits_of_blocks, edits_of_reply
from tertulia.drafts.errors import (
    DraftTooLong,
    EditNotInProposal,
    NothingToPropose,
    ProposalNotFound,
    ProposalStillWritten,
)
from tertulia.drafts.events import PROPOSAL
from tertulia.drafts.models import (
    MAX_CONTENT,
    Draft,
    DraftVersion,
    EditStatus,
    GenerationSource,
    Proposal,
    ProposalEdit,
    ProposalStatus,
)
from tertulia.drafts.schemas import Place, ProposalDecided, ProposalEditRead, ProposalRead
from tertulia.drafts.service import check_draft
from tertulia.drafts.text import Change, apply_changes, changes_between
from tertulia.drafts.versions import Origin, Stored, add_version, load_text, load_version, lock_draft, with_text
from tertulia.drafts.working_copies import clear_working_copy, read_working_copy
from tertulia.ids import DraftId, ProposalId, new_id
from tertulia.realtime.models import Operation
from tertulia.realtime.publish import publish

PLACED = (ProposalStatus.WRITING, ProposalStatus.OPEN)  # whose edits are shown in the text
NOTHING = "The model proposed no changes. Its reply is in the chat."
CUT_OFF = "The reply ended early. The edits it proposed before that are shown here."


def open_proposal(
    session: Session,
    actor: Actor,
    draft_id: DraftId,
    base: Stored,
    *,
    instruction: str,
    selection: tuple[int, int] | None,
    message_id: str,
) -> ProposalRead:
    """Create a proposal while the model writes it. `message_id` is the reply that will contain its edits."""
    proposal_id = new_id()
    session.execute(
        sa.insert(Proposal).values(
            id=proposal_id,
            draft_id=draft_id,
            base_version_id=base.id,
            user_id=actor.user_id,
            message_id=message_id,
            instruction=instruction,
            selection_start=selection[0] if selection else None,
            selection_end=selection[1] if selection else None,
        )
    )
    return announce_proposal(session, proposal_id, Operation.CREATED)


def finish_proposal(session: Session, message_id: str, *, is_whole: bool) -> None:
    """Read the edits from a reply that has ended. Does nothing if the reply belongs to no proposal."""
    proposal = session.scalars(
        sa.select(Proposal).where(
            Proposal.message_id == message_id,
            Proposal.status.in_((ProposalStatus.WRITING, ProposalStatus.FAILED)),
        )
    ).one_or_none()
    if proposal is None:
        return
    session.execute(sa.delete(ProposalEdit).where(ProposalEdit.proposal_id == proposal.id))
    reply = session.scalars(sa.select(Message.content).where(Message.id == message_id)).one()
    edits = _edits(session, proposal, reply, is_whole=is_whole)
    _add_edits(session, proposal.id, edits)
    is_open = any(edit.is_placed for edit in edits)
    proposal.status = ProposalStatus.OPEN if is_open else ProposalStatus.FAILED
    proposal.problem = (None if is_whole else CUT_OFF) if is_open else NOTHING
    session.flush()
    announce_proposal(session, proposal.id, Operation.UPDATED)


def propose_edits(
    session: Session, actor: Actor, draft_id: DraftId, blocks: Sequence[tuple[str, str]], *, instruction: str
) -> ProposalRead:
    """Propose a tool call's edits of the current version. Raises NothingToPropose if none can be placed."""
    draft = lock_draft(session, actor, draft_id)
    base = load_version(session, draft_id, draft.current_number)
    edits = edits_of_blocks(base.content, blocks)
    if not any(edit.is_placed for edit in edits):
        raise NothingToPropose
    proposal_id = new_id()
    session.execute(
        sa.insert(Proposal).values(
            id=proposal_id,
            draft_id=draft_id,
            base_version_id=base.id,
            user_id=actor.user_id,
            instruction=instruction,
            status=ProposalStatus.OPEN,
        )
    )
    _add_edits(session, proposal_id, edits)
    return announce_proposal(session, proposal_id, Operation.CREATED)


def _add_edits(session: Session, proposal_id: str, edits: Sequence[PlacedEdit]) -> None:
    if edits:
        session.execute(
            sa.insert(ProposalEdit),
            [
                {
                    "id": new_id(),
                    "proposal_id": proposal_id,
                    "position": position,
                    "start_at": edit.start,
                    "end_at": edit.end,
                    "old_text": edit.old,
                    "new_text": edit.new,
                    "status": EditStatus.OPEN if edit.is_placed else EditStatus.MISPLACED,
                    "created_at": clock.now(),
                }
                for position, edit in enumerate(edits)
            ],
        )


def reopen_proposal(session: Session, message_id: str) -> None:
    """Mark a proposal as being written again when its reply continues, unless an edit was decided already."""
    decided = sa.select(ProposalEdit.id).where(
        ProposalEdit.proposal_id == Proposal.id, ProposalEdit.status.in_((EditStatus.ACCEPTED, EditStatus.REJECTED))
    )
    proposal_id = session.scalar(
        sa.select(Proposal.id).where(
            Proposal.message_id == message_id, Proposal.status != ProposalStatus.DECIDED, ~decided.exists()
        )
    )
    if proposal_id is not None:
        session.execute(
            sa.update(Proposal).where(Proposal.id == proposal_id).values(status=ProposalStatus.WRITING, problem=None)
        )
        announce_proposal(session, proposal_id, Operation.UPDATED)


def _edits(session: Session, proposal: Proposal, reply: str, *, is_whole: bool) -> list[PlacedEdit]:
    base = load_text(session, proposal.base_version_id)
    selection = None
    if proposal.selection_start is not None and proposal.selection_end is not None:
        selection = (proposal.selection_start, proposal.selection_end)
    if not is_whole and (selection is not None or not base or "<edit>" not in reply):
        return []  # applying half of a new wording would delete the rest
    return edits_of_reply(base, reply, selection)


def list_proposals(
    session: Session, actor: Actor, draft_id: DraftId, *, before: str | None = None, limit: int = 50
) -> list[ProposalRead]:
    """Return proposals, newest first, placed in the actor's working copy or else in the current version."""
    check_draft(session, actor, draft_id)
    query = sa.select(Proposal).where(Proposal.draft_id == draft_id)
    if before is not None:
        query = query.where(Proposal.id < before)
    proposals = session.scalars(query.order_by(Proposal.id.desc()).limit(limit)).all()
    return _read(session, actor, proposals, draft_id)


def accept_edits(
    session: Session, actor: Actor, proposal_id: ProposalId, edit_ids: Collection[str] | None
) -> ProposalDecided:
    """Apply the given edits, or all open ones, as one new version. Edits whose text was changed are misplaced."""
    proposal = _locked(session, actor, proposal_id)
    draft = lock_draft(session, actor, DraftId(proposal.draft_id))
    current = load_version(session, draft.id, draft.current_number)
    # A working copy with the text of the current version would hide the new version.
    clear_working_copy(session, actor, draft.id, current.content, revision=None)
    since = MovedEdit(changes_between(load_text(session, proposal.base_version_id), current.content))
    taken: list[tuple[ProposalEdit, Change]] = []
    for edit in _chosen(session, proposal, edit_ids):
        place = since.place(edit.start_at, edit.end_at)
        if place is None:
            _decide(edit, EditStatus.MISPLACED)
        else:
            taken.append((edit, Change(place[0], place[1], edit.new_text)))
            _decide(edit, EditStatus.ACCEPTED)
    version = None
    if taken:
        # Insertions at the same place keep the order in which they were proposed.
        changes = [
            change for _, change in sorted(taken, key=lambda pair: (pair[1].start, pair[1].end, pair[0].position))
        ]
        content = apply_changes(current.content, changes)
        if len(content) > MAX_CONTENT:
            raise DraftTooLong(len(content), MAX_CONTENT)
        model = session.scalars(sa.select(Message.details).where(Message.id == proposal.message_id)).first()
        added = add_version(
            session,
            draft,
            content,
            parent=current,
            origin=Origin(
                GenerationSource.AI_EDIT if current.content else GenerationSource.AI_GENERATION,
                author_id=actor.user_id,
                message_id=proposal.message_id,
                provider=model.provider if model else None,
                model_name=model.model if model else None,
            ),
            changes=changes,
        )
        version = with_text(announce_version(session, draft.id, added.number), added)
    read = _settle(session, actor, proposal)
    return {"proposal": read, "version": version}


def reject_edits(
    session: Session, actor: Actor, proposal_id: ProposalId, edit_ids: Collection[str] | None
) -> ProposalDecided:
    """Reject the given edits, or all open ones. They stay in the proposal."""
    proposal = _locked(session, actor, proposal_id)
    lock_draft(session, actor, DraftId(proposal.draft_id))
    for edit in _chosen(session, proposal, edit_ids):
        _decide(edit, EditStatus.REJECTED)
    return {"proposal": _settle(session, actor, proposal), "version": None}


def _locked(session: Session, actor: Actor, proposal_id: ProposalId) -> Proposal:
    proposal = session.scalars(
        sa.select(Proposal)
        .join(Draft, Draft.id == Proposal.draft_id)
        .where(Proposal.id == proposal_id, Draft.deleted_at.is_(None), may_write_draft(Draft.id, Draft.user_id))
        .with_for_update(of=Proposal),
        {"actor_id": actor.user_id},
    ).one_or_none()
    if proposal is None:
        raise ProposalNotFound
    if proposal.status is ProposalStatus.WRITING:
        raise ProposalStillWritten
    return proposal


def _chosen(session: Session, proposal: Proposal, edit_ids: Collection[str] | None) -> list[ProposalEdit]:
    """Return the open edits among the given ones, or all open edits. Decided edits do not change.

    Raises EditNotInProposal for an id of another proposal.
    """
    edits = session.scalars(
        sa.select(ProposalEdit).where(ProposalEdit.proposal_id == proposal.id).order_by(ProposalEdit.position)
    ).all()
    if edit_ids is not None and not set(edit_ids) <= {edit.id for edit in edits}:
        raise EditNotInProposal
    chosen = [edit for edit in edits if edit_ids is None or edit.id in edit_ids]
    return [edit for edit in chosen if edit.status is EditStatus.OPEN]


def _decide(edit: ProposalEdit, status: EditStatus) -> None:
    edit.status, edit.decided_at = status, clock.now()


def _settle(session: Session, actor: Actor, proposal: Proposal) -> ProposalRead:
    session.flush()
    open_edit = session.scalar(
        sa.select(ProposalEdit.id)
        .where(ProposalEdit.proposal_id == proposal.id, ProposalEdit.status == EditStatus.OPEN)
        .limit(1)
    )
    if open_edit is None and proposal.status is ProposalStatus.OPEN:
        proposal.status = ProposalStatus.DECIDED
        session.flush()
    announce_proposal(session, proposal.id, Operation.UPDATED)
    return _read(session, actor, [proposal], proposal.draft_id)[0]


def announce_proposal(session: Session, proposal_id: str, operation: Operation) -> ProposalRead:
    """Publish a proposal without its places, which differ for each reader. Windows fetch them."""
    proposal = session.get_one(Proposal, proposal_id, populate_existing=True)
    owner_id = session.scalars(sa.select(Draft.user_id).where(Draft.id == proposal.draft_id)).one()
    publish(
        session,
        owner_id=owner_id,
        shared_id=proposal.draft_id,
        topic=f"draft:{proposal.draft_id}",
        entity=PROPOSAL,
        entity_id=proposal_id,
        operation=operation,
    )
    return _read_with(session, [proposal], None)[0]


def _read(session: Session, actor: Actor, proposals: Collection[Proposal], draft_id: str) -> list[ProposalRead]:
    if not any(proposal.status in PLACED for proposal in proposals):
        return _read_with(session, proposals, None)
    copy = read_working_copy(session, actor, draft_id)
    current_id = session.scalars(sa.select(Draft.current_version_id).where(Draft.id == draft_id)).one()
    return _read_with(session, proposals, copy["content"] if copy else load_text(session, current_id))


def _read_with(session: Session, proposals: Collection[Proposal], text: str | None) -> list[ProposalRead]:
    edits = session.scalars(
        sa.select(ProposalEdit)
        .where(ProposalEdit.proposal_id.in_([proposal.id for proposal in proposals]))
        .order_by(ProposalEdit.position)
    ).all()
    bases = {
        row.id: row.version_number
        for row in session.execute(
            sa.select(DraftVersion.id, DraftVersion.version_number).where(
                DraftVersion.id.in_([proposal.base_version_id for proposal in proposals])
            )
        )
    }
    replies = {
        row.id: row.details
        for row in session.execute(
            sa.select(Message.id, Message.details).where(
                Message.id.in_([proposal.message_id for proposal in proposals if proposal.message_id])
            )
        )
    }
    items: list[ProposalRead] = []
    for proposal in proposals:
        since = None
        if text is not None and proposal.status in PLACED:
            since = MovedEdit(changes_between(load_text(session, proposal.base_version_id), text))
        reply = replies.get(proposal.message_id or "")
        items.append(
            {
                "id": proposal.id,
                "draft_id": proposal.draft_id,
                "base_version_number": bases[proposal.base_version_id],
                "message_id": proposal.message_id,
                "run_id": reply.run_id if reply else None,
                "instruction": proposal.instruction,
                "selection": _selection(proposal, since),
                "status": proposal.status,
                "problem": proposal.problem,
                "provider": reply.provider if reply else None,
                "model_name": reply.model if reply else None,
                "total_tokens": reply.tokens.total if reply and reply.tokens else None,
                "cost": reply.cost if reply else None,
                "edits": [_read_edit(edit, since) for edit in edits if edit.proposal_id == proposal.id],
                "created_at": proposal.created_at,
            }
        )
    return items


def _selection(proposal: Proposal, since: MovedEdit | None) -> Place | None:
    start, end = proposal.selection_start, proposal.selection_end
    if since is None or start is None or end is None or proposal.status is not ProposalStatus.WRITING:
        return None
    place = since.place(start, end)
    return {"start": place[0], "end": place[1]} if place else None


def _read_edit(edit: ProposalEdit, since: MovedEdit | None) -> ProposalEditRead:
    place = None
    if since is not None and edit.status is EditStatus.OPEN:
        place = since.place(edit.start_at, edit.end_at)
    return {
        "id": edit.id,
        "status": edit.status,
        "old_text": edit.old_text,
        "new_text": edit.new_text,
        "place": {"start": place[0], "end": place[1]} if place else None,
    }
