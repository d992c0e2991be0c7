"""Proposals over HTTP: asking a model for edits of a draft, and deciding on them."""

from typing import Annotated

from fastapi import Query
from starlette.responses import Response

from tertulia.accounts.caller import CallerDep, CommandDep
from tertulia.drafts import proposals
from tertulia.drafts.schemas import Decision, ProposalCreate, ProposalDecided, ProposalRead
from tertulia.http.answers import json_response
from tertulia.http.paging import Cursors, CursorText, Page
from tertulia.http.routing import Access, Routes
from tertulia.ids import DraftId, ProposalId
from tertulia.providers.catalogue import ModelCatalogue
from tertulia.runs.drafts import ProposalAsked, ask_for_edits
from tertulia.runs.routes import run_options

routes = Routes("proposals")


@routes.add("GET", "/drafts/{draft_id}/proposals", access=Access.SIGNED_IN, gives=Page[ProposalRead], problems=(404,))
async def get_proposals(
    caller: CallerDep,
    draft_id: DraftId,
    limit: Annotated[int, Query(ge=1, le=50, description="How many at most: each comes with its edits.")] = 10,
    cursor: CursorText = None,
) -> Response:
    """The newest first, placed in what the caller is typing."""
    cursors = caller.service(Cursors)
    kind = f"proposals.{draft_id}"
    before = cursors.decode_id(kind, cursor)
    found = await caller.read_long(proposals.list_proposals, draft_id, before=before, limit=limit + 1)
    return json_response(cursors.page(kind, found, limit))


@routes.add(
    "POST",
    "/drafts/{draft_id}/proposals",
    access=Access.SIGNED_IN,
    gives=ProposalAsked,
    status=201,
    problems=(404, 409, 429),
)
async def post_proposal(caller: CommandDep, draft_id: DraftId, new: ProposalCreate) -> Response:
    """Ask a model for edits; what it says is read as such when its run has ended."""
    catalogue = caller.service(ModelCatalogue)
    if catalogue.may_wait:
        await catalogue.first_read(await caller.actor())

    return await caller.command(201, ask_for_edits, draft_id, new, run_options(caller))


@routes.add(
    "POST",
    "/proposals/{proposal_id}/accept",
    access=Access.SIGNED_IN,
    gives=ProposalDecided,
    problems=(404, 409),
)
async def accept(caller: CommandDep, proposal_id: ProposalId, decision: Decision | None = None) -> Response:
    """Take edits into a new version; one whose words were changed since is left, and says so."""
    chosen = decision.edit_ids if decision else None
    return await caller.command(
        200,
        proposals.accept_edits,
        proposal_id,
        chosen,
    )


@routes.add(
    "POST",
    "/proposals/{proposal_id}/reject",
    access=Access.SIGNED_IN,
    gives=ProposalDecided,
    problems=(404, 409),
)
async def reject(caller: CommandDep, proposal_id: ProposalId, decision: Decision | None = None) -> Response:
    chosen = decision.edit_ids if decision else None
    return await caller.command(
        200,
        proposals.reject_edits,
        proposal_id,
        chosen,
    )
