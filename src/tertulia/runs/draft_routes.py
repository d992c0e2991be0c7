"""Proposals over HTTP: asking a model for edits of a draft, and deciding on them."""

from typing import Annotated

from fastapi import Query
from sqlalchemy.orm import Session
from starlette.responses import Response

from tertulia.accounts.actor import Actor
from tertulia.accounts.caller import CallerDep, CommandDep
from tertulia.drafts import proposals
from tertulia.drafts.schemas import Decision, ProposalCreate, ProposalDecided, ProposalRead
from tertulia.http.answers import json_response
from tertulia.http.paging import Cursors, CursorText, Page
from tertulia.http.routing import Access, Routes
from tertulia.ids import AnyId, DraftId, ProposalId
from tertulia.providers.catalogue import ModelCatalogue
from tertulia.runs.drafts import ProposalAsked, ask_for_edits
from tertulia.runs.service import Offered


def proposal_routes(cursors: Cursors, catalogue: ModelCatalogue, *, messages_per_day: int | None) -> Routes:
    routes = Routes("proposals")

    @routes.add(
        "GET", "/drafts/{draft_id}/proposals", access=Access.SIGNED_IN, gives=Page[ProposalRead], problems=(404,)
    )
    async def get_proposals(
        caller: CallerDep,
        draft_id: AnyId,
        limit: Annotated[int, Query(ge=1, le=50, description="How many at most: each comes with its edits.")] = 10,
        cursor: CursorText = None,
    ) -> Response:
        """The newest first, placed in what the caller is typing."""
        kind = f"proposals.{draft_id}"
        before = cursors.decode_id(kind, cursor)
        found = await caller.read_long(
            lambda session, actor: proposals.list_proposals(
                session, DraftId(draft_id), before=before, limit=limit + 1, actor=actor
            )
        )
        return json_response(cursors.page(kind, found, limit))

    @routes.add(
        "POST",
        "/drafts/{draft_id}/proposals",
        access=Access.SIGNED_IN,
        gives=ProposalAsked,
        status=201,
        problems=(404, 409, 429),
    )
    async def post_proposal(caller: CommandDep, draft_id: AnyId, new: ProposalCreate) -> Response:
        """Ask a model for edits; what it says is read as such when its run has ended."""
        if catalogue.may_wait:
            await catalogue.first_read(await caller.actor())

        def ask(session: Session, actor: Actor) -> ProposalAsked:
            offered = Offered(lambda: catalogue.known(session, actor=actor), messages_per_day)
            return ask_for_edits(session, DraftId(draft_id), new, offered, actor=actor)

        return await caller.command(201, ask)

    @routes.add(
        "POST",
        "/proposals/{proposal_id}/accept",
        access=Access.SIGNED_IN,
        gives=ProposalDecided,
        problems=(404, 409),
    )
    async def accept(caller: CommandDep, proposal_id: AnyId, decision: Decision | None = None) -> Response:
        """Take edits into a new version; one whose words were changed since is left, and says so."""
        chosen = decision.edit_ids if decision else None
        return await caller.command(
            200,
            lambda session, actor: proposals.accept_edits(session, ProposalId(proposal_id), chosen, actor=actor),
        )

    @routes.add(
        "POST",
        "/proposals/{proposal_id}/reject",
        access=Access.SIGNED_IN,
        gives=ProposalDecided,
        problems=(404, 409),
    )
    async def reject(caller: CommandDep, proposal_id: AnyId, decision: Decision | None = None) -> Response:
        chosen = decision.edit_ids if decision else None
        return await caller.command(
            200,
            lambda session, actor: proposals.reject_edits(session, ProposalId(proposal_id), chosen, actor=actor),
        )

    return routes
