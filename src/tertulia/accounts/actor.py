"""Who asks: the one value that every permission is decided on."""

from dataclasses import dataclass

from tertulia.accounts.models import UserRole
from tertulia.errors import Forbidden
from tertulia.ids import UserId

# The person at the machine's own command line, who may administer and owns nothing.
OPERATOR_ID = UserId("00000000-0000-0000-0000-000000000000")


class AdminOnly(Forbidden):
    code = "admin_only"

    def __init__(self) -> None:
        super().__init__("Only an administrator may do this.")


@dataclass(frozen=True, slots=True)
class Actor:
    user_id: UserId
    role: UserRole
    session_id: str | None = None

    @property
    def is_admin(self) -> bool:
        return self.role is UserRole.ADMIN


def require_admin(actor: Actor) -> None:
    if not actor.is_admin:
        raise AdminOnly
