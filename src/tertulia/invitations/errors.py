"""Errors of invitations."""

from tertulia.errors import Conflict, NotFound


class InvitationNotFound(NotFound):
    code = "invitation_not_found"

    def __init__(self) -> None:
        super().__init__("It has expired, or was used or withdrawn. Ask for a new link.")


class TooManyInvitations(Conflict):
    code = "too_many_invitations"

    def __init__(self, limit: int) -> None:
        super().__init__(f"At most {limit} invitations can be open. Withdraw some that are not needed.", limit=limit)
