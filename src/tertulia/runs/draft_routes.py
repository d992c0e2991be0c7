"""Routes for proposals: ask a model for edits of a draft, then accept or reject them."""

from typing import Annotated

from fastapi import Query
from starlette.responses import Response

from tertulia.accounts.caller import CallerDep, CommandDep
from tertulia.drafts import proposals
from tertulia.drafts.schemas import Decision, ProposalCreate, ProposalDecided, ProposalRead
from tertulia.http.paging import Cursors, CursorText, Page
from tertulia.http.responses import json_response
from tertulia.http.routing import Access, Routes
from tertulia.ids import DraftId, ProposalId
from tertulia.runs.drafts import ProposalRequested, ask_for_edits
from tertulia.runs.routes import run_options

routes = Routes("proposals")


@routes.add("GET", "/drafts/{draft_id}/proposals", access=Access.SIGNED_IN, gives=Page[ProposalRead], problems=(404,))
async def get_proposals(
    caller: CallerDep,
    draft_id: DraftId,
    limit: Annotated[int, Query(ge=1, le=50, description="Most proposals to return, with their edits.")] = 10,
    cursor: CursorText = None,
) -> Response:
    """List proposals, newest first, with edits positioned in the caller's working copy."""
    cursors = caller.service(Cursors)
    kind = f"proposals.{draft_id}"
    before = cursors.decode_id(kind, cursor)
    rows = await caller.read_long(proposals.list_proposals, draft_id, before=before, limit=limit + 1)
    return json_response(cursors.page(kind, rows, limit))


@routes.add(
    "POST",
    "/drafts/{draft_id}/proposals",
    access=Access.SIGNED_IN,
    gives=ProposalRequested,
    status=201,
    problems=(404, 409, 429),
)
async def post_proposal(caller: CommandDep, draft_id: DraftId, new: ProposalCreate) -> Response:
    """Ask a model for edits. Its reply is parsed into edits when the run ends."""
    return await caller.command(201, ask_for_edits, draft_id, new, await run_options(caller))


@routes.add(
    "POST", "/proposals/{proposal_id}/accept", access=Access.SIGNED_IN, gives=ProposalDecided, problems=(404, 409)
)
async def accept(caller: CommandDep, proposal_id: ProposalId, decision: Decision | None = None) -> Response:
    """Accept edits into a new version. An edit whose text has changed since is marked as misplaced instead."""
    edit_ids = decision.edit_ids if decision else None
    return await caller.command(200, proposals.accept_edits, proposal_id, edit_ids)


@routes.add(
    "POST", "/proposals/{proposal_id}/reject", access=Access.SIGNED_IN, gives=ProposalDecided, problems=(404, 409)
)
async def reject(caller: CommandDep, proposal_id: ProposalId, decision: Decision | None = None) -> Response:
    edit_ids = decision.edit_ids if decision else None
    return await caller.command(200, proposals.reject_edits, proposal_id, edit_ids)
