"""Routes to invite people, and to accept an invitation."""

from typing import Annotated

from fastapi import Path, Query, Request
from sqlalchemy.orm import Session
from starlette.responses import Response

from tertulia.accounts.caller import Authenticator, CallerDep, CommandDep
from tertulia.accounts.passwords import check_password, hash_password
from tertulia.accounts.routes import device_of, require_secure, signed_in
from tertulia.accounts.schemas import UserRead
from tertulia.accounts.service import get_user
from tertulia.accounts.sessions import start_session
from tertulia.http.limits import RateLimit, RateLimits
from tertulia.http.paging import Cursors, CursorText, Limit, Page
from tertulia.http.responses import json_response
from tertulia.http.routing import Access, Routes, service_of
from tertulia.ids import InvitationId, ProjectId
from tertulia.invitations import service
from tertulia.invitations.schemas import (
    InvitationAccept,
    InvitationCreate,
    InvitationCreated,
    InvitationOffer,
    InvitationRead,
    Joined,
)

routes = Routes("invitations")
OPENINGS = RateLimit("invitations", 60, 3600)  # per address
Token = Annotated[str, Path(max_length=100)]


@routes.add("GET", "/invitations", access=Access.SIGNED_IN, gives=Page[InvitationRead], problems=(404,))
async def get_invitations(
    caller: CallerDep,
    project_id: Annotated[ProjectId | None, Query(description="Those into a project of yours.")] = None,
    limit: Limit = 50,
    cursor: CursorText = None,
) -> Response:
    """List invitations into this server, for administrators, or into a project of yours."""
    cursors = caller.service(Cursors)
    kind = f"invitations.{project_id or ''}"
    after = cursors.decode_id(kind, cursor)
    items = await caller.read(service.list_invitations, project_id=project_id, after=after, limit=limit + 1)
    return json_response(cursors.page(kind, items, limit))


@routes.add("POST", "/invitations", access=Access.SIGNED_IN, gives=InvitationCreated, status=201, problems=(404, 409))
async def post_invitation(caller: CommandDep, new: InvitationCreate) -> Response:
    """Create an invitation into a project of yours or, as an administrator, into this server.

    The page `/invitation/{token}` lets one person in, once. It makes an account if an administrator invited.
    """
    return await caller.command_with_secret(201, "token", service.create_invitation, new)


@routes.add("DELETE", "/invitations/{invitation_id}", access=Access.SIGNED_IN, status=204, problems=(404,))
async def delete_invitation(caller: CommandDep, invitation_id: InvitationId) -> Response:
    """Delete an invitation. Whom it let in stays."""
    return await caller.command(204, service.withdraw_invitation, invitation_id)


@routes.add("GET", "/invitations/{token}", access=Access.PUBLIC, gives=InvitationOffer, problems=(404, 429))
async def get_invitation(request: Request, token: Token) -> Response:
    """Return what an invitation offers to the person who has its token."""
    service_of(request, RateLimits).take(OPENINGS, request.scope["client_address"])
    return json_response(await service_of(request, Authenticator).db.read(service.get_offer, token))


@routes.add("POST", "/invitations/{token}/join", access=Access.SIGNED_IN, gives=Joined, problems=(404, 409))
async def post_join(caller: CommandDep, token: Token) -> Response:
    """Join the project of an invitation with your account."""
    caller.service(RateLimits).take(OPENINGS, (await caller.actor()).user_id)
    return await caller.command(200, service.join_project, token)


@routes.add(
    "POST",
    "/invitations/{token}/accept",
    access=Access.PUBLIC,
    gives=UserRead,
    status=201,
    problems=(404, 409, 429),
)
async def post_acceptance(request: Request, token: Token, account: InvitationAccept) -> Response:
    """Make the account of an invitation, and sign in."""
    authenticator = service_of(request, Authenticator)
    require_secure(request)
    service_of(request, RateLimits).take(OPENINGS, request.scope["client_address"])
    await authenticator.db.read(service.get_offer, token)  # hashing is slow, so other callers are refused first
    check_password(account.password, names=(account.username, account.name, account.email or ""))
    password_hash = await hash_password(account.password)
    device = device_of(request)

    def accept(session: Session) -> tuple[UserRead, str]:
        user_id = service.accept_invitation(session, token, account, password_hash=password_hash)
        session_token = start_session(session, user_id, life=authenticator.life, device=device)
        return get_user(session, user_id), session_token

    user, session_token = await authenticator.db.write(accept)
    return signed_in(request, user, session_token, status=201, authenticator=authenticator)
