"""Errors of invitations."""

from tertulia.errors import Conflict, NotFound


class InvitationNotFound(NotFound):
    code = "invitation_not_found"
    detail = (
        "This invitation does not exist, has expired, or was used or withdrawn. Ask the person who invited you for a"
        " new link."
    )


class TooManyInvitations(Conflict):
    code = "too_many_invitations"

    def __init__(self, limit: int) -> None:
        super().__init__(f"At most {limit} invitations can be open. Withdraw some that are not needed.", limit=limit)
